"""Rates and plans that can't be rated by are refused when they are saved, whoever saves them, naming the field.

New functions and triggers: the tables are locked for milliseconds. What is stored already is looked at when it changes.
"""

from alembic import op

revision = "025"
down_revision = "024"
branch_labels = None
depends_on = None

TABLES = ("rate_tables", "rating_plans", "state_rating_rules")


def upgrade() -> None:
    for function in (FACTOR, FACTORS, ROUNDING, STEPS, FEES, ASSIGNMENT, REFUSE_ROW):
        op.execute(function)
    for table in TABLES:
        op.execute(
            f"CREATE TRIGGER trg_{table}_refuse BEFORE INSERT OR UPDATE ON {table}"
            " FOR EACH ROW EXECUTE FUNCTION refuse_malformed_rating()"
        )


def downgrade() -> None:
    for table in TABLES:
        op.execute(f"DROP TRIGGER trg_{table}_refuse ON {table}")
    for function in (
        "refuse_malformed_rating()",
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

# One function for three tables: the row as JSON, so that a column that a table lacks is simply absent.
REFUSE_ROW = """
CREATE FUNCTION refuse_malformed_rating() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    given jsonb := to_jsonb(NEW);
    problem text;
    column_ text;
BEGIN
    SELECT key INTO column_ FROM jsonb_each_text(given)
    WHERE value = 'NaN' AND key IN ('base_rate', 'min_premium', 'max_premium', 'min_factor', 'max_factor') LIMIT 1;
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
    END IF;
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION '%', problem USING ERRCODE = 'check_violation', TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NEW;
END
$$
"""
