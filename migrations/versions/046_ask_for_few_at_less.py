"""A few verifications that are asked for together cost little more than one: none is written by itself first.

New bodies of two functions, and a third that both use: no table is locked.
"""

from importlib import import_module

from alembic import op

revision = "046"
down_revision = "045"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(NEAREST_CONFIGURATION)
    op.execute(TRY_ENQUEUE_VERIFICATION)
    op.execute(TRY_ENQUEUE_VERIFICATIONS)


def downgrade() -> None:
    single: str = import_module("migrations.versions.023_shared_answers").TRY_ENQUEUE_VERIFICATION
    many: str = import_module("migrations.versions.044_ask_together").TRY_ENQUEUE_VERIFICATIONS
    # Revision 028 renamed what the single one calls.
    for before in (single.replace("FROM enqueue_job(", "FROM insert_job("), many):
        op.execute(before.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"))
    op.execute("DROP FUNCTION nearest_configuration(text, text, text, text)")


# What the platform decides of a question, whoever it is about: the nearest row wins as a whole, switched off or not, of
# the producer, then the program, then the system.
NEAREST_CONFIGURATION = """
CREATE FUNCTION nearest_configuration(
    p_integration text,
    p_producer text,
    p_program text,
    p_environment text,
    OUT integration_id bigint,
    OUT api text,
    OUT program_id bigint,
    OUT producer_id bigint,
    OUT configuration_id bigint,
    OUT endpoint text,
    OUT cache_ttl_hours integer,
    OUT problem_code text,
    OUT problem text
) LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
DECLARE
    integration third_party_integration;
    configuration integration_configuration;
    asked_program bigint;
    asked_producer bigint;
BEGIN
    SELECT * INTO integration FROM third_party_integration WHERE code = p_integration;
    IF NOT FOUND THEN
        problem_code := 'unknown_integration';
        problem := format('there is no integration %s', p_integration);
        RETURN;
    END IF;
    IF NOT integration.is_active THEN
        problem_code := 'integration_disabled';
        problem := format('integration %s is switched off', p_integration);
        RETURN;
    END IF;
    IF p_program IS NOT NULL THEN
        SELECT program.id INTO asked_program FROM program WHERE code = p_program;
        IF NOT FOUND THEN
            problem_code := 'unknown_program';
            problem := format('there is no program %s', p_program);
            RETURN;
        END IF;
    END IF;
    IF p_producer IS NOT NULL THEN
        SELECT producer.id INTO asked_producer FROM producer WHERE producer_code = p_producer;
        IF NOT FOUND THEN
            problem_code := 'unknown_producer';
            problem := format('there is no producer %s', p_producer);
            RETURN;
        END IF;
    END IF;
    SELECT * INTO configuration FROM integration_configuration AS c
    WHERE c.integration_id = integration.id AND c.environment = p_environment
      AND (c.configuration_level = 'system'
           OR (c.configuration_level = 'program' AND c.program_id = asked_program)
           OR (c.configuration_level = 'producer' AND c.producer_id = asked_producer
               AND (c.program_id IS NULL OR c.program_id = asked_program)))
    ORDER BY array_position(ARRAY['producer', 'program', 'system'], c.configuration_level::text),
             (c.program_id IS NULL)
    LIMIT 1;
    IF NOT FOUND THEN
        problem_code := 'no_configuration';
        problem := format('integration %s has no %s configuration for producer %s, program %s or the system',
                          p_integration, p_environment, coalesce(p_producer, '-'), coalesce(p_program, '-'));
        RETURN;
    END IF;
    IF NOT configuration.is_enabled THEN
        problem_code := 'integration_disabled';
        problem := format('integration %s is switched off by its %s configuration %s',
                          p_integration, configuration.configuration_level, configuration.id);
        RETURN;
    END IF;
    problem := coalesce(
        auth_config_problem(integration.auth_type, configuration.auth_config),
        host_problem(
            integration.allowed_hosts, integration.base_url, configuration.endpoint_url, configuration.auth_config));
    IF problem IS NOT NULL THEN
        problem_code := 'configuration_error';
        problem := format('configuration %s of integration %s: %s', configuration.id, p_integration, problem);
        RETURN;
    END IF;
    integration_id := integration.id;
    api := integration.api;
    program_id := asked_program;
    producer_id := asked_producer;
    configuration_id := configuration.id;
    endpoint := configuration.endpoint_url;
    cache_ttl_hours := configuration.cache_ttl_hours;
END
$$
"""

# One question, with every reason why it can't be asked. `how`: `new` (the provider will be asked), `joined` (the same
# question is under way), `cached` (its answer is here) or `repeated` (the job of this key). `p_groups` are given for
# callers that have no user of their own: their rights count, and not the user's.
TRY_ENQUEUE_VERIFICATION = """
CREATE OR REPLACE FUNCTION try_enqueue_verification(
    p_integration text,
    p_driver_id bigint DEFAULT NULL,
    p_quote_id uuid DEFAULT NULL,
    p_producer text DEFAULT NULL,
    p_program text DEFAULT NULL,
    p_environment text DEFAULT 'sandbox',
    p_tenant text DEFAULT NULL,
    p_priority integer DEFAULT 4,
    p_deadline interval DEFAULT NULL,
    p_idempotency_key text DEFAULT NULL,
    p_correlation_id text DEFAULT NULL,
    p_user_id uuid DEFAULT '00000000-0000-0000-0000-000000000001',
    p_vehicle_id bigint DEFAULT NULL,
    p_address_id bigint DEFAULT NULL,
    p_search_by text DEFAULT NULL,
    p_force boolean DEFAULT false,
    p_groups text[] DEFAULT NULL,
    OUT job_id uuid,
    OUT request_id bigint,
    OUT is_new boolean,
    OUT how text,
    OUT problem_code text,
    OUT problem text
) LANGUAGE plpgsql AS $$
DECLARE
    nearest record;
    tenant_ text := coalesce(p_tenant, p_producer, 'system');
    search_by_ text := CASE WHEN p_address_id IS NOT NULL THEN 'address'
                            WHEN p_vehicle_id IS NOT NULL THEN coalesce(p_search_by, 'vin') END;
    -- About a driver it is as it always was: keys that were given out before stay good.
    fingerprint_ text := md5((jsonb_build_array(
        p_integration, p_driver_id, p_quote_id, p_producer, p_program, p_environment)
        || CASE WHEN search_by_ IS NULL THEN '[]' ELSE jsonb_build_array(p_vehicle_id, p_address_id, search_by_) END
        )::text || CASE WHEN p_force THEN ' force' ELSE '' END);
    question_ text;
    enqueued record;
BEGIN
    IF p_priority NOT BETWEEN 0 AND 9 THEN
        problem_code := 'bad_priority';
        problem := format('priority %s is not between 0 and 9', p_priority);
        RETURN;
    END IF;
    IF p_deadline <= interval '0' THEN
        problem_code := 'bad_deadline';
        problem := 'the deadline must lie in the future';
        RETURN;
    END IF;
    IF length(p_correlation_id) > 100 THEN
        problem_code := 'bad_correlation_id';
        problem := 'the correlation id is longer than 100 characters';
        RETURN;
    END IF;
    SELECT * INTO nearest FROM nearest_configuration(p_integration, p_producer, p_program, p_environment);
    IF nearest.problem_code IS NOT NULL THEN
        problem_code := nearest.problem_code;
        problem := nearest.problem;
        RETURN;
    END IF;
    SELECT s.code, s.sentence INTO problem_code, problem
    FROM verification_subject_problem(
        p_integration, nearest.api, p_driver_id, p_vehicle_id, p_address_id, p_search_by) AS s(code, sentence);
    IF problem_code IS NOT NULL THEN
        RETURN;
    END IF;
    IF p_quote_id IS NOT NULL AND NOT EXISTS (SELECT FROM quotes WHERE quotes.id = p_quote_id) THEN
        problem_code := 'unknown_quote';
        problem := format('there is no quote %s', p_quote_id);
        RETURN;
    END IF;
    IF NOT EXISTS (SELECT FROM users WHERE users.id = p_user_id) THEN
        problem_code := 'unknown_user';
        problem := format('there is no user %s', p_user_id);
        RETURN;
    END IF;
    IF p_force AND NOT has_integration_right(
        'force_calls', nearest.integration_id, nearest.program_id, nearest.producer_id,
        CASE WHEN p_groups IS NULL THEN p_user_id END, coalesce(p_groups, '{}')
    ) THEN
        problem_code := 'forbidden';
        problem := format('the right to force calls is missing for integration %s', p_integration);
        RETURN;
    END IF;
    SELECT question_text(
        nearest.api, nearest.configuration_id, nearest.endpoint, nearest.cache_ttl_hours,
        concat_ws(' ', driver.id, driver.question_version), concat_ws(' ', license.id, license.question_version),
        concat_ws(' ', address.id, address.question_version), concat_ws(' ', vehicle.id, vehicle.question_version),
        coalesce(search_by_, '')
    ) INTO question_
    FROM (VALUES (p_driver_id, p_vehicle_id)) AS about (driver_id, vehicle_id)
    LEFT JOIN driver ON driver.id = about.driver_id LEFT JOIN license ON license.id = driver.license_id
    LEFT JOIN address ON address.id = coalesce(p_address_id, driver.address_id)
    LEFT JOIN vehicle ON vehicle.id = about.vehicle_id;

    request_id := nextval('integration_request_id_seq');
    SELECT * INTO enqueued FROM insert_job(
        'verification.verify', 'verification', jsonb_build_object('request_id', request_id),
        p_tenant => tenant_, p_priority => p_priority, p_deadline_at => now() + p_deadline,
        p_max_attempts => 100, p_idempotency_key => p_idempotency_key, p_fingerprint => fingerprint_,
        p_resource => p_integration
    );
    job_id := enqueued.job_id;
    is_new := enqueued.is_new;
    how := CASE WHEN NOT is_new THEN 'repeated' WHEN p_force THEN 'new' ELSE question_outlook(tenant_, question_) END;
    IF NOT is_new THEN
        IF enqueued.found_fingerprint IS DISTINCT FROM fingerprint_ THEN
            problem_code := 'idempotency_conflict';
            problem := 'this idempotency key was used for another verification';
            job_id := NULL;
            request_id := NULL;
            how := NULL;
            RETURN;
        END IF;
        request_id := (enqueued.found_args ->> 'request_id')::bigint;
        RETURN;
    END IF;
    INSERT INTO integration_request (
        id, integration_id, configuration_id, program_id, producer_id, quote_id, driver_id, vehicle_id,
        address_id, search_by, user_id, endpoint, correlation_id,
        retention_until, job_id, tenant, question, is_forced, status_id, created_by
    ) VALUES (
        request_id, nearest.integration_id, nearest.configuration_id, nearest.program_id, nearest.producer_id,
        p_quote_id, p_driver_id, p_vehicle_id,
        p_address_id, search_by_, p_user_id, nearest.endpoint, coalesce(p_correlation_id, job_id::text),
        (SELECT (now() AT TIME ZONE 'UTC')::date + retention_days FROM data_retention_policies
         WHERE table_name = 'integration_request' AND enabled),
        try_enqueue_verification.job_id, tenant_, question_, p_force,
        (SELECT status.id FROM status WHERE code = 'ACTIVE'), p_user_id
    );
END
$$
"""

# Drivers' questions that are plainly right are written as a set, in the platform's name. Whatever is not, or has a key
# that is taken, goes the single way, which knows every reason. Each in the order of the keys, so that two such calls
# can't wait for each other.
# The planner takes ten thousand rows of JSON for a hundred: what has to be looked up for each of them by an index
# stands in scalar subqueries, which it can't turn into joins, of one table each; and `IS TRUE` keeps it from comparing
# each job with each. Functions are called for the whole or
# are inlined: one that holds a subquery costs ten times the subquery. The outlook is that of `question_outlook`.
TRY_ENQUEUE_VERIFICATIONS = """
CREATE OR REPLACE FUNCTION try_enqueue_verifications(p_asked jsonb, p_lock_timeout text DEFAULT NULL) RETURNS TABLE (
    n bigint, job_id uuid, request_id bigint, is_new boolean, how text, problem_code text, problem text
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    platform constant uuid := '00000000-0000-0000-0000-000000000001';
    callers_trace text := coalesce(current_setting('worker.traceparent', true), '');
    answered bigint[] := '{}';
    told text;
    written record;
    one record;
BEGIN
    IF p_lock_timeout IS NOT NULL THEN
        told := set_config('lock_timeout', p_lock_timeout, true);
    END IF;
    IF jsonb_path_exists(p_asked, '$[*].driver_id') THEN
        WITH scope AS MATERIALIZED (
            SELECT known.scope, nearest.* FROM (
                SELECT DISTINCT a.scope, a.integration, a.producer, a.program, a.environment
                FROM asked_verifications(p_asked) AS a
            ) AS known
            CROSS JOIN LATERAL nearest_configuration(
                known.integration, known.producer, known.program, known.environment) AS nearest
            WHERE nearest.problem_code IS NULL AND nearest.api IN ('drivers', 'criminal')
        ), plain AS MATERIALIZED (
            SELECT a.*, s.integration_id, s.api, s.program_id, s.producer_id, s.configuration_id, s.endpoint,
                s.cache_ttl_hours, (
                    SELECT ARRAY[
                        concat_ws(' ', d.id, d.question_version),
                        (SELECT concat_ws(' ', l.id, l.question_version) FROM license AS l WHERE l.id = d.license_id),
                        (SELECT concat_ws(' ', h.id, h.question_version) FROM address AS h WHERE h.id = d.address_id)
                    ] FROM driver AS d WHERE d.id = a.driver_id
                ) AS parts
            FROM asked_verifications(p_asked) AS a JOIN scope AS s USING (scope)
            WHERE a.vehicle_id IS NULL AND a.address_id IS NULL AND a.search_by IS NULL AND NOT a.force
              AND a.priority BETWEEN 0 AND 9
              AND coalesce(a.deadline > interval '0', true)
              AND coalesce(length(a.correlation_id) <= 100, true)
              AND (a.quote_id IS NULL OR (SELECT true FROM quotes WHERE quotes.id = a.quote_id))
        ), questioned AS MATERIALIZED (
            SELECT q.*, gen_random_uuid() AS new_job, nextval('integration_request_id_seq') AS new_request,
                question_text(
                    q.api, q.configuration_id, q.endpoint, q.cache_ttl_hours, q.parts[1], coalesce(q.parts[2], ''),
                    coalesce(q.parts[3], ''), '', '') AS question
            FROM plain AS q WHERE q.parts IS NOT NULL
        ), inserted AS (
            INSERT INTO job (
                id, kind, queue, tenant, resource, priority, args, deadline_at, max_attempts, fingerprint,
                idempotency_key, idempotency_until, trace_context
            )
            SELECT q.new_job, 'verification.verify', 'verification', q.tenant, q.integration, q.priority,
                jsonb_build_object('request_id', q.new_request), now() + q.deadline, 100,
                md5(jsonb_build_array(
                    q.integration, q.driver_id, q.quote_id, q.producer, q.program, q.environment)::text),
                q.idempotency_key, CASE WHEN q.idempotency_key IS NOT NULL THEN now() + interval '24 hours' END,
                substring(coalesce(q.traceparent, callers_trace) FROM '^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$')
            FROM questioned AS q ORDER BY q.tenant, q.idempotency_key, q.n
            ON CONFLICT (tenant, kind, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
            RETURNING id
        ), accepted AS MATERIALIZED (
            SELECT q.*, CASE WHEN q.question IS NULL THEN 'new' ELSE coalesce((
                    SELECT 'joined' FROM integration_request AS open
                    WHERE open.tenant = q.tenant AND open.question = q.question
                      AND open.request_status IN ('pending', 'sent') LIMIT 1
                ), (
                    SELECT 'cached' FROM asked_question AS known
                    WHERE known.tenant = q.tenant AND known.question = q.question AND known.answer_until > now() AND (
                        SELECT NOT answer.pii_masked FROM integration_request AS answer
                        WHERE answer.id = known.answered_by)
                ), 'new') END AS outlook
            FROM questioned AS q WHERE (q.new_job IN (SELECT inserted.id FROM inserted)) IS TRUE
        ), requested AS (
            INSERT INTO integration_request (
                id, integration_id, configuration_id, program_id, producer_id, quote_id, driver_id, user_id, endpoint,
                correlation_id, retention_until, job_id, tenant, question, is_forced, status_id, created_by
            )
            SELECT a.new_request, a.integration_id, a.configuration_id, a.program_id, a.producer_id, a.quote_id,
                a.driver_id, platform, a.endpoint, coalesce(a.correlation_id, a.new_job::text),
                (SELECT (now() AT TIME ZONE 'UTC')::date + retention_days FROM data_retention_policies
                 WHERE table_name = 'integration_request' AND enabled),
                a.new_job, a.tenant, a.question, false, (SELECT status.id FROM status WHERE code = 'ACTIVE'), platform
            FROM accepted AS a
        )
        SELECT array_agg(a.n) AS ns, array_agg(a.new_job) AS jobs, array_agg(a.new_request) AS requests,
            array_agg(a.outlook) AS outlooks
        INTO written FROM accepted AS a;
        RETURN QUERY SELECT done.n, done.job, done.request, true, done.outlook, NULL::text, NULL::text
            FROM unnest(written.ns, written.jobs, written.requests, written.outlooks)
                AS done (n, job, request, outlook);
        answered := coalesce(written.ns, '{}');
    END IF;
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
