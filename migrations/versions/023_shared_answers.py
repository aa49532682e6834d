"""One call for equal questions: what is asked, who asks it at the moment, and until when its answer may be used again.

New columns with constant defaults, a new table, and an index on integration_request: its building holds up new
requests for about a second a million rows. The door for verifications learns `force` and says what will come of a job.
"""

from importlib import import_module

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

from migrations.columns import Instant, bigint_id, drop_tables, flag, made_at, required

revision = "023"
down_revision = "022"
branch_labels = None
depends_on = None

ASKED_ABOUT = {
    "driver": ("first_name", "last_name", "date_of_birth", "license_id", "address_id"),
    "license": ("license_number", "state_code"),
    "address": ("street_1", "street_2", "city", "state", "zip_code"),
    "vehicle": ("vin", "plate"),
}
"""Columns that providers are told: with another value in one of them, it is another question."""

OLD = "text, bigint, uuid, text, text, text, text, integer, interval, text, text, uuid, bigint, bigint, text"
NEW = f"{OLD}, boolean, text[]"


def upgrade() -> None:
    op.execute(RAISE_QUESTION_VERSION)
    for table, columns in ASKED_ABOUT.items():
        op.add_column(table, required("question_version", sa.Integer, server_default=sa.text("1")))
        old, new = (", ".join(f"{row}.{column}" for column in columns) for row in ("OLD", "NEW"))
        op.execute(
            f"CREATE TRIGGER trg_{table}_question_version BEFORE UPDATE OF {', '.join(columns)} ON {table}"
            f" FOR EACH ROW WHEN (({old}) IS DISTINCT FROM ({new})) EXECUTE FUNCTION raise_question_version()"
        )
    op.add_column("integration_request", flag("is_forced", False))
    op.add_column("integration_request", sa.Column("question", sa.Text))
    op.add_column("integration_request", sa.Column("answered_by", sa.BigInteger))
    op.create_index(
        "idx_integration_request_question",
        "integration_request",
        ["tenant", "question"],
        postgresql_where=sa.text("request_status IN ('pending', 'sent')"),
    )
    op.create_table(
        "asked_question",
        bigint_id(),
        required("tenant", sa.Text),
        required("question", sa.Text),
        required("asker", sa.BigInteger, index=True),
        required("open_until", Instant),
        sa.Column("answered_by", sa.BigInteger),
        sa.Column("answer_until", Instant),
        required("waiting", ARRAY(sa.Uuid), server_default=sa.text("'{}'::uuid[]")),
        made_at("asked_at"),
        sa.UniqueConstraint("tenant", "question", name="uq_asked_question_tenant"),
    )
    op.execute(QUESTION_TEXT)
    op.execute(QUESTION_OUTLOOK)
    op.execute(RECALCULATE_CHANGED_QUOTES)
    drop_enqueue(OLD)
    op.execute(TRY_ENQUEUE_VERIFICATION)
    op.execute(ENQUEUE_VERIFICATION)


def downgrade() -> None:
    drop_enqueue(NEW)
    before = import_module("migrations.versions.016_criminal_records_and_vehicles")
    op.execute(before.TRY_ENQUEUE_VERIFICATION)
    op.execute(before.ENQUEUE_VERIFICATION)
    op.execute("DROP FUNCTION recalculate_changed_quotes(jsonb)")
    op.execute("DROP FUNCTION question_outlook(text, text)")
    op.execute("DROP FUNCTION question_text(text, bigint, text, integer, text[])")
    drop_tables("asked_question")
    for name in ("answered_by", "question", "is_forced"):
        op.drop_column("integration_request", name)
    for table in ASKED_ABOUT:
        op.execute(f"DROP TRIGGER trg_{table}_question_version ON {table}")
        op.drop_column(table, "question_version")
    op.execute("DROP FUNCTION raise_question_version()")


def drop_enqueue(arguments: str) -> None:
    op.execute(f"DROP FUNCTION enqueue_verification({arguments})")
    op.execute(f"DROP FUNCTION try_enqueue_verification({arguments})")


RAISE_QUESTION_VERSION = """
CREATE FUNCTION raise_question_version() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.question_version := OLD.question_version + 1;
    RETURN NEW;
END
$$
"""

# Two requests of a tenant with the same text ask the same. Ids and versions of rows stand for what is in them: a digest
# of names and birth dates would give them away to whoever tries them all. What is not kept has no text and is always
# asked: nothing about criminal records, whatever is configured, and nothing where `cache_ttl_hours` is 0.
QUESTION_TEXT = """
CREATE FUNCTION question_text(
    p_api text, p_configuration_id bigint, p_endpoint_url text, p_ttl_hours integer, VARIADIC p_parts text[]
) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN p_api <> 'criminal' AND p_ttl_hours > 0
        THEN p_configuration_id || ' ' || md5(p_endpoint_url) || ' ' || array_to_string(p_parts, ', ') END
$$
"""

