"""Criminal records and vehicles beside household drivers: which API an integration speaks, what a request is about, an
answer that is promised for later, and people whom a provider names in a household.

Columns without defaults or with constant ones, and new functions: locks of milliseconds. The two indexes on
integration_request hold up new requests while they are built, the CHECK on vehicle reads that table once: run it at a
quiet moment.
"""

from importlib import import_module

import sqlalchemy as sa
from alembic import op

from migrations.columns import (
    Hash,
    Instant,
    Json,
    StateCode,
    audit_columns,
    choice,
    flag,
    keep_updated_at,
    reference,
)

revision = "016"
down_revision = "015"
branch_labels = None
depends_on = None

APIS = """
    UPDATE third_party_integration AS integration SET api = known.api
      FROM (VALUES ('DCS_HOUSEHOLD_DRIVERS', 'drivers'), ('DCS_CRIMINAL', 'criminal'),
                   ('DCS_HOUSEHOLD_VEHICLES', 'vehicles')) AS known (code, api)
     WHERE integration.code = known.code
"""
OLD = "text, bigint, uuid, text, text, text, text, integer, interval, text, text, uuid"
NEW = f"{OLD}, bigint, bigint, text"


def upgrade() -> None:
    op.add_column("third_party_integration", choice("api", "drivers", "criminal", "vehicles", nullable=True))
    op.execute(APIS)
    op.add_column("integration_configuration", flag("keeps_owner_id", False))
    op.add_column("vehicle", sa.Column("plate", sa.String(20)))
    statuses = ("not_verified", "verified", "partial", "failed")
    op.add_column("vehicle", choice("external_verification_status", *statuses, server_default="not_verified"))
    op.add_column("vehicle", sa.Column("last_verification_date", Instant))
    op.add_column("vehicle", sa.Column("verification_source", sa.String(100)))
    op.add_column("vehicle", sa.Column("title_flags", Json))
    op.add_column("integration_request", reference("vehicle", "vehicle_id", nullable=True))
    op.add_column("integration_request", reference("address", "address_id", nullable=True))
    op.add_column("integration_request", choice("search_by", "vin", "plate", "address", nullable=True))
    op.add_column("integration_request", sa.Column("poll_url", sa.Text))
    op.add_column("integration_request", sa.Column("pending_since", Instant))
    op.create_table(
        "household_member_offer",
        sa.Column("id", sa.Uuid, primary_key=True),
        reference("driver", "driver_id", ondelete="CASCADE"),
        reference("integration_request", "request_id", nullable=True, ondelete="SET NULL"),
        sa.Column("relationship", sa.String(50)),
        sa.Column("first_name", sa.String(100)),
        sa.Column("middle_name", sa.String(100)),
        sa.Column("last_name", sa.String(100)),
        sa.Column("date_of_birth", sa.Date),
        sa.Column("license_number", sa.Text),
        sa.Column("license_number_bidx", Hash),
        sa.Column("license_state", StateCode),
        sa.Column("license_type", sa.String(20)),
        sa.Column("external_license_status", sa.String(50)),
        choice("decision", "open", "accepted", "declined", server_default="open"),
        sa.Column("decided_at", Instant),
        reference("driver", "accepted_driver_id", nullable=True, ondelete="SET NULL"),
        *audit_columns(),
    )
    keep_updated_at("household_member_offer")
    drop_enqueue(OLD)
    op.execute(VERIFICATION_SUBJECT_PROBLEM)
    op.execute(TRY_ENQUEUE_VERIFICATION)
    op.execute(ENQUEUE_VERIFICATION)


def downgrade() -> None:
    drop_enqueue(NEW)
    op.execute("DROP FUNCTION verification_subject_problem(text, text, bigint, bigint, bigint, text)")
    before = import_module("migrations.versions.011_enqueue_verification")
    op.execute(before.TRY_ENQUEUE_VERIFICATION)
    op.execute(before.ENQUEUE_VERIFICATION)
    op.drop_table("household_member_offer")
    dropped = {
        "integration_request": ("pending_since", "poll_url", "search_by", "address_id", "vehicle_id"),
        "vehicle": (
            *("title_flags", "verification_source", "last_verification_date", "external_verification_status"),
            "plate",
        ),
        "integration_configuration": ("keeps_owner_id",),
        "third_party_integration": ("api",),
    }
    for table, columns in dropped.items():
        for column in columns:
            op.drop_column(table, column)


def drop_enqueue(arguments: str) -> None:
    op.execute(f"DROP FUNCTION enqueue_verification({arguments})")
    op.execute(f"DROP FUNCTION try_enqueue_verification({arguments})")


