"""`enqueue_job(kind, args)` asks for jobs by psql, and many verifications are asked for at once.

The ledger's own insert, which any kind goes through, is called `insert_job` from here on. Functions only: no table is
locked. An application of the version before finds its door renamed, so stop its API and workers for the moment.
"""

from alembic import op

revision = "028"
down_revision = "027"
branch_labels = None
depends_on = None

LEDGERS_OWN = (
    "(text, text, jsonb, text, integer, timestamptz, timestamptz, integer, text, interval, text, timestamptz, text)"
)


def upgrade() -> None:
    op.execute(f"ALTER FUNCTION enqueue_job{LEDGERS_OWN} RENAME TO insert_job")
    op.execute(renamed_in_callers("enqueue_job", "insert_job"))
    op.execute(ASKED_VERIFICATIONS)
    op.execute(TRY_ENQUEUE_VERIFICATIONS)
    op.execute(ARGS_PROBLEM)
    op.execute(ENQUEUE_JOB)


def downgrade() -> None:
    op.execute("DROP FUNCTION enqueue_job(text, jsonb, text, integer, interval, text, text)")
    op.execute("DROP FUNCTION args_problem(jsonb, jsonb)")
    op.execute("DROP FUNCTION try_enqueue_verifications(jsonb)")
    op.execute("DROP FUNCTION asked_verifications(jsonb)")
    op.execute(f"ALTER FUNCTION insert_job{LEDGERS_OWN} RENAME TO enqueue_job")
    op.execute(renamed_in_callers("insert_job", "enqueue_job"))


# The callers keep their bodies, whatever they are by now: only the name of what they call is another.
def renamed_in_callers(old: str, new: str) -> str:
    return f"""
        DO $do$
        DECLARE
            caller regprocedure;
        BEGIN
            FOR caller IN SELECT oid FROM pg_proc
                WHERE pronamespace = current_schema()::regnamespace AND prosrc ~ '\\m{old}\\('
            LOOP
                EXECUTE regexp_replace(pg_get_functiondef(caller), '\\m{old}\\(', '{new}(', 'g');
            END LOOP;
        END
        $do$
    """  # noqa: S608 - names of ours


# The rows of a bulk, as many sets as `try_enqueue_verifications` needs. A scope's rows differ in their person only.
ASKED_VERIFICATIONS = """
CREATE FUNCTION asked_verifications(p_asked jsonb) RETURNS TABLE (
    n bigint, integration text, driver_id bigint, vehicle_id bigint, address_id bigint, search_by text, quote_id uuid,
    producer text, program text, environment text, tenant text, priority integer, deadline interval,
    idempotency_key text, correlation_id text, force boolean, groups text[], scope text
) LANGUAGE sql STABLE ROWS 10000 AS $$
    SELECT a.n, a.integration, a.driver_id, a.vehicle_id, a.address_id, a.search_by, a.quote_id, a.producer, a.program,
        coalesce(a.environment, 'sandbox'), coalesce(a.tenant, a.producer, 'system'), coalesce(a.priority, 4),
        a.deadline, a.idempotency_key, a.correlation_id, coalesce(a.force, false), a.groups,
        jsonb_build_array(a.integration, a.producer, a.program, a.environment, a.tenant)::text
    FROM ROWS FROM (jsonb_to_recordset(p_asked) AS (
        integration text, driver_id bigint, vehicle_id bigint, address_id bigint, search_by text, quote_id uuid,
        producer text, program text, environment text, tenant text, priority integer, deadline interval,
        idempotency_key text, correlation_id text, force boolean, groups text[]
    )) WITH ORDINALITY AS a (
        integration, driver_id, vehicle_id, address_id, search_by, quote_id, producer, program, environment, tenant,
        priority, deadline, idempotency_key, correlation_id, force, groups, n)
$$
"""

