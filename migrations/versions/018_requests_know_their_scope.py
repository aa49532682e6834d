"""A request knows for which program and producer it was asked: their field mappings count for its answer.

Two columns without defaults and without foreign keys, whose check would hold up a live table: a lock of milliseconds.
"""

import sqlalchemy as sa
from alembic import op

revision = "018"
down_revision = "017"
branch_labels = None
depends_on = None

TABLE = "integration_request"


def upgrade() -> None:
    op.add_column(TABLE, sa.Column("program_id", sa.BigInteger))
    op.add_column(TABLE, sa.Column("producer_id", sa.BigInteger))
    op.execute(
        TRY_ENQUEUE_VERIFICATION.format(columns="program_id, producer_id, ", values="program_id_, producer_id_, ")
    )


def downgrade() -> None:
    op.execute(TRY_ENQUEUE_VERIFICATION.format(columns="", values=""))
    op.drop_column(TABLE, "producer_id")
    op.drop_column(TABLE, "program_id")


# As before, but for the two columns.
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
    OUT job_id uuid,
    OUT request_id bigint,
    OUT is_new boolean,
    OUT problem_code text,
    OUT problem text
) LANGUAGE plpgsql AS $$
DECLARE
    integration third_party_integration;
    configuration integration_configuration;
    program_id_ bigint;
    producer_id_ bigint;
    tenant_ text := coalesce(p_tenant, p_producer, 'system');
    search_by_ text := CASE WHEN p_address_id IS NOT NULL THEN 'address'
                            WHEN p_vehicle_id IS NOT NULL THEN coalesce(p_search_by, 'vin') END;
    -- About a driver it is as it always was: keys that were given out before stay good.
    fingerprint_ text := md5((jsonb_build_array(
        p_integration, p_driver_id, p_quote_id, p_producer, p_program, p_environment)
        || CASE WHEN search_by_ IS NULL THEN '[]' ELSE jsonb_build_array(p_vehicle_id, p_address_id, search_by_) END
        )::text);
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
        SELECT program.id INTO program_id_ FROM program WHERE code = p_program;
        IF NOT FOUND THEN
            problem_code := 'unknown_program';
            problem := format('there is no program %s', p_program);
            RETURN;
        END IF;
    END IF;
    IF p_producer IS NOT NULL THEN
        SELECT producer.id INTO producer_id_ FROM producer WHERE producer_code = p_producer;
        IF NOT FOUND THEN
            problem_code := 'unknown_producer';
            problem := format('there is no producer %s', p_producer);
            RETURN;
        END IF;
    END IF;
    SELECT s.code, s.sentence INTO problem_code, problem
    FROM verification_subject_problem(
        p_integration, integration.api, p_driver_id, p_vehicle_id, p_address_id, p_search_by) AS s(code, sentence);
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

    -- The nearest row wins as a whole, switched off or not: producer, then program, then system.
    SELECT * INTO configuration FROM integration_configuration AS c
    WHERE c.integration_id = integration.id AND c.environment = p_environment
      AND (c.configuration_level = 'system'
           OR (c.configuration_level = 'program' AND c.program_id = program_id_)
           OR (c.configuration_level = 'producer' AND c.producer_id = producer_id_
               AND (c.program_id IS NULL OR c.program_id = program_id_)))
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
    problem := auth_config_problem(integration.auth_type, configuration.auth_config);
    IF problem IS NOT NULL THEN
        problem_code := 'configuration_error';
        problem := format('configuration %s of integration %s: %s', configuration.id, p_integration, problem);
        RETURN;
    END IF;

    request_id := nextval(pg_get_serial_sequence('integration_request', 'id'));
    SELECT * INTO enqueued FROM enqueue_job(
        'verification.verify', 'verification', jsonb_build_object('request_id', request_id),
        p_tenant => tenant_, p_priority => p_priority, p_deadline_at => now() + p_deadline,
        p_max_attempts => 100, p_idempotency_key => p_idempotency_key, p_fingerprint => fingerprint_,
        p_resource => p_integration
    );
    job_id := enqueued.job_id;
    is_new := enqueued.is_new;
    IF NOT is_new THEN
        IF enqueued.found_fingerprint IS DISTINCT FROM fingerprint_ THEN
            problem_code := 'idempotency_conflict';
            problem := 'this idempotency key was used for another verification';
            job_id := NULL;
            request_id := NULL;
            RETURN;
        END IF;
        request_id := (enqueued.found_args ->> 'request_id')::bigint;
        RETURN;
    END IF;
    INSERT INTO integration_request (
        id, integration_id, configuration_id, {columns}quote_id, driver_id, vehicle_id, address_id,
        search_by, user_id, endpoint, correlation_id,
        retention_until, job_id, status_id, created_by
    ) VALUES (
        request_id, integration.id, configuration.id, {values}p_quote_id, p_driver_id, p_vehicle_id, p_address_id,
        search_by_, p_user_id, configuration.endpoint_url, coalesce(p_correlation_id, job_id::text),
        (SELECT (now() AT TIME ZONE 'UTC')::date + retention_days FROM data_retention_policies
         WHERE table_name = 'integration_request' AND enabled),
        try_enqueue_verification.job_id,
        (SELECT status.id FROM status WHERE code = 'ACTIVE'), p_user_id
    );
END
$$
"""
