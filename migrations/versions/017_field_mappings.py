"""Field mappings take effect: what may be mapped where is checked as it is saved, and a version is never rewritten.

Rows that stand there already are not looked at; a worker notes a broken one in each answer and maps the others. The
new columns are nullable or have constant defaults, but for `mapping_stamp` on a table of a few rows; the CHECKs are on
a table of a few hundred. Locks of milliseconds.
"""

import sqlalchemy as sa
from alembic import op

from migrations.columns import flag

revision = "017"
down_revision = "016"
branch_labels = None
depends_on = None

CONFIGURATION = "integration_configuration"


def upgrade() -> None:
    stamp = sa.Column("mapping_stamp", sa.Uuid, nullable=False, server_default=sa.func.gen_random_uuid())
    op.add_column("third_party_integration", stamp)
    op.add_column(CONFIGURATION, sa.Column("verified_confidence", sa.Numeric(5, 2)))
    op.add_column(CONFIGURATION, sa.Column("partial_confidence", sa.Numeric(5, 2)))
    op.add_column(CONFIGURATION, flag("match_nicknames", False))
    op.create_check_constraint("verified_confidence", CONFIGURATION, "verified_confidence BETWEEN 0 AND 100")
    op.create_check_constraint("partial_confidence", CONFIGURATION, "partial_confidence BETWEEN 0 AND 100")
    op.create_check_constraint("confidence_order", CONFIGURATION, "partial_confidence <= verified_confidence")
    op.execute(MAPPING_TARGETS)
    op.execute(MAPPING_RULES_PROBLEM)
    op.execute(VERSION_REACHED)
    op.execute(CHECK_FIELD_MAPPING)
    op.execute(
        "CREATE TRIGGER trg_integration_field_mapping_check BEFORE INSERT OR UPDATE OR DELETE"
        " ON integration_field_mapping FOR EACH ROW EXECUTE FUNCTION check_field_mapping()"
    )
    op.execute(STAMP_API_VERSION)
    op.execute(
        "CREATE TRIGGER trg_third_party_integration_stamp BEFORE UPDATE OF api_version ON third_party_integration"
        " FOR EACH ROW WHEN (OLD.api_version IS DISTINCT FROM NEW.api_version) EXECUTE FUNCTION stamp_api_version()"
    )
    op.execute(STAMP_MAPPINGS)
    for table in ("integration_field_mapping", "integration_node"):
        op.execute(
            f"CREATE TRIGGER trg_{table}_stamp AFTER INSERT OR UPDATE OR DELETE"
            f" ON {table} FOR EACH ROW EXECUTE FUNCTION stamp_mappings()"
        )


def downgrade() -> None:
    for table in ("integration_field_mapping", "integration_node"):
        op.execute(f"DROP TRIGGER trg_{table}_stamp ON {table}")
    op.execute("DROP TRIGGER trg_integration_field_mapping_check ON integration_field_mapping")
    op.execute("DROP FUNCTION stamp_mappings()")
    op.execute("DROP TRIGGER trg_third_party_integration_stamp ON third_party_integration")
    op.execute("DROP FUNCTION stamp_api_version()")
    op.execute("DROP FUNCTION check_field_mapping()")
    op.execute("DROP FUNCTION version_reached(text, text)")
    op.execute("DROP FUNCTION mapping_rules_problem(jsonb, jsonb)")
    op.execute("DROP FUNCTION mapping_targets()")
    op.drop_column(CONFIGURATION, "match_nicknames")
    op.drop_column(CONFIGURATION, "partial_confidence")
    op.drop_column(CONFIGURATION, "verified_confidence")
    op.drop_column("third_party_integration", "mapping_stamp")