# The planner takes ten thousand rows of JSON for a hundred and would compare each with each: no nested loops. So what
# has to be looked up by an index stands in scalar subqueries, which it does not turn into joins.
# The first good one of a scope goes the way of a single one, which decides integration, configuration
# and the rest; what it wrote is the pattern by which the others are written set by set. Whatever is not plainly right,
# or has a key that is taken, goes the single way too, which knows every reason. All in the order of the keys, so that
# two such calls can't wait for each other.
TRY_ENQUEUE_VERIFICATIONS = """
CREATE FUNCTION try_enqueue_verifications(p_asked jsonb) RETURNS TABLE (
    n bigint, job_id uuid, request_id bigint, is_new boolean, how text, problem_code text, problem text
) LANGUAGE plpgsql SET enable_nestloop = off AS $$
#variable_conflict use_column
DECLARE
    one record;
    tried record;
    tried_ns bigint[] := '{}';
    scopes text[] := '{}';
    patterns bigint[] := '{}';
BEGIN
    FOR one IN SELECT * FROM asked_verifications(p_asked) AS a ORDER BY a.tenant, a.idempotency_key, a.n LOOP
        CONTINUE WHEN one.scope = ANY (scopes);
        SELECT * INTO tried FROM try_enqueue_verification(
            one.integration, one.driver_id, one.quote_id, one.producer, one.program, one.environment, one.tenant,
            one.priority, one.deadline, one.idempotency_key, one.correlation_id, p_vehicle_id => one.vehicle_id,
            p_address_id => one.address_id, p_search_by => one.search_by, p_force => one.force, p_groups => one.groups);
        tried_ns := tried_ns || one.n;
        IF tried.is_new AND tried.problem_code IS NULL AND one.driver_id IS NOT NULL THEN
            scopes := scopes || one.scope;
            patterns := patterns || tried.request_id;
        END IF;
        n := one.n; job_id := tried.job_id; request_id := tried.request_id; is_new := tried.is_new;
        how := tried.how; problem_code := tried.problem_code; problem := tried.problem;
        RETURN NEXT;
    END LOOP;
    FOR one IN
        WITH asked AS MATERIALIZED (
            SELECT * FROM asked_verifications(p_asked) AS a WHERE a.n <> ALL (tried_ns)
        ), chosen AS MATERIALIZED (
            SELECT DISTINCT ON (a.tenant, a.idempotency_key, CASE WHEN a.idempotency_key IS NULL THEN a.n END)
                a.*, pattern.request, gen_random_uuid() AS new_job,
                (SELECT concat_ws(' ', d.id, d.question_version) FROM driver AS d
                 WHERE d.id = a.driver_id) AS driver_part,
                (SELECT concat_ws(' ', l.id, l.question_version) FROM license AS l WHERE l.id = (
                    SELECT d.license_id FROM driver AS d WHERE d.id = a.driver_id)) AS license_part,
                (SELECT concat_ws(' ', h.id, h.question_version) FROM address AS h WHERE h.id = (
                    SELECT d.address_id FROM driver AS d WHERE d.id = a.driver_id)) AS address_part,
                nextval(pg_get_serial_sequence('integration_request', 'id')::regclass) AS new_request
            FROM asked AS a
            JOIN unnest(scopes, patterns) AS pattern (scope, request) ON pattern.scope = a.scope
            WHERE a.vehicle_id IS NULL AND a.address_id IS NULL AND a.search_by IS NULL AND NOT a.force
              AND a.priority BETWEEN 0 AND 9
              AND coalesce(a.deadline > interval '0', true)
              AND coalesce(length(a.correlation_id) <= 100, true)
              AND (SELECT count(*) FROM driver WHERE driver.id = a.driver_id) = 1
              AND (a.quote_id IS NULL OR (SELECT count(*) FROM quotes WHERE quotes.id = a.quote_id) = 1)
            ORDER BY a.tenant, a.idempotency_key, CASE WHEN a.idempotency_key IS NULL THEN a.n END, a.n
        ), questioned AS MATERIALIZED (
            SELECT chosen.n, question_text(
                integration.api, p.configuration_id, p.endpoint, configuration.cache_ttl_hours, chosen.driver_part,
                coalesce(chosen.license_part, ''), coalesce(chosen.address_part, ''), '', '') AS question
            FROM chosen
            JOIN integration_request AS p ON p.id = chosen.request
            JOIN third_party_integration AS integration ON integration.id = p.integration_id
            JOIN integration_configuration AS configuration ON configuration.id = p.configuration_id
        ), fine AS MATERIALIZED (
            SELECT chosen.*, questioned.question, question_outlook(chosen.tenant, questioned.question) AS how
            FROM chosen JOIN questioned USING (n)
        ), written AS (
            INSERT INTO job (
                id, kind, queue, tenant, resource, priority, args, run_at, deadline_at, max_attempts,
                idempotency_key, idempotency_until, fingerprint
            )
            SELECT fine.new_job, p.kind, p.queue, fine.tenant, p.resource, fine.priority,
                jsonb_build_object('request_id', fine.new_request), now(), now() + fine.deadline, p.max_attempts,
                fine.idempotency_key,
                CASE WHEN fine.idempotency_key IS NOT NULL THEN now() + interval '24 hours' END,
                md5(jsonb_build_array(fine.integration, fine.driver_id, fine.quote_id, fine.producer, fine.program,
                                      fine.environment)::text)
            FROM fine
            JOIN integration_request AS request ON request.id = fine.request
            JOIN job AS p ON p.id = request.job_id
            ORDER BY fine.tenant, fine.idempotency_key, fine.n
            ON CONFLICT DO NOTHING
            RETURNING id
        ), requested AS (
            INSERT INTO integration_request (
                id, integration_id, configuration_id, program_id, producer_id, quote_id, driver_id, user_id, endpoint,
                correlation_id, retention_until, job_id, tenant, question, is_forced, status_id, created_by
            )
            SELECT fine.new_request, p.integration_id, p.configuration_id, p.program_id, p.producer_id, fine.quote_id,
                fine.driver_id, p.user_id, p.endpoint, coalesce(fine.correlation_id, fine.new_job::text),
                p.retention_until, fine.new_job, fine.tenant, fine.question, false, p.status_id, p.created_by
            FROM fine
            JOIN integration_request AS p ON p.id = fine.request
            WHERE fine.new_job IN (SELECT written.id FROM written)
            RETURNING id, job_id
        )
        SELECT a.*, requested.id AS new_request, requested.job_id AS new_job, fine.how AS outlook
        FROM asked AS a LEFT JOIN (fine JOIN requested ON requested.job_id = fine.new_job) ON fine.n = a.n
        ORDER BY a.tenant, a.idempotency_key, a.n
    LOOP
        n := one.n; job_id := one.new_job; request_id := one.new_request; is_new := true;
        how := one.outlook; problem_code := NULL; problem := NULL;
        IF one.new_job IS NULL THEN
            SELECT * INTO tried FROM try_enqueue_verification(
                one.integration, one.driver_id, one.quote_id, one.producer, one.program, one.environment,
                one.tenant, one.priority, one.deadline, one.idempotency_key, one.correlation_id,
                p_vehicle_id => one.vehicle_id, p_address_id => one.address_id, p_search_by => one.search_by,
                p_force => one.force, p_groups => one.groups);
            job_id := tried.job_id; request_id := tried.request_id; is_new := tried.is_new;
            how := tried.how; problem_code := tried.problem_code; problem := tried.problem;
        END IF;
        RETURN NEXT;
    END LOOP;
END
$$
"""

