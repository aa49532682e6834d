"""Verifications that are asked for together may belong to traces of their own, and one alone costs no more than before.

A new body of one function, with a second argument, and a column more of another's result: no table is locked.
"""

from importlib import import_module

from alembic import op

revision = "044"
down_revision = "043"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("DROP FUNCTION try_enqueue_verifications(jsonb)")
    op.execute("DROP FUNCTION asked_verifications(jsonb)")
    op.execute(ASKED_VERIFICATIONS)
    op.execute(TRY_ENQUEUE_VERIFICATIONS)


def downgrade() -> None:
    op.execute("DROP FUNCTION try_enqueue_verifications(jsonb, text)")
    op.execute("DROP FUNCTION asked_verifications(jsonb)")
    op.execute(import_module("migrations.versions.028_ask_by_kind").ASKED_VERIFICATIONS)
    op.execute(import_module("migrations.versions.041_ask_for_many_at_less").TRY_ENQUEUE_VERIFICATIONS)


# The rows of a bulk, as many sets as `try_enqueue_verifications` needs. A scope's rows differ in their person only.
ASKED_VERIFICATIONS = """
CREATE FUNCTION asked_verifications(p_asked jsonb) RETURNS TABLE (
    n bigint, integration text, driver_id bigint, vehicle_id bigint, address_id bigint, search_by text, quote_id uuid,
    producer text, program text, environment text, tenant text, priority integer, deadline interval,
    idempotency_key text, correlation_id text, force boolean, groups text[], traceparent text, scope text
) LANGUAGE sql STABLE ROWS 10000 AS $$
    SELECT a.n, a.integration, a.driver_id, a.vehicle_id, a.address_id, a.search_by, a.quote_id, a.producer, a.program,
        coalesce(a.environment, 'sandbox'), coalesce(a.tenant, a.producer, 'system'), coalesce(a.priority, 4),
        a.deadline, a.idempotency_key, a.correlation_id, coalesce(a.force, false), a.groups, a.traceparent,
        jsonb_build_array(a.integration, a.producer, a.program, a.environment, a.tenant)::text
    FROM ROWS FROM (jsonb_to_recordset(p_asked) AS (
        integration text, driver_id bigint, vehicle_id bigint, address_id bigint, search_by text, quote_id uuid,
        producer text, program text, environment text, tenant text, priority integer, deadline interval,
        idempotency_key text, correlation_id text, force boolean, groups text[], traceparent text
    )) WITH ORDINALITY AS a (
        integration, driver_id, vehicle_id, address_id, search_by, quote_id, producer, program, environment, tenant,
        priority, deadline, idempotency_key, correlation_id, force, groups, traceparent, n)
$$
"""

