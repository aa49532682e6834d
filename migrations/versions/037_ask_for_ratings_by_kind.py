"""`enqueue_job('rating.recalculate', '{"quote_id": ...}')` asks for a quote's premium by psql.

A function is replaced; no table is locked.
"""

from importlib import import_module

from alembic import op

revision = "037"
down_revision = "036"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(ENQUEUE_JOB)


def downgrade() -> None:
    before: str = import_module("migrations.versions.028_ask_by_kind").ENQUEUE_JOB
    op.execute(before.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"))


# The door for psql and for applications that share the database: the kind's own function decides, this one only reads
# its arguments out of the JSON. A kind that is not here runs by the clock, or is asked for by another job.
ENQUEUE_JOB = """
CREATE OR REPLACE FUNCTION enqueue_job(
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
    forms constant jsonb := '{
        "rating.recalculate": {"quote_id": "uuid", "reason": "text"},
        "verification.verify": {"integration": "text", "driver_id": "integer", "vehicle_id": "integer",
            "address_id": "integer", "search_by": "text", "quote_id": "uuid", "producer": "text", "program": "text",
            "environment": "text"}
    }';
    problem text;
    tried record;
BEGIN
    IF p_kind IS NULL OR NOT forms ? p_kind THEN
        RAISE EXCEPTION 'kind % can not be asked for here, only % can', coalesce(p_kind, 'NULL'),
            (SELECT string_agg(kind, ' and ' ORDER BY kind) FROM jsonb_object_keys(forms) AS kind)
            USING ERRCODE = 'invalid_parameter_value', DETAIL = 'unknown_kind';
    END IF;
    problem := args_problem(p_args, forms -> p_kind);
    IF problem IS NULL AND p_kind = 'rating.recalculate' AND num_nonnulls(p_deadline, p_correlation_id) > 0 THEN
        problem := 'rating.recalculate takes no deadline and no correlation id';
    END IF;
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION '%', problem USING ERRCODE = 'invalid_parameter_value', DETAIL = 'bad_args';
    END IF;
    IF p_kind = 'verification.verify' THEN
        SELECT asked.job_id, asked.is_new INTO job_id, is_new FROM enqueue_verification(
            p_args ->> 'integration', (p_args ->> 'driver_id')::bigint, (p_args ->> 'quote_id')::uuid,
            p_args ->> 'producer', p_args ->> 'program', coalesce(p_args ->> 'environment', 'sandbox'),
            p_tenant, p_priority, p_deadline, p_idempotency_key, p_correlation_id,
            p_vehicle_id => (p_args ->> 'vehicle_id')::bigint, p_address_id => (p_args ->> 'address_id')::bigint,
            p_search_by => p_args ->> 'search_by') AS asked;
        RETURN;
    END IF;
    SELECT * INTO tried FROM enqueue_quote_recalculation(
        (p_args ->> 'quote_id')::uuid, coalesce(p_args ->> 'reason', 'asked'), coalesce(p_tenant, 'system'),
        p_priority, p_idempotency_key);
    IF tried.problem_code IS NOT NULL THEN
        RAISE EXCEPTION '%', tried.problem USING ERRCODE = 'invalid_parameter_value', DETAIL = tried.problem_code;
    END IF;
    job_id := tried.job_id;
    is_new := tried.is_new;
END
$$
"""