# The same list as the models' MAPPABLE columns; a test compares them.
MAPPING_TARGETS = """
CREATE FUNCTION mapping_targets()
RETURNS TABLE (target_table text, target_column text, kind text, max_length integer)
LANGUAGE sql IMMUTABLE AS $$
    VALUES ('address', 'street_1', 'text', 255),
           ('address', 'street_2', 'text', 255),
           ('address', 'city', 'text', 100),
           ('address', 'state', 'state', NULL),
           ('address', 'zip_code', 'text', 10),
           ('address', 'zip_4', 'text', 4),
           ('driver', 'first_name', 'text', 100),
           ('driver', 'last_name', 'text', 100),
           ('license', 'license_type', 'text', 20),
           ('license', 'issue_date', 'date', NULL),
           ('license', 'expiration_date', 'date', NULL),
           ('vehicle', 'model_year', 'integer', NULL),
           ('vehicle', 'make', 'text', 50),
           ('vehicle', 'model', 'text', 50)
$$
"""

# Names and shapes. Whether a pattern is one that RE2 knows, PostgreSQL can't say; the workers' own functions can.
MAPPING_RULES_PROBLEM = r"""
CREATE FUNCTION mapping_rules_problem(p_transformation jsonb, p_validation jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    name text;
    rule jsonb;
    part jsonb;
    type_ text;
    is_fit boolean;
BEGIN
    IF jsonb_typeof(p_transformation) <> 'object' THEN
        RETURN 'transformation_rules must be a JSON object';
    END IF;
    IF jsonb_typeof(p_validation) <> 'object' THEN
        RETURN 'validation_rules must be a JSON object';
    END IF;
    FOR name, rule IN SELECT * FROM jsonb_each(p_transformation) LOOP
        type_ := jsonb_typeof(rule);
        CASE
            WHEN name IN ('trim', 'uppercase', 'lowercase', 'titlecase') THEN
                is_fit := type_ = 'boolean';
            WHEN name = 'integer' THEN
                is_fit := rule = 'true';
            WHEN name = 'last' THEN
                is_fit := type_ = 'number' AND rule::numeric BETWEEN 1 AND 1000
                          AND rule::numeric = trunc(rule::numeric);
            WHEN name = 'default' THEN
                is_fit := type_ IN ('string', 'number', 'boolean') AND rule <> '""';
            WHEN name = 'lookup' THEN
                is_fit := type_ = 'object' AND rule <> '{}'
                          AND NOT jsonb_path_exists(rule, 'strict $.* ? (@.type() == "object" || @.type() == "array"
                                                                  || @.type() == "null")', silent => true);
            WHEN name = 'array' THEN
                is_fit := rule IN ('"first"', '"last"', '"count"')
                          OR (type_ = 'object' AND rule - 'join' = '{}' AND jsonb_typeof(rule -> 'join') = 'string');
            WHEN name = 'concat' THEN
                is_fit := type_ = 'object' AND rule - 'nodes' - 'separator' = '{}'
                          AND jsonb_typeof(rule -> 'nodes') = 'array'
                          AND jsonb_array_length(rule -> 'nodes') BETWEEN 2 AND 10
                          AND coalesce(jsonb_typeof(rule -> 'separator') = 'string', true);
            WHEN name = 'regex_replace' THEN
                is_fit := type_ IN ('object', 'array') AND rule <> '[]';
                FOR part IN SELECT jsonb_array_elements(CASE type_ WHEN 'array' THEN rule
                                                        ELSE jsonb_build_array(rule) END) LOOP
                    is_fit := is_fit AND jsonb_typeof(part) = 'object'
                              AND part - 'pattern' - 'replacement' = '{}'
                              AND coalesce(length(part ->> 'pattern') BETWEEN 1 AND 200, false)
                              AND jsonb_typeof(part -> 'pattern') = 'string'
                              AND coalesce(jsonb_typeof(part -> 'replacement') = 'string', false);
                END LOOP;
            WHEN name = 'date' THEN
                is_fit := rule = 'true' OR (type_ IN ('string', 'array') AND rule <> '[]'
                    AND CASE type_ WHEN 'array' THEN rule ELSE jsonb_build_array(rule) END
                        <@ '["YYYY-MM-DD", "MM/DD/YYYY", "YYYYMMDD", "MMDDYYYY", "DD.MM.YYYY", "YYYY-MM-DDThh:mm:ss"]');
            WHEN name = 'decimal' THEN
                is_fit := rule = 'true' OR (type_ = 'object' AND rule - 'scale' = '{}'
                                            AND jsonb_typeof(rule -> 'scale') = 'number'
                                            AND (rule ->> 'scale') ~ '^([0-9]|10)$');
            WHEN name = 'boolean' THEN
                is_fit := rule = 'true' OR (type_ = 'object' AND rule - 'true' - 'false' = '{}'
                                            AND jsonb_typeof(rule -> 'true') = 'array'
                                            AND jsonb_typeof(rule -> 'false') = 'array');
            ELSE
                RETURN format('transformation_rules: there is no rule %s', to_jsonb(name));
        END CASE;
        IF is_fit IS NOT TRUE THEN
            RETURN format('transformation_rules: %s has a form that is not known', name);
        END IF;
    END LOOP;
    FOR name, rule IN SELECT * FROM jsonb_each(p_validation) LOOP
        type_ := jsonb_typeof(rule);
        CASE
            WHEN name = 'required' THEN
                is_fit := type_ = 'boolean';
            WHEN name IN ('min_length', 'max_length') THEN
                is_fit := type_ = 'number' AND (rule #>> '{}') ~ '^[0-9]{1,5}$' AND rule::numeric <= 10000;
            WHEN name = 'pattern' THEN
                is_fit := type_ = 'string' AND length(rule #>> '{}') BETWEEN 1 AND 200;
            WHEN name = 'enum' THEN
                is_fit := type_ = 'array' AND rule <> '[]'
                          AND NOT jsonb_path_exists(rule, 'strict $[*] ? (@.type() == "object" || @.type() == "array"
                                                                   || @.type() == "null")', silent => true);
            WHEN name IN ('min', 'max') THEN
                is_fit := type_ = 'number';
            WHEN name IN ('min_date', 'max_date') THEN
                is_fit := type_ = 'string'
                          AND (rule #>> '{}') ~ '^([0-9]{4}-[0-9]{2}-[0-9]{2}|today([+-][0-9]{1,5}d)?)$';
            ELSE
                RETURN format('validation_rules: there is no rule %s', to_jsonb(name));
        END CASE;
        IF is_fit IS NOT TRUE THEN
            RETURN format('validation_rules: %s has a form that is not known', name);
        END IF;
    END LOOP;
    RETURN NULL;
END
$$
"""