# Whether the API takes what it is to be asked about, and whether that is there. No row of (NULL, NULL) means: it is.
VERIFICATION_SUBJECT_PROBLEM = """
CREATE FUNCTION verification_subject_problem(
    p_integration text, p_api text, p_driver_id bigint, p_vehicle_id bigint, p_address_id bigint, p_search_by text,
    OUT problem_code text, OUT problem text
) LANGUAGE plpgsql STABLE AS $$
DECLARE
    has_it boolean;
BEGIN
    IF p_api IS NULL THEN
        problem_code := 'unsupported_integration';
        problem := format('integration %s names no API, so nobody knows what it can be asked', p_integration);
    ELSIF p_api IN ('drivers', 'criminal') AND p_driver_id IS NULL THEN
        problem_code := 'no_driver';
        problem := format('integration %s asks about a driver: name one', p_integration);
    ELSIF p_api IN ('drivers', 'criminal')
            AND (p_vehicle_id IS NOT NULL OR p_address_id IS NOT NULL OR p_search_by IS NOT NULL) THEN
        problem_code := 'wrong_subject';
        problem := format('integration %s asks about a driver, not about a vehicle or an address', p_integration);
    ELSIF p_api IN ('drivers', 'criminal') THEN
        IF NOT EXISTS (SELECT FROM driver WHERE id = p_driver_id) THEN
            problem_code := 'unknown_driver';
            problem := format('there is no driver %s', p_driver_id);
        END IF;
    ELSIF p_driver_id IS NOT NULL THEN
        problem_code := 'wrong_subject';
        problem := format('integration %s asks about vehicles, not about a driver', p_integration);
    ELSIF p_vehicle_id IS NULL AND p_address_id IS NULL THEN
        problem_code := 'no_vehicle';
        problem := format('integration %s asks about a vehicle or the vehicles at an address: name one', p_integration);
    ELSIF p_vehicle_id IS NOT NULL AND p_address_id IS NOT NULL THEN
        problem_code := 'wrong_subject';
        problem := format('integration %s asks about a vehicle or about an address, not about both', p_integration);
    ELSIF p_address_id IS NOT NULL THEN
        SELECT coalesce(street_1, '') <> '' AND state IS NOT NULL INTO has_it FROM address WHERE id = p_address_id;
        IF NOT FOUND THEN
            problem_code := 'unknown_address';
            problem := format('there is no address %s', p_address_id);
        ELSIF p_search_by IS NOT NULL THEN
            problem_code := 'bad_search_by';
            problem := 'search_by says how a vehicle is searched, and an address is given';
        ELSIF NOT has_it THEN
            problem_code := 'incomplete_address';
            problem := format('address %s has no street or no state', p_address_id);
        END IF;
    ELSIF coalesce(p_search_by, 'vin') NOT IN ('vin', 'plate') THEN
        problem_code := 'bad_search_by';
        problem := 'search_by is neither vin nor plate';
    ELSE
        SELECT coalesce(CASE p_search_by WHEN 'plate' THEN plate ELSE vin END, '') <> '' INTO has_it
        FROM vehicle WHERE id = p_vehicle_id;
        IF NOT FOUND THEN
            problem_code := 'unknown_vehicle';
            problem := format('there is no vehicle %s', p_vehicle_id);
        ELSIF NOT has_it THEN
            problem_code := 'incomplete_vehicle';
            problem := format('vehicle %s has no %s to search it by', p_vehicle_id,
                              CASE p_search_by WHEN 'plate' THEN 'plate' ELSE 'VIN' END);
        END IF;
    END IF;
END
$$
"""

# Answers a problem as values rather than as an error, because an error would abort the caller's own transaction.
TRY_ENQUEUE_VERIFICATION = """
CREATE FUNCTION try_enqueue_verification(
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
        id, integration_id, configuration_id, quote_id, driver_id, vehicle_id, address_id,
        search_by, user_id, endpoint, correlation_id,
        retention_until, job_id, status_id, created_by
    ) VALUES (
        request_id, integration.id, configuration.id, p_quote_id, p_driver_id, p_vehicle_id, p_address_id,
        search_by_, p_user_id, configuration.endpoint_url, coalesce(p_correlation_id, job_id::text),
        (SELECT (now() AT TIME ZONE 'UTC')::date + retention_days FROM data_retention_policies
         WHERE table_name = 'integration_request' AND enabled),
        try_enqueue_verification.job_id,
        (SELECT status.id FROM status WHERE code = 'ACTIVE'), p_user_id
    );
END
$$
"""

ENQUEUE_VERIFICATION = """
CREATE FUNCTION enqueue_verification(
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
    OUT is_new boolean
) LANGUAGE plpgsql AS $$
DECLARE
    tried record;
BEGIN
    SELECT * INTO tried FROM try_enqueue_verification(
        p_integration, p_driver_id, p_quote_id, p_producer, p_program, p_environment, p_tenant, p_priority,
        p_deadline, p_idempotency_key, p_correlation_id, p_user_id, p_vehicle_id, p_address_id, p_search_by);
    IF tried.problem_code IS NOT NULL THEN
        RAISE EXCEPTION '%', tried.problem USING ERRCODE = 'invalid_parameter_value', DETAIL = tried.problem_code;
    END IF;
    job_id := tried.job_id;
    request_id := tried.request_id;
    is_new := tried.is_new;
END
$$
"""