# What an argument has to look like, by its name: {"driver_id": "integer"}. NULL where nothing is wrong.
ARGS_PROBLEM = """
CREATE FUNCTION args_problem(p_args jsonb, p_forms jsonb) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN jsonb_typeof(p_args) IS DISTINCT FROM 'object' THEN 'the arguments must be a JSON object'
        ELSE (
            SELECT CASE
                WHEN p_forms ->> name IS NULL THEN format('there is no argument %s', left(name, 40))
                ELSE format('argument %s must be %s', name, CASE p_forms ->> name
                    WHEN 'integer' THEN 'a whole number' WHEN 'uuid' THEN 'a UUID' ELSE 'text' END) END
            FROM jsonb_each(p_args) AS given (name, value)
            WHERE NOT coalesce(CASE p_forms ->> name
                WHEN 'integer' THEN jsonb_typeof(value) = 'number' AND value #>> '{}' ~ '^-?[0-9]{1,18}$'
                WHEN 'uuid' THEN jsonb_typeof(value) = 'string' AND value #>> '{}'
                    ~* '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$'
                WHEN 'text' THEN jsonb_typeof(value) = 'string'
                END OR (jsonb_typeof(value) = 'null' AND p_forms ? name), false)
            ORDER BY name LIMIT 1)
    END
$$
"""

# The door for psql and for applications that share the database: the kind's own function decides, this one only reads
# its arguments out of the JSON. A kind that is not here runs by the clock, or is asked for by another job.
ENQUEUE_JOB = """
CREATE FUNCTION enqueue_job(
    p_kind text,
    p_args jsonb,
    p_tenant text DEFAULT NULL,
    p_priority integer DEFAULT 4,
    p_deadline interval DEFAULT NULL,
    p_idempotency_key text DEFAULT NULL,
    p_correlation_id text DEFAULT NULL,
    OUT job_id uuid,
    OUT is_new boolean
) LANGUAGE plpgsql AS $$
DECLARE
    problem text;
BEGIN
    IF p_kind IS DISTINCT FROM 'verification.verify' THEN
        RAISE EXCEPTION 'kind % can not be asked for here, only verification.verify can', coalesce(p_kind, 'NULL')
            USING ERRCODE = 'invalid_parameter_value', DETAIL = 'unknown_kind';
    END IF;
    problem := args_problem(p_args, '{"integration": "text", "driver_id": "integer", "vehicle_id": "integer",
        "address_id": "integer", "search_by": "text", "quote_id": "uuid", "producer": "text", "program": "text",
        "environment": "text"}');
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION '%', problem USING ERRCODE = 'invalid_parameter_value', DETAIL = 'bad_args';
    END IF;
    SELECT asked.job_id, asked.is_new INTO job_id, is_new FROM enqueue_verification(
        p_args ->> 'integration', (p_args ->> 'driver_id')::bigint, (p_args ->> 'quote_id')::uuid,
        p_args ->> 'producer', p_args ->> 'program', coalesce(p_args ->> 'environment', 'sandbox'),
        p_tenant, p_priority, p_deadline, p_idempotency_key, p_correlation_id,
        p_vehicle_id => (p_args ->> 'vehicle_id')::bigint, p_address_id => (p_args ->> 'address_id')::bigint,
        p_search_by => p_args ->> 'search_by') AS asked;
END
$$
"""