# The first good one of a scope goes the way of a single one, which decides integration, configuration
# and the rest; what it wrote is the pattern by which the others are written set by set. Whatever is not plainly right,
# or has a key that is taken, goes the single way too, which knows every reason. All in the order of the keys, so that
# two such calls can't wait for each other.
# The planner takes ten thousand rows of JSON for a hundred: what has to be looked up for each of them by an index
# stands in scalar subqueries, which it can't turn into joins, of one table each. Functions are called for the whole or
# are inlined: one that holds a subquery costs ten times the subquery. The outlook is that of `question_outlook`.
TRY_ENQUEUE_VERIFICATIONS = """
CREATE FUNCTION try_enqueue_verifications(p_asked jsonb, p_lock_timeout text DEFAULT NULL) RETURNS TABLE (
    n bigint, job_id uuid, request_id bigint, is_new boolean, how text, problem_code text, problem text
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    one record;
    answered bigint[] := '{}';
    scopes text[] := '{}';
    patterns bigint[] := '{}';
    request_ids regclass := pg_get_serial_sequence('integration_request', 'id');
    callers_trace text := coalesce(current_setting('worker.traceparent', true), '');
    told text;
    written record;
BEGIN
    IF p_lock_timeout IS NOT NULL THEN
        told := set_config('lock_timeout', p_lock_timeout, true);
    END IF;
    FOR one IN SELECT * FROM asked_verifications(p_asked) AS a ORDER BY a.tenant, a.idempotency_key, a.n LOOP
        CONTINUE WHEN one.scope = ANY (scopes);
        told := set_config('worker.traceparent', coalesce(one.traceparent, callers_trace), true);
        SELECT one.n, t.* INTO n, job_id, request_id, is_new, how, problem_code, problem
        FROM try_enqueue_verification(
            one.integration, one.driver_id, one.quote_id, one.producer, one.program, one.environment, one.tenant,
            one.priority, one.deadline, one.idempotency_key, one.correlation_id, p_vehicle_id => one.vehicle_id,
            p_address_id => one.address_id, p_search_by => one.search_by, p_force => one.force,
            p_groups => one.groups) AS t;
        RETURN NEXT;
        answered := answered || n;
        IF is_new AND problem_code IS NULL AND one.driver_id IS NOT NULL THEN
            scopes := scopes || one.scope;
            patterns := patterns || request_id;
        END IF;
    END LOOP;
    told := set_config('worker.traceparent', callers_trace, true);
    IF cardinality(answered) = jsonb_array_length(p_asked) THEN
        RETURN;
    END IF;

    WITH pattern AS MATERIALIZED (
        SELECT known.scope, request.*, job.kind, job.queue, job.resource, job.max_attempts, integration.api,
            configuration.cache_ttl_hours
        FROM unnest(scopes, patterns) AS known (scope, request_id)
        JOIN integration_request AS request ON request.id = known.request_id
        JOIN job ON job.id = request.job_id
        JOIN third_party_integration AS integration ON integration.id = request.integration_id
        JOIN integration_configuration AS configuration ON configuration.id = request.configuration_id
    ), plain AS MATERIALIZED (
        SELECT a.*, substring(
            coalesce(a.traceparent, callers_trace) FROM '^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$'
        ) AS trace_context, (
            SELECT ARRAY[
                concat_ws(' ', d.id, d.question_version),
                (SELECT concat_ws(' ', l.id, l.question_version) FROM license AS l WHERE l.id = d.license_id),
                (SELECT concat_ws(' ', h.id, h.question_version) FROM address AS h WHERE h.id = d.address_id)
            ] FROM driver AS d WHERE d.id = a.driver_id
        ) AS parts
        FROM asked_verifications(p_asked) AS a
        WHERE a.n NOT IN (SELECT unnest(answered))
          AND a.vehicle_id IS NULL AND a.address_id IS NULL AND a.search_by IS NULL AND NOT a.force
          AND a.priority BETWEEN 0 AND 9
          AND coalesce(a.deadline > interval '0', true)
          AND coalesce(length(a.correlation_id) <= 100, true)
          AND (a.quote_id IS NULL OR (SELECT true FROM quotes WHERE quotes.id = a.quote_id))
    ), questioned AS MATERIALIZED (
        SELECT plain.*, p.id AS pattern_id, gen_random_uuid() AS new_job, nextval(request_ids) AS new_request,
            question_text(
                p.api, p.configuration_id, p.endpoint, p.cache_ttl_hours, plain.parts[1], coalesce(plain.parts[2], ''),
                coalesce(plain.parts[3], ''), '', '') AS question
        FROM plain JOIN pattern AS p USING (scope) WHERE plain.parts IS NOT NULL
    ), keyless AS (
        INSERT INTO job (
            id, kind, queue, tenant, resource, priority, args, deadline_at, max_attempts, fingerprint, trace_context
        )
        SELECT q.new_job, p.kind, p.queue, q.tenant, p.resource, q.priority,
            jsonb_build_object('request_id', q.new_request), now() + q.deadline, p.max_attempts,
            md5(jsonb_build_array(
                q.integration, q.driver_id, q.quote_id, q.producer, q.program, q.environment)::text),
            q.trace_context
        FROM questioned AS q JOIN pattern AS p ON p.id = q.pattern_id WHERE q.idempotency_key IS NULL
    ), keyed AS (
        INSERT INTO job (
            id, kind, queue, tenant, resource, priority, args, deadline_at, max_attempts, fingerprint,
            idempotency_key, idempotency_until, trace_context
        )
        SELECT q.new_job, p.kind, p.queue, q.tenant, p.resource, q.priority,
            jsonb_build_object('request_id', q.new_request), now() + q.deadline, p.max_attempts,
            md5(jsonb_build_array(
                q.integration, q.driver_id, q.quote_id, q.producer, q.program, q.environment)::text),
            q.idempotency_key, now() + interval '24 hours', q.trace_context
        FROM questioned AS q JOIN pattern AS p ON p.id = q.pattern_id WHERE q.idempotency_key IS NOT NULL
        ORDER BY q.tenant, q.idempotency_key, q.n
        ON CONFLICT DO NOTHING
        RETURNING id
    ), accepted AS MATERIALIZED (
        SELECT q.*, CASE WHEN q.question IS NULL THEN 'new' ELSE coalesce((
                SELECT 'joined' FROM integration_request AS open
                WHERE open.tenant = q.tenant AND open.question = q.question
                  AND open.request_status IN ('pending', 'sent') LIMIT 1
            ), (
                SELECT 'cached' FROM asked_question AS known
                WHERE known.tenant = q.tenant AND known.question = q.question AND known.answer_until > now() AND (
                    SELECT NOT answer.pii_masked FROM integration_request AS answer WHERE answer.id = known.answered_by)
            ), 'new') END AS outlook
        FROM questioned AS q WHERE q.idempotency_key IS NULL OR q.new_job IN (SELECT keyed.id FROM keyed)
    ), requested AS (
        INSERT INTO integration_request (
            id, integration_id, configuration_id, program_id, producer_id, quote_id, driver_id, user_id, endpoint,
            correlation_id, retention_until, job_id, tenant, question, is_forced, status_id, created_by
        )
        SELECT a.new_request, p.integration_id, p.configuration_id, p.program_id, p.producer_id, a.quote_id,
            a.driver_id, p.user_id, p.endpoint, coalesce(a.correlation_id, a.new_job::text), p.retention_until,
            a.new_job, a.tenant, a.question, false, p.status_id, p.created_by
        FROM accepted AS a JOIN pattern AS p ON p.id = a.pattern_id
    )
    SELECT array_agg(a.n) AS ns, array_agg(a.new_job) AS jobs, array_agg(a.new_request) AS requests,
        array_agg(a.outlook) AS outlooks
    INTO written FROM accepted AS a;
    RETURN QUERY SELECT done.n, done.job, done.request, true, done.outlook, NULL::text, NULL::text
        FROM unnest(written.ns, written.jobs, written.requests, written.outlooks) AS done (n, job, request, outlook);

    answered := answered || written.ns;
    IF cardinality(answered) = jsonb_array_length(p_asked) THEN
        RETURN;
    END IF;
    FOR one IN
        SELECT * FROM asked_verifications(p_asked) AS a WHERE a.n NOT IN (SELECT unnest(answered))
        ORDER BY a.tenant, a.idempotency_key, a.n
    LOOP
        told := set_config('worker.traceparent', coalesce(one.traceparent, callers_trace), true);
        SELECT one.n, t.* INTO n, job_id, request_id, is_new, how, problem_code, problem
        FROM try_enqueue_verification(
            one.integration, one.driver_id, one.quote_id, one.producer, one.program, one.environment, one.tenant,
            one.priority, one.deadline, one.idempotency_key, one.correlation_id, p_vehicle_id => one.vehicle_id,
            p_address_id => one.address_id, p_search_by => one.search_by, p_force => one.force,
            p_groups => one.groups) AS t;
        RETURN NEXT;
    END LOOP;
    told := set_config('worker.traceparent', callers_trace, true);
END
$$
"""