# What a job that is asked for now will meet, as far as is known: whether a call is made is decided when it begins, by
# then under a lock on its question.
QUESTION_OUTLOOK = """
CREATE FUNCTION question_outlook(p_tenant text, p_question text) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN p_question IS NULL THEN 'new'
        WHEN EXISTS (
            SELECT FROM integration_request AS request
            WHERE request.tenant = p_tenant AND request.question = p_question
              AND request.request_status IN ('pending', 'sent')
        ) THEN 'joined'
        WHEN EXISTS (
            SELECT FROM asked_question AS known JOIN integration_request AS answer ON answer.id = known.answered_by
            WHERE known.tenant = p_tenant AND known.question = p_question AND known.answer_until > now()
              AND NOT answer.pii_masked
        ) THEN 'cached'
        ELSE 'new' END
$$
"""

# A quote that is closed keeps its premium: the function of revision 027 says so, and nothing is done.
RECALCULATE_CHANGED_QUOTES = """
CREATE FUNCTION recalculate_changed_quotes(p_rows jsonb) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM enqueue_quote_recalculation(given.quote, 'verification', given.tenant)
    FROM jsonb_to_recordset(p_rows) AS given (quote uuid, tenant text) ORDER BY given.quote;
END
$$
"""

# The door of revisions 016 and 018. Besides it looks at hosts and rights, and says `how`: `new` (the provider will be
# asked), `joined` (the same question is under way), `cached` (its answer is here) or `repeated` (the job of this key).
# `p_groups` are given for callers that have no user of their own: their rights count, and not the user's.
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
    problem := coalesce(
        auth_config_problem(integration.auth_type, configuration.auth_config),
        host_problem(
            integration.allowed_hosts, integration.base_url, configuration.endpoint_url, configuration.auth_config));
    IF problem IS NOT NULL THEN
        problem_code := 'configuration_error';
        problem := format('configuration %s of integration %s: %s', configuration.id, p_integration, problem);
        RETURN;
    END IF;

    IF p_force AND NOT has_integration_right(
        'force_calls', integration.id, program_id_, producer_id_, CASE WHEN p_groups IS NULL THEN p_user_id END,
        coalesce(p_groups, '{}')
    ) THEN
        problem_code := 'forbidden';
        problem := format('the right to force calls is missing for integration %s', p_integration);
        RETURN;
    END IF;
    SELECT question_text(
        integration.api, configuration.id, configuration.endpoint_url, configuration.cache_ttl_hours,
        concat_ws(' ', driver.id, driver.question_version), concat_ws(' ', license.id, license.question_version),
        concat_ws(' ', address.id, address.question_version), concat_ws(' ', vehicle.id, vehicle.question_version),
        coalesce(search_by_, '')
    ) INTO question_
    FROM (VALUES (p_driver_id, p_vehicle_id)) AS about (driver_id, vehicle_id)
    LEFT JOIN driver ON driver.id = about.driver_id LEFT JOIN license ON license.id = driver.license_id
    LEFT JOIN address ON address.id = coalesce(p_address_id, driver.address_id)
    LEFT JOIN vehicle ON vehicle.id = about.vehicle_id;

    request_id := nextval(pg_get_serial_sequence('integration_request', 'id'));
    SELECT * INTO enqueued FROM enqueue_job(
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
        address_id,
        search_by, user_id, endpoint, correlation_id,
        retention_until, job_id, tenant, question, is_forced, status_id, created_by
    ) VALUES (
        request_id, integration.id, configuration.id, program_id_, producer_id_, p_quote_id, p_driver_id, p_vehicle_id,
        p_address_id,
        search_by_, p_user_id, configuration.endpoint_url, coalesce(p_correlation_id, job_id::text),
        (SELECT (now() AT TIME ZONE 'UTC')::date + retention_days FROM data_retention_policies
         WHERE table_name = 'integration_request' AND enabled),
        try_enqueue_verification.job_id, tenant_, question_, p_force,
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
    p_force boolean DEFAULT false,
    p_groups text[] DEFAULT NULL,
    OUT job_id uuid,
    OUT request_id bigint,
    OUT is_new boolean,
    OUT how text
) LANGUAGE plpgsql AS $$
DECLARE
    tried record;
BEGIN
    SELECT * INTO tried FROM try_enqueue_verification(
        p_integration, p_driver_id, p_quote_id, p_producer, p_program, p_environment, p_tenant, p_priority,
        p_deadline, p_idempotency_key, p_correlation_id, p_user_id, p_vehicle_id, p_address_id, p_search_by,
        p_force, p_groups);
    IF tried.problem_code IS NOT NULL THEN
        RAISE EXCEPTION '%', tried.problem USING
            ERRCODE = CASE tried.problem_code WHEN 'forbidden' THEN 'insufficient_privilege'
                      ELSE 'invalid_parameter_value' END,
            DETAIL = tried.problem_code;
    END IF;
    job_id := tried.job_id;
    request_id := tried.request_id;
    is_new := tried.is_new;
    how := tried.how;
END
$$
"""