# 2.10 comes after 2.9. Versions that are not numbers can't be ordered: then only the named one itself is meant.
VERSION_REACHED = r"""
CREATE FUNCTION version_reached(p_version text, p_current text) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(
        CASE WHEN p_version ~ '^[0-9]{1,9}(\.[0-9]{1,9})*$' AND p_current ~ '^[0-9]{1,9}(\.[0-9]{1,9})*$'
             THEN string_to_array(p_version, '.')::integer[] <= string_to_array(p_current, '.')::integer[]
             ELSE p_version = p_current END,
        false)
$$
"""

CHECK_FIELD_MAPPING = r"""
CREATE FUNCTION check_field_mapping() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    node record;
    problem text;
    path text := '^[A-Za-z_][A-Za-z0-9_-]*(\[\])?(\.[A-Za-z_][A-Za-z0-9_-]*(\[\])?)*$';
BEGIN
    IF TG_OP = 'DELETE' THEN
        problem := 'a field mapping is retired, not deleted: its versions are history';
    ELSIF TG_OP = 'UPDATE' THEN
        IF NEW.is_active_version AND NOT OLD.is_active_version THEN
            problem := 'an old version stays one: add a new version with its rules';
        ELSIF (NEW.integration_id, NEW.mapping_scope, NEW.program_id, NEW.producer_id, NEW.source_node_id,
               NEW.target_table, NEW.target_column, NEW.transformation_rules, NEW.validation_rules,
               NEW.version_number, NEW.replaced_mapping_id)
              IS DISTINCT FROM
              (OLD.integration_id, OLD.mapping_scope, OLD.program_id, OLD.producer_id, OLD.source_node_id,
               OLD.target_table, OLD.target_column, OLD.transformation_rules, OLD.validation_rules,
               OLD.version_number, OLD.replaced_mapping_id) THEN
            problem := 'a version is never rewritten: add a new version that replaces it';
        END IF;
    ELSE
        SELECT n.integration_id, n.node_path, n.is_array, n.deprecated_in_version,
               version_reached(n.deprecated_in_version, api.api_version) AS is_deprecated
          INTO node
          FROM integration_node AS n JOIN third_party_integration AS api ON api.id = n.integration_id
         WHERE n.id = NEW.source_node_id;
        IF NOT EXISTS (SELECT FROM mapping_targets() AS t
                       WHERE t.target_table = NEW.target_table AND t.target_column = NEW.target_column) THEN
            problem := format('%s.%s is not among the columns that may be mapped',
                              NEW.target_table, NEW.target_column);
        ELSIF node.integration_id IS DISTINCT FROM NEW.integration_id THEN
            problem := format('node %s is not one of integration %s', NEW.source_node_id, NEW.integration_id);
        ELSIF node.node_path !~ path THEN
            problem := format('node %s has no path that can be followed', NEW.source_node_id);
        ELSIF NEW.is_active_version AND node.is_deprecated THEN
            problem := format('node %s is deprecated since version %s', node.node_path, node.deprecated_in_version);
        ELSIF NEW.is_active_version AND node.is_array AND NEW.transformation_rules -> 'array' IS NULL THEN
            problem := format('node %s is a list: say with the rule "array" what is taken of it', node.node_path);
        ELSIF NEW.replaced_mapping_id IS NOT NULL AND NOT EXISTS (
            SELECT FROM integration_field_mapping AS earlier
            WHERE earlier.id = NEW.replaced_mapping_id AND NOT earlier.is_active_version
              AND earlier.version_number < NEW.version_number
              AND (earlier.integration_id, earlier.mapping_scope, earlier.program_id, earlier.producer_id,
                   earlier.target_table, earlier.target_column)
                  IS NOT DISTINCT FROM
                  (NEW.integration_id, NEW.mapping_scope, NEW.program_id, NEW.producer_id,
                   NEW.target_table, NEW.target_column)) THEN
            problem := 'replaced_mapping_id must name an earlier, ended version of the same target and scope';
        ELSE
            problem := mapping_rules_problem(NEW.transformation_rules, NEW.validation_rules);
            IF problem IS NULL THEN
                SELECT format('concat names %s, which is no node of this integration', given.path) INTO problem
                  FROM jsonb_array_elements_text(NEW.transformation_rules #> '{concat,nodes}') AS given (path)
                 WHERE NOT EXISTS (SELECT FROM integration_node AS n
                                   WHERE n.integration_id = NEW.integration_id AND n.node_path = given.path)
                 LIMIT 1;
            END IF;
        END IF;
    END IF;
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION '%', problem USING ERRCODE = 'check_violation', TABLE = 'integration_field_mapping',
            CONSTRAINT = 'field_mapping';
    END IF;
    RETURN NEW;
END
$$
"""

# A random value, not a number that counts: equal ones mean equal mappings, whatever database they were read from.
STAMP_MAPPINGS = """
CREATE FUNCTION stamp_mappings() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        UPDATE third_party_integration SET mapping_stamp = gen_random_uuid() WHERE id = OLD.integration_id;
    END IF;
    IF TG_OP <> 'DELETE' AND (TG_OP = 'INSERT' OR NEW.integration_id <> OLD.integration_id) THEN
        UPDATE third_party_integration SET mapping_stamp = gen_random_uuid() WHERE id = NEW.integration_id;
    END IF;
    RETURN NULL;
END
$$
"""

STAMP_API_VERSION = """
CREATE FUNCTION stamp_api_version() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.mapping_stamp := gen_random_uuid();
    RETURN NEW;
END
$$
"""
