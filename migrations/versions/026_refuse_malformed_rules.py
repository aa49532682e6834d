"""Discounts and surcharges that nobody can judge are refused when they are saved: unknown fields, wrong comparisons,
rules that ask each other in a circle; and what they read can't be taken away from under them.

New functions and triggers: the tables are locked for milliseconds. What is stored already is looked at when it changes.
"""

from alembic import op

revision = "026"
down_revision = "025"
branch_labels = None
depends_on = None

RULES = ("discount_rules", "surcharge_rules")


def upgrade() -> None:
    for function in (CONDITION, RULES_READ, READERS, REFUSE_RULE, REFUSE_CHANGE, REFUSE_FIELD):
        op.execute(function)
    for table in RULES:
        op.execute(
            f"CREATE TRIGGER trg_{table}_refuse BEFORE INSERT OR UPDATE ON {table}"
            " FOR EACH ROW EXECUTE FUNCTION refuse_malformed_rule()"
        )
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
    for table in RULES:
        op.execute(f"DROP TRIGGER trg_{table}_refuse_change ON {table}")
        op.execute(f"DROP TRIGGER trg_{table}_refuse ON {table}")
    for function in (
        "refuse_change_of_field_in_use()",
        "refuse_change_of_rule_in_use()",
        "refuse_malformed_rule()",
        "rules_that_read(text)",
        "rules_read(jsonb)",
        "rating_condition_problem(text, jsonb, text, text, integer)",
    ):
        op.execute(f"DROP FUNCTION {function}")


# What is wrong with a condition, beginning with the place, or NULL.
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

# Two tables that differ in the names of three columns: the row as JSON has both.
REFUSE_RULE = """
CREATE FUNCTION refuse_malformed_rule() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    given jsonb := to_jsonb(NEW);
    conditions_ jsonb;
    problem text;
    column_ text;
BEGIN
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
    IF problem IS NULL THEN
        SELECT format('%s must be a number', key) INTO problem FROM jsonb_each_text(given)
        WHERE value = 'NaN' AND key IN ('discount_value', 'surcharge_value', 'max_amount') LIMIT 1;
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
