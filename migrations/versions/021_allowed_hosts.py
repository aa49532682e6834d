"""Which hosts an integration may be called at, checked where its addresses are written and where it is asked for.

Two new functions, two triggers on tables of a few hundred rows, and a nullable column: locks of milliseconds.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "021"
down_revision = "020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("third_party_integration", sa.Column("allowed_hosts", ARRAY(sa.Text)))
    op.execute(HOST_OF_URL)
    op.execute(HOST_PROBLEM)
    op.create_check_constraint(
        "allowed_hosts",
        "third_party_integration",
        r"array_position(allowed_hosts, '') IS NULL AND array_to_string(allowed_hosts, ' ', '?') ~"
        r" '^((((\*\.)?[a-z0-9_.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?)( |$))*$'",
    )
    op.execute(CHECK_CONFIGURATION)
    op.execute(CHECK_INTEGRATION)
    op.execute(
        """
        CREATE TRIGGER trg_integration_configuration_hosts
        BEFORE INSERT OR UPDATE OF integration_id, endpoint_url, auth_config ON integration_configuration
        FOR EACH ROW EXECUTE FUNCTION check_configuration_hosts()
        """
    )
    op.execute(
        """
        CREATE TRIGGER trg_third_party_integration_hosts
        AFTER UPDATE OF allowed_hosts, base_url ON third_party_integration
        FOR EACH ROW EXECUTE FUNCTION check_integration_hosts()
        """
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER trg_third_party_integration_hosts ON third_party_integration")
    op.execute("DROP TRIGGER trg_integration_configuration_hosts ON integration_configuration")
    op.execute("DROP FUNCTION check_integration_hosts()")
    op.execute("DROP FUNCTION check_configuration_hosts()")
    op.drop_column("third_party_integration", "allowed_hosts")
    op.execute("DROP FUNCTION host_problem(text[], text, text, jsonb)")
    op.execute("DROP FUNCTION host_of_url(text)")


# Strict on purpose: what two programs could read differently (a login, a backslash, blanks) has no host at all.
HOST_OF_URL = r"""
CREATE FUNCTION host_of_url(p_url text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT lower(found[1]) || coalesce(nullif(found[2], '\:443'), '')
    FROM regexp_match(
        p_url, '^https?://([A-Za-z0-9_][A-Za-z0-9_.-]*|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?([/?#][!-\[\]-~]*)?$'
    ) AS found
$$
"""

# No list, no limit. `host` allows any port that the process allows, `host:port` that one; `*.name` what lies below it.
HOST_PROBLEM = """
CREATE FUNCTION host_problem(p_allowed text[], p_base_url text, p_endpoint_url text, p_auth_config jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    named record;
    host text;
BEGIN
    IF p_allowed IS NULL THEN
        RETURN NULL;
    END IF;
    FOR named IN
        SELECT 'endpoint_url' AS name, CASE WHEN strpos(p_endpoint_url, '://') > 0 THEN p_endpoint_url
            ELSE rtrim(p_base_url, '/') || '/' || ltrim(p_endpoint_url, '/') END AS url
        UNION ALL
        SELECT 'token_url', p_auth_config ->> 'token_url' WHERE p_auth_config ? 'token_url'
    LOOP
        host := host_of_url(named.url);
        IF host IS NULL THEN
            RETURN format('the host of its %s is not plain to read', named.name);
        END IF;
        IF NOT EXISTS (
            SELECT FROM unnest(p_allowed) AS allowed
            WHERE host = allowed OR regexp_replace(host, ':[0-9]+$', '') = allowed
               OR starts_with(allowed, '*.') AND (
                   right(host, length(allowed) - 1) = substr(allowed, 2)
                   OR right(regexp_replace(host, ':[0-9]+$', ''), length(allowed) - 1) = substr(allowed, 2))
        ) THEN
            RETURN format('the host %s of its %s is not among the allowed_hosts of its integration', host, named.name);
        END IF;
    END LOOP;
    RETURN NULL;
END
$$
"""

CHECK_CONFIGURATION = """
CREATE FUNCTION check_configuration_hosts() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    problem text;
BEGIN
    SELECT host_problem(allowed_hosts, base_url, NEW.endpoint_url, NEW.auth_config) INTO problem
    FROM third_party_integration WHERE id = NEW.integration_id;
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION 'configuration %: %', NEW.id, problem USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$
"""

CHECK_INTEGRATION = """
CREATE FUNCTION check_integration_hosts() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    configuration record;
BEGIN
    FOR configuration IN
        SELECT id, host_problem(NEW.allowed_hosts, NEW.base_url, endpoint_url, auth_config) AS problem
        FROM integration_configuration WHERE integration_id = NEW.id
    LOOP
        IF configuration.problem IS NOT NULL THEN
            RAISE EXCEPTION 'configuration %: %', configuration.id, configuration.problem
                USING ERRCODE = 'check_violation';
        END IF;
    END LOOP;
    RETURN NULL;
END
$$
"""
