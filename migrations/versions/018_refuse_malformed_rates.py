"""Rates, plans and rules that can't be rated by are refused when they are saved, whoever saves them, naming the field.

New functions and triggers: the tables are locked for milliseconds. What is stored already is looked at when it changes.
"""

from alembic import op

revision = "018"
down_revision = "017"
branch_labels = None
depends_on = None

TABLES = ("rate_tables", "rating_plans", "discount_rules", "surcharge_rules", "state_rating_rules")


def upgrade() -> None:
    for function in (
        FACTOR, FACTORS, ROUNDING, STEPS, FEES, ASSIGNMENT, CONDITION, RULES_READ, READERS, REFUSE_ROW, REFUSE_CHANGE,
        REFUSE_FIELD,
    ):  # fmt: skip
        op.execute(function)
    for table in TABLES:
        op.execute(
            f"CREATE TRIGGER trg_{table}_refuse BEFORE INSERT OR UPDATE ON {table}"
            " FOR EACH ROW EXECUTE FUNCTION refuse_malformed_rating()"
        )
    for table in ("discount_rules", "surcharge_rules"):
        op.execute(
            f"CREATE TRIGGER trg_{table}_refuse_change BEFORE UPDATE OF code OR DELETE ON {table}"
            " FOR EACH ROW EXECUTE FUNCTION refuse_change_of_rule_in_use()"
        )
    op.execute(
        "CREATE TRIGGER trg_rating_fields_refuse BEFORE UPDATE OF name, value_type OR DELETE ON rating_fields"
        " FOR EACH ROW EXECUTE FUNCTION refuse_change_of_field_in_use()"
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER trg_rating_fields_refuse ON rating_fields")
    for table in ("discount_rules", "surcharge_rules"):
        op.execute(f"DROP TRIGGER trg_{table}_refuse_change ON {table}")
    for table in TABLES:
        op.execute(f"DROP TRIGGER trg_{table}_refuse ON {table}")
    for function in (
        "refuse_change_of_field_in_use()",
        "refuse_change_of_rule_in_use()",
        "refuse_malformed_rating()",
        "rules_that_read(text)",
        "rules_read(jsonb)",
        "rating_condition_problem(text, jsonb, text, text, integer)",
        "rating_assignment_problem(jsonb)",
        "rating_fees_problem(jsonb)",
        "rating_steps_problem(jsonb)",
        "rating_rounding_problem(jsonb, boolean)",
        "rating_factors_problem(text, jsonb)",
        "rating_factor_problem(text, jsonb)",
    ):
        op.execute(f"DROP FUNCTION {function}")


# Each of these answers what is wrong, beginning with the place, or NULL.
FACTOR = """
CREATE FUNCTION rating_factor_problem(p_path text, p_value jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN jsonb_typeof(p_value) IS DISTINCT FROM 'number'
            THEN format('%s must be a number, not %s', p_path, coalesce(jsonb_typeof(p_value), 'missing'))
        WHEN (p_value)::numeric <= 0 OR (p_value)::numeric >= 100000
             OR (p_value)::numeric <> round((p_value)::numeric, 4)
            THEN format('%s is %s, but a factor lies above 0 and below 100000 and has at most 4 decimals',
                        p_path, p_value)
        END
$$
"""

FACTORS = """
CREATE FUNCTION rating_factors_problem(p_path text, p_factors jsonb) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    entry record;
    kinds text[];
    problem text;
BEGIN
    IF jsonb_typeof(p_factors) IS DISTINCT FROM 'object' THEN
        RETURN format('%s must be a JSON object', p_path);
    END IF;
    SELECT array_agg(DISTINCT jsonb_typeof(value) = 'object') INTO kinds FROM jsonb_each(p_factors);
    IF cardinality(kinds) > 1 THEN
        RETURN format('%s must hold either factors by key or objects of them by name, not both', p_path);
    END IF;
    FOR entry IN SELECT key, value FROM jsonb_each(p_factors) LOOP
        IF entry.key = '' THEN
            RETURN format('%s has an empty key', p_path);
        END IF;
        IF jsonb_typeof(entry.value) = 'object' THEN
            SELECT coalesce(
                (SELECT rating_factor_problem(format('%s.%s.%s', p_path, entry.key, key), value)
                 FROM jsonb_each(entry.value)
                 WHERE rating_factor_problem('', value) IS NOT NULL ORDER BY key LIMIT 1),
                CASE WHEN entry.value = '{}' THEN format('%s.%s is empty', p_path, entry.key) END
            ) INTO problem;
        ELSE
            problem := rating_factor_problem(format('%s.%s', p_path, entry.key), entry.value);
        END IF;
        IF problem IS NOT NULL THEN
            RETURN problem;
        END IF;
    END LOOP;
    RETURN NULL;
END
$$
"""

# A plan says both roundings; a rate table says only what differs from its plan.
ROUNDING = """
CREATE FUNCTION rating_rounding_problem(p_rounding jsonb, p_is_whole boolean) RETURNS text
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    place text;
    part jsonb;
    stray text;
BEGIN
    IF jsonb_typeof(p_rounding) IS DISTINCT FROM 'object' THEN
        RETURN 'rounding must be a JSON object';
    END IF;
    SELECT key INTO stray FROM jsonb_object_keys(p_rounding) AS key WHERE key NOT IN ('step', 'final') LIMIT 1;
    IF FOUND THEN
        RETURN format('rounding.%s is not known: rounding has step and final', stray);
    END IF;
    FOREACH place IN ARRAY ARRAY['step', 'final'] LOOP
        part := p_rounding -> place;
        IF part IS NULL THEN
            IF p_is_whole THEN
                RETURN format('rounding.%s is missing', place);
            END IF;
            CONTINUE;
        END IF;
        IF jsonb_typeof(part) <> 'object' THEN
            RETURN format('rounding.%s must be a JSON object', place);
        END IF;
        SELECT key INTO stray FROM jsonb_object_keys(part) AS key
        WHERE key NOT IN ('decimals', 'mode') AND NOT (key = 'per' AND place = 'final' AND p_is_whole) LIMIT 1;
        IF FOUND THEN
            RETURN format('rounding.%s.%s is not known here', place, stray);
        END IF;
        IF coalesce(part ->> 'decimals', '') !~ '^[0-8]$' OR (place = 'final' AND (part ->> 'decimals') > '2')
           OR jsonb_typeof(part -> 'decimals') <> 'number' THEN
            RETURN format('rounding.%s.decimals must be a whole number from 0 to %s', place,
                          CASE place WHEN 'final' THEN 2 ELSE 8 END);
        END IF;
        IF coalesce(part ->> 'mode', '') NOT IN ('half_up', 'half_even', 'up', 'down') THEN
            RETURN format('rounding.%s.mode must be half_up, half_even, up or down', place);
        END IF;
        IF place = 'final' AND p_is_whole AND coalesce(part ->> 'per', '') NOT IN ('coverage', 'policy') THEN
            RETURN 'rounding.final.per must be coverage or policy';
        END IF;
    END LOOP;
    RETURN NULL;
END
$$
"""

STEPS = """
CREATE FUNCTION rating_steps_problem(p_steps jsonb) RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
    step jsonb;
    place text;
    number integer := 0;
    stray text;
    field_type text;
    seen text[] := '{}';
    name text;
BEGIN
    IF jsonb_typeof(p_steps) IS DISTINCT FROM 'array' THEN
        RETURN 'steps must be a JSON list';
    END IF;
    FOR step IN SELECT value FROM jsonb_array_elements(p_steps) LOOP
        number := number + 1;
        place := format('steps[%s]', number);
        IF jsonb_typeof(step) <> 'object' THEN
            RETURN format('%s must be a JSON object', place);
        END IF;
        SELECT key INTO stray FROM jsonb_object_keys(step) AS key
        WHERE key NOT IN ('group', 'factor', 'field', 'coverages', 'match', 'default') LIMIT 1;
        IF FOUND THEN
            RETURN format('%s.%s is not known', place, stray);
        END IF;
        IF coalesce(step ->> 'group', '') !~ '^[a-z][a-z0-9_]*$' THEN
            RETURN format('%s.group must name a group of factors in small letters', place);
        END IF;
        IF step ? 'factor' AND coalesce(step ->> 'factor', '') !~ '^[a-z][a-z0-9_]*$' THEN
            RETURN format('%s.factor must name a factor in small letters', place);
        END IF;
        name := concat_ws('.', step ->> 'group', step ->> 'factor');
        IF name = ANY (seen) THEN
            RETURN format('%s repeats the factor %s', place, name);
        END IF;
        seen := seen || name;
        SELECT value_type INTO field_type FROM rating_fields WHERE rating_fields.name = step ->> 'field';
        IF NOT FOUND THEN
            RETURN format('%s.field: there is no rating field %s', place, coalesce(step ->> 'field', '(missing)'));
        END IF;
        IF step ? 'match' AND coalesce(step ->> 'match', '') NOT IN ('exact', 'from') THEN
            RETURN format('%s.match must be exact or from', place);
        END IF;
        IF step ->> 'match' = 'from' AND field_type <> 'number' THEN
            RETURN format('%s.match can be from only for a number: %s is a %s', place, step ->> 'field', field_type);
        END IF;
        IF step ? 'default' AND rating_factor_problem('', step -> 'default') IS NOT NULL THEN
            RETURN rating_factor_problem(place || '.default', step -> 'default');
        END IF;
        IF step ? 'coverages' AND (
            jsonb_typeof(step -> 'coverages') <> 'array' OR step -> 'coverages' = '[]'
            OR jsonb_path_exists(step -> 'coverages', '$[*] ? (@.type() != "string")')
        ) THEN
            RETURN format('%s.coverages must be a list of coverages', place);
        END IF;
    END LOOP;
    RETURN NULL;
END
$$
"""

FEES = """
CREATE FUNCTION rating_fees_problem(p_fees jsonb) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    fee jsonb;
    place text;
    number integer := 0;
    seen text[] := '{}';
BEGIN
    IF jsonb_typeof(p_fees) IS DISTINCT FROM 'array' THEN
        RETURN 'fees must be a JSON list';
    END IF;
    FOR fee IN SELECT value FROM jsonb_array_elements(p_fees) LOOP
        number := number + 1;
        place := format('fees[%s]', number);
        IF jsonb_typeof(fee) <> 'object' OR fee - ARRAY['code', 'amount', 'per'] <> '{}' THEN
            RETURN format('%s must be a JSON object of code, amount and per', place);
        END IF;
        IF coalesce(fee ->> 'code', '') = '' OR fee ->> 'code' = ANY (seen) THEN
            RETURN format('%s.code must be a name of its own', place);
        END IF;
        seen := seen || (fee ->> 'code');
        IF jsonb_typeof(fee -> 'amount') IS DISTINCT FROM 'number'
           OR (fee -> 'amount')::numeric NOT BETWEEN 0 AND 999999
           OR (fee -> 'amount')::numeric <> round((fee -> 'amount')::numeric, 2) THEN
            RETURN format('%s.amount must be an amount of dollars and whole cents, not negative', place);
        END IF;
        IF coalesce(fee ->> 'per', '') NOT IN ('policy', 'vehicle') THEN
            RETURN format('%s.per must be policy or vehicle', place);
        END IF;
    END LOOP;
    RETURN NULL;
END
$$
"""

ASSIGNMENT = """
CREATE FUNCTION rating_assignment_problem(p_assignment jsonb) RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
    unknown text;
BEGIN
    IF jsonb_typeof(p_assignment) IS DISTINCT FROM 'object' OR p_assignment - ARRAY['rule', 'unassigned'] <> '{}' THEN
        RETURN 'assignment must be a JSON object of rule and unassigned';
    END IF;
    IF p_assignment ? 'rule' AND coalesce(p_assignment ->> 'rule', '') NOT IN ('highest_to_highest', 'as_given') THEN
        RETURN 'assignment.rule must be highest_to_highest or as_given';
    END IF;
    IF p_assignment ? 'unassigned' THEN
        IF jsonb_typeof(p_assignment -> 'unassigned') <> 'object' THEN
            RETURN 'assignment.unassigned must be a JSON object of driver fields';
        END IF;
        SELECT key INTO unknown FROM jsonb_object_keys(p_assignment -> 'unassigned') AS key
        WHERE NOT EXISTS (SELECT FROM rating_fields WHERE name = 'driver.' || key) ORDER BY key LIMIT 1;
        IF FOUND THEN
            RETURN format('assignment.unassigned.%s: there is no rating field driver.%s', unknown, unknown);
        END IF;
    END IF;
    RETURN NULL;
END
$$
"""

CONDITION = """
CREATE FUNCTION rating_condition_problem(
    p_path text, p_condition jsonb, p_applies_to text, p_own_code text, p_depth integer DEFAULT 0
) RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
    word text;
    part record;
    problem text;
    field text := p_condition ->> 'field';
    op text := p_condition ->> 'op';
    type_ text;
    bad text;
BEGIN
    IF jsonb_typeof(p_condition) IS DISTINCT FROM 'object' THEN
        RETURN format('%s must be a JSON object', p_path);
    END IF;
    IF p_condition = '{}' THEN
        RETURN CASE WHEN p_depth > 0 THEN format('%s is empty', p_path) END;
    END IF;
    IF p_depth > 16 THEN
        RETURN format('%s is nested too deeply', p_path);
    END IF;
    SELECT key INTO word FROM jsonb_object_keys(p_condition) AS key WHERE key IN ('all', 'any', 'not') LIMIT 1;
    IF word IS NOT NULL THEN
        IF p_condition - word <> '{}' THEN
            RETURN format('%s has more beside %s', p_path, word);
        END IF;
        IF word = 'not' THEN
            RETURN rating_condition_problem(
                p_path || '.not', p_condition -> word, p_applies_to, p_own_code, p_depth + 1);
        END IF;
        IF jsonb_typeof(p_condition -> word) <> 'array' OR p_condition -> word = '[]' THEN
            RETURN format('%s.%s must be a list of conditions', p_path, word);
        END IF;
        FOR part IN SELECT value, ordinality FROM jsonb_array_elements(p_condition -> word) WITH ORDINALITY LOOP
            problem := rating_condition_problem(
                format('%s.%s[%s]', p_path, word, part.ordinality), part.value, p_applies_to, p_own_code, p_depth + 1);
            IF problem IS NOT NULL THEN
                RETURN problem;
            END IF;
        END LOOP;
        RETURN NULL;
    END IF;
    SELECT key INTO bad FROM jsonb_object_keys(p_condition) AS key WHERE key NOT IN ('field', 'op', 'value') LIMIT 1;
    IF FOUND THEN
        RETURN format('%s.%s is not known: a condition has field, op and value, or all, any or not', p_path, bad);
    END IF;
    IF jsonb_typeof(p_condition -> 'field') IS DISTINCT FROM 'string' THEN
        RETURN format('%s.field is missing', p_path);
    END IF;
    IF field LIKE 'rule.%' THEN
        IF field = 'rule.' || p_own_code THEN
            RETURN format('%s.field: %s is the rule itself, which would go in a circle', p_path, field);
        END IF;
        IF NOT EXISTS (SELECT FROM discount_rules WHERE 'rule.' || code = field)
           AND NOT EXISTS (SELECT FROM surcharge_rules WHERE 'rule.' || code = field) THEN
            RETURN format('%s.field: there is no rule %s', p_path, substr(field, 6));
        END IF;
        type_ := 'boolean';
    ELSE
        SELECT value_type INTO type_ FROM rating_fields WHERE name = field;
        IF NOT FOUND THEN
            RETURN format('%s.field: there is no rating field %s', p_path, field);
        END IF;
        IF p_applies_to = 'policy' AND field NOT LIKE 'quote.%' THEN
            RETURN format('%s.field: a rule for the whole policy reads fields of the quote, not %s', p_path, field);
        END IF;
    END IF;
    IF coalesce(op, '') NOT IN ('eq', 'ne', 'lt', 'lte', 'gt', 'gte', 'in', 'exists') THEN
        RETURN format('%s.op must be eq, ne, lt, lte, gt, gte, in or exists', p_path);
    END IF;
    IF field LIKE 'rule.%' AND op NOT IN ('eq', 'ne') THEN
        RETURN format('%s.op: whether a rule holds is asked by eq or ne', p_path);
    END IF;
    IF op IN ('lt', 'lte', 'gt', 'gte') AND type_ NOT IN ('number', 'date') THEN
        RETURN format('%s.op: %s is a %s and can''t be compared by %s', p_path, field, type_, op);
    END IF;
    IF op = 'exists' THEN
        RETURN CASE WHEN jsonb_typeof(p_condition -> 'value') IS DISTINCT FROM 'boolean'
                    THEN format('%s.value must be true or false', p_path) END;
    END IF;
    IF op = 'in'
       AND (jsonb_typeof(p_condition -> 'value') IS DISTINCT FROM 'array' OR p_condition -> 'value' = '[]') THEN
        RETURN format('%s.value must be a list', p_path);
    END IF;
    FOR part IN
        SELECT value FROM jsonb_array_elements(
            CASE op WHEN 'in' THEN p_condition -> 'value' ELSE jsonb_build_array(p_condition -> 'value') END)
    LOOP
        -- In parentheses: PL/pgSQL would take the first bare THEN for its own.
        IF jsonb_typeof(part.value) <> (CASE WHEN type_ IN ('text', 'date') THEN 'string' ELSE type_ END)
           OR (type_ = 'date' AND part.value #>> '{}' !~ '^\\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\\d|3[01])$') THEN
            RETURN format('%s.value: %s is a %s', p_path, field, type_);
        END IF;
    END LOOP;
    RETURN NULL;
END
$$
"""

RULES_READ = """
CREATE FUNCTION rules_read(p_conditions jsonb) RETURNS SETOF text LANGUAGE sql IMMUTABLE AS $$
    SELECT DISTINCT substr(field #>> '{}', 6)
    FROM jsonb_path_query(p_conditions, 'strict $.**.field ? (@ starts with "rule.")', silent => true) AS field
$$
"""

READERS = """
CREATE FUNCTION rules_that_read(p_code text) RETURNS SETOF text LANGUAGE sql STABLE AS $$
    SELECT code FROM (
        SELECT code, eligibility_rules AS conditions FROM discount_rules
        UNION ALL SELECT code, trigger_conditions FROM surcharge_rules
    ) AS rule WHERE p_code IN (SELECT rules_read(conditions))
$$
"""

# One function for five tables: the row as JSON, so that a column that a table lacks is simply absent.
REFUSE_ROW = """
CREATE FUNCTION refuse_malformed_rating() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    given jsonb := to_jsonb(NEW);
    conditions_ jsonb;
    problem text;
    column_ text;
BEGIN
    SELECT key INTO column_ FROM jsonb_each_text(given)
    WHERE value = 'NaN' AND key IN ('base_rate', 'min_premium', 'max_premium', 'discount_value', 'surcharge_value',
                                    'max_amount', 'min_factor', 'max_factor') LIMIT 1;
    IF FOUND THEN
        problem := format('%s must be a number', column_);
    ELSIF TG_TABLE_NAME = 'rate_tables' THEN
        FOREACH column_ IN ARRAY ARRAY['territory_factors', 'vehicle_factors', 'driver_factors', 'credit_factors'] LOOP
            problem := coalesce(problem, rating_factors_problem(column_, given -> column_));
        END LOOP;
        IF jsonb_typeof(NEW.other_factors) <> 'object' THEN
            problem := coalesce(problem, 'other_factors must be a JSON object of groups');
        ELSE
            problem := coalesce(problem, (
                SELECT rating_factors_problem('other_factors.' || key, value) FROM jsonb_each(NEW.other_factors)
                WHERE rating_factors_problem(key, value) IS NOT NULL ORDER BY key LIMIT 1));
            problem := coalesce(problem, (
                SELECT format('other_factors.%s has its place in %s_factors', key, key)
                FROM jsonb_object_keys(NEW.other_factors) AS key
                WHERE key IN ('territory', 'vehicle', 'driver', 'credit') LIMIT 1));
        END IF;
        problem := coalesce(problem, rating_rounding_problem(NEW.rounding, false));
    ELSIF TG_TABLE_NAME = 'rating_plans' THEN
        problem := coalesce(rating_steps_problem(NEW.steps), rating_rounding_problem(NEW.rounding, true),
                            rating_fees_problem(NEW.fees), rating_assignment_problem(NEW.assignment));
    ELSIF TG_TABLE_NAME IN ('discount_rules', 'surcharge_rules') THEN
        -- Two rules saved at the same moment must not close a circle that neither of them sees.
        PERFORM pg_advisory_xact_lock(hashtext('rules that read each other'));
        column_ := CASE TG_TABLE_NAME WHEN 'discount_rules' THEN 'eligibility_rules' ELSE 'trigger_conditions' END;
        conditions_ := given -> column_;
        problem := rating_condition_problem(column_, conditions_, NEW.applies_to, NEW.code);
        IF problem IS NULL AND EXISTS (
            SELECT FROM discount_rules WHERE code = NEW.code AND id <> NEW.id
            UNION ALL SELECT FROM surcharge_rules WHERE code = NEW.code AND id <> NEW.id
        ) THEN
            problem := format('code %s is taken by another rule', NEW.code);
        END IF;
        IF problem IS NULL AND EXISTS (
            WITH RECURSIVE rule (code, conditions) AS (
                SELECT discount_rules.code, eligibility_rules FROM discount_rules
                UNION ALL SELECT surcharge_rules.code, trigger_conditions FROM surcharge_rules
            ), reached (code) AS (
                SELECT rules_read(conditions_)
                UNION SELECT rules_read(rule.conditions) FROM reached JOIN rule USING (code)
            )
            SELECT FROM reached WHERE reached.code = NEW.code
        ) THEN
            problem := format('%s.field: rule.%s reads this rule in turn, which would go in a circle', column_,
                              (SELECT min(code) FROM rules_read(conditions_) AS code));
        END IF;
    END IF;
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION '%', problem USING ERRCODE = 'check_violation', TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NEW;
END
$$
"""

REFUSE_CHANGE = """
CREATE FUNCTION refuse_change_of_rule_in_use() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    reader text;
BEGIN
    IF TG_OP = 'DELETE' OR NEW.code <> OLD.code THEN
        SELECT code INTO reader FROM rules_that_read(OLD.code) AS code LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'code: rule % reads rule %', reader, OLD.code
                USING ERRCODE = 'check_violation', TABLE = TG_TABLE_NAME;
        END IF;
    END IF;
    RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
END
$$
"""

REFUSE_FIELD = """
CREATE FUNCTION refuse_change_of_field_in_use() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    reader text;
    used jsonpath := '$.**.field ? (@ == $name)';
    asked jsonb := jsonb_build_object('name', OLD.name);
BEGIN
    SELECT rule INTO reader FROM (
        SELECT 'plan ' || id FROM rating_plans WHERE jsonb_path_exists(steps, used, asked)
        UNION ALL SELECT 'rule ' || code FROM discount_rules WHERE jsonb_path_exists(eligibility_rules, used, asked)
        UNION ALL SELECT 'rule ' || code FROM surcharge_rules WHERE jsonb_path_exists(trigger_conditions, used, asked)
    ) AS reading (rule) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION '% reads the rating field %', reader, OLD.name
            USING ERRCODE = 'check_violation', TABLE = TG_TABLE_NAME;
    END IF;
    RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
END
$$
"""
