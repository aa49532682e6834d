"""Batches: jobs in ordered steps, and a job that is asked for once when all of them are over.

A new table, a nullable column of job, and two partial indexes of it that hold no row yet. Building those keeps writers
of job out while it is read twice: about a second a million rows.
"""

from importlib import import_module

from alembic import op

revision = "019"
down_revision = "018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE job_batch (
            id uuid NOT NULL DEFAULT gen_random_uuid(),
            name text NOT NULL,
            tenant text NOT NULL DEFAULT 'system',
            step integer NOT NULL DEFAULT 1,
            on_failure varchar(32) NOT NULL DEFAULT 'continue',
            callback_kind text,
            callback_queue text,
            callback_args jsonb NOT NULL DEFAULT '{}'::jsonb,
            callback_priority smallint NOT NULL DEFAULT 4,
            callback_max_attempts integer NOT NULL DEFAULT 5,
            callback_job_id uuid,
            cancel_requested_at timestamptz,
            created_at timestamptz NOT NULL DEFAULT now(),
            finished_at timestamptz,
            CONSTRAINT pk_job_batch PRIMARY KEY (id),
            CONSTRAINT ck_job_batch_on_failure CHECK (on_failure IN ('continue', 'stop')),
            CONSTRAINT ck_job_batch_callback CHECK (
                (callback_kind IS NULL) = (callback_queue IS NULL)
                AND callback_priority BETWEEN 0 AND 9 AND callback_max_attempts > 0
            )
        )
        """
    )
    op.execute("CREATE INDEX idx_job_batch_created ON job_batch (created_at)")
    op.execute("ALTER TABLE job ADD COLUMN step integer")
    op.execute("CREATE INDEX idx_job_batch ON job (batch_id, step) WHERE batch_id IS NOT NULL")
    # What is left to do of a step is asked at each end of its jobs: ended ones must not be in the way.
    op.execute(
        """
        CREATE INDEX idx_job_batch_open ON job (batch_id, step)
        WHERE batch_id IS NOT NULL AND state IN ('ready', 'running')
        """
    )
    op.execute(CANCEL_JOBS_OF_BATCH)
    op.execute(SETTLE_BATCHES)
    op.execute(TRY_ENQUEUE_BATCH)
    op.execute(ENQUEUE_BATCH)
    op.execute("DROP FUNCTION reopen_jobs(uuid[], text)")
    op.execute(REOPEN_JOBS)


def downgrade() -> None:
    op.execute("DROP FUNCTION reopen_jobs(uuid[], text)")
    op.execute(import_module("migrations.versions.012_job_control").REOPEN_JOBS)
    op.execute("DROP FUNCTION enqueue_batch(jsonb, text, text, text, text, text, jsonb, integer, integer)")
    op.execute("DROP FUNCTION try_enqueue_batch(jsonb, text, text, text, text, text, jsonb, integer, integer)")
    op.execute("DROP FUNCTION settle_batches(uuid[])")
    op.execute("DROP FUNCTION cancel_jobs_of_batch(uuid, text)")
    # Without their batch nothing would ever let go of the later steps' jobs.
    op.execute("UPDATE job SET run_at = least(now(), deadline_at), waiting_for = NULL WHERE run_at > '9000-01-01'")
    op.execute("UPDATE job SET batch_id = NULL WHERE batch_id IS NOT NULL")
    op.execute("DROP INDEX idx_job_batch_open")
    op.execute("DROP INDEX idx_job_batch")
    op.execute("ALTER TABLE job DROP COLUMN step")
    op.execute("DROP TABLE job_batch")


# The caller holds the batch's row. Waiting jobs are claimed to be ended, whenever they were to run.
CANCEL_JOBS_OF_BATCH = """
CREATE FUNCTION cancel_jobs_of_batch(p_batch_id uuid, p_by text) RETURNS bigint
LANGUAGE sql AS $$
    WITH asked AS (
        UPDATE job SET cancel_requested_at = now(), hinted_at = CASE WHEN state = 'running' THEN hinted_at END
        WHERE batch_id = p_batch_id AND state IN ('ready', 'running') AND cancel_requested_at IS NULL
        RETURNING id, attempt, fence
    ), logged AS (
        INSERT INTO job_event (job_id, event, attempt, fence, "by")
        SELECT id, 'cancel_requested', attempt, fence, p_by FROM asked
    )
    SELECT count(*) FROM asked
$$
"""

# Brings batches up to date after jobs of theirs have ended: the next step is let go, or the callback is asked for. It
# looks at the jobs and counts nothing, so it may run any number of times. Whoever ends jobs of batches takes the
# batches' rows first, in the order of their ids: of two who end a batch's last jobs at the same moment the second sees
# the first one's, and nobody who holds a job waits for a batch.
SETTLE_BATCHES = """
CREATE FUNCTION settle_batches(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    batch job_batch;
    next_step integer;
    callback uuid;
BEGIN
    FOR batch IN
        SELECT * FROM job_batch WHERE id = ANY(p_ids) AND finished_at IS NULL ORDER BY id FOR UPDATE
    LOOP
        SELECT min(step) INTO next_step FROM job WHERE batch_id = batch.id AND state IN ('ready', 'running');
        CONTINUE WHEN next_step <= batch.step;
        IF next_step IS NULL THEN
            callback := NULL;
            IF batch.callback_kind IS NOT NULL AND batch.cancel_requested_at IS NULL THEN
                SELECT job_id INTO callback FROM enqueue_job(
                    batch.callback_kind, batch.callback_queue,
                    batch.callback_args || jsonb_build_object('batch_id', batch.id),
                    p_tenant => batch.tenant, p_priority => batch.callback_priority,
                    p_max_attempts => batch.callback_max_attempts
                );
            END IF;
            UPDATE job_batch SET finished_at = now(), callback_job_id = callback WHERE id = batch.id;
            CONTINUE;
        END IF;
        UPDATE job_batch SET step = next_step WHERE id = batch.id;
        IF batch.on_failure = 'stop' AND EXISTS (
            SELECT FROM job WHERE batch_id = batch.id AND step < next_step AND state <> 'done'
        ) THEN
            PERFORM cancel_jobs_of_batch(batch.id, 'batch');
        ELSE
            UPDATE job SET run_at = least(now(), deadline_at), waiting_for = NULL
            WHERE batch_id = batch.id AND step = next_step AND state = 'ready';
        END IF;
    END LOOP;
END
$$
"""

# Takes jobs that this very transaction has asked for, by whatever function, so each kind can be in a batch without
# knowing of batches. Nobody else can have seen them yet: the later steps' are held back before they are ever free.
# Jobs that are all of one batch already give that batch: the same request, sent again with the jobs' own keys.
TRY_ENQUEUE_BATCH = """
CREATE FUNCTION try_enqueue_batch(
    p_steps jsonb,
    p_name text,
    p_tenant text DEFAULT 'system',
    p_on_failure text DEFAULT 'continue',
    p_callback_kind text DEFAULT NULL,
    p_callback_queue text DEFAULT NULL,
    p_callback_args jsonb DEFAULT '{}'::jsonb,
    p_callback_priority integer DEFAULT 4,
    p_callback_max_attempts integer DEFAULT 5,
    OUT batch_id uuid,
    OUT is_new boolean,
    OUT problem_code text,
    OUT problem text
) LANGUAGE plpgsql AS $$
DECLARE
    ids uuid[];
    steps integer[];
    found_ record;
BEGIN
    SELECT array_agg(given.id::uuid), array_agg(step.number) INTO ids, steps
    FROM jsonb_array_elements(p_steps) WITH ORDINALITY AS step (ids, number)
    CROSS JOIN jsonb_array_elements_text(step.ids) AS given (id);
    SELECT count(*) AS members, count(DISTINCT job.id) AS jobs, count(DISTINCT job.batch_id) AS batches,
        count(job.batch_id) AS in_batches, min(job.batch_id::text)::uuid AS id,
        count(job.id) FILTER (
            WHERE job.batch_id IS NULL AND job.created_at = now() AND job.state = 'ready' AND job.fence = 0
        ) AS fresh,
        count(job.id) FILTER (WHERE member.step > 1 AND job.run_at > now()) AS later
    INTO found_
    FROM unnest(ids, steps) AS member (id, step) LEFT JOIN job ON job.id = member.id;
    IF found_.jobs < found_.members THEN
        problem_code := 'not_one_place';
        problem := 'each job of a batch must exist and be named once';
        RETURN;
    END IF;
    IF found_.members > 0 AND found_.batches = 1 AND found_.in_batches = found_.members THEN
        batch_id := found_.id;
        is_new := false;
        RETURN;
    END IF;
    IF found_.fresh < found_.members THEN
        problem_code := 'not_fresh';
        problem := format('%s of the jobs were not asked for in this transaction: a batch is made of new ones',
                          found_.members - found_.fresh);
        RETURN;
    END IF;
    IF found_.later > 0 THEN
        problem_code := 'has_run_at';
        problem := 'only jobs of the first step may have a time to run at: the others run after it';
        RETURN;
    END IF;

    INSERT INTO job_batch (
        name, tenant, on_failure, callback_kind, callback_queue, callback_args, callback_priority,
        callback_max_attempts, step
    ) VALUES (
        p_name, p_tenant, p_on_failure, p_callback_kind, p_callback_queue, p_callback_args, p_callback_priority,
        p_callback_max_attempts, coalesce((SELECT min(first) FROM unnest(steps) AS first), 1)
    ) RETURNING id INTO batch_id;
    is_new := true;
    UPDATE job SET
        batch_id = try_enqueue_batch.batch_id, step = member.step,
        run_at = CASE WHEN member.step > batch.step THEN '9999-01-01 00:00:00+00' ELSE run_at END,
        waiting_for = CASE WHEN member.step > batch.step THEN 'an earlier step of its batch' END
    FROM unnest(ids, steps) AS member (id, step), job_batch AS batch
    WHERE job.id = member.id AND batch.id = try_enqueue_batch.batch_id;
    IF found_.members = 0 THEN
        PERFORM settle_batches(ARRAY[batch_id]);
    END IF;
END
$$
"""

ENQUEUE_BATCH = """
CREATE FUNCTION enqueue_batch(
    p_steps jsonb,
    p_name text,
    p_tenant text DEFAULT 'system',
    p_on_failure text DEFAULT 'continue',
    p_callback_kind text DEFAULT NULL,
    p_callback_queue text DEFAULT NULL,
    p_callback_args jsonb DEFAULT '{}'::jsonb,
    p_callback_priority integer DEFAULT 4,
    p_callback_max_attempts integer DEFAULT 5,
    OUT batch_id uuid,
    OUT is_new boolean
) LANGUAGE plpgsql AS $$
DECLARE
    tried record;
BEGIN
    SELECT * INTO tried FROM try_enqueue_batch(
        p_steps, p_name, p_tenant, p_on_failure, p_callback_kind, p_callback_queue, p_callback_args,
        p_callback_priority, p_callback_max_attempts);
    IF tried.problem_code IS NOT NULL THEN
        RAISE EXCEPTION '%', tried.problem USING ERRCODE = 'invalid_parameter_value', DETAIL = tried.problem_code;
    END IF;
    batch_id := tried.batch_id;
    is_new := tried.is_new;
END
$$
"""

# As before, except that a job whose batch has not come to its step yet waits for that again. The batch can't get there
# meanwhile: its row is held.
REOPEN_JOBS = """
CREATE FUNCTION reopen_jobs(p_ids uuid[], p_by text) RETURNS TABLE (job_id uuid, calls_at_most integer)
LANGUAGE sql AS $$
    SELECT FROM job_batch
    WHERE id IN (SELECT batch_id FROM job WHERE id = ANY(p_ids) AND batch_id IS NOT NULL) ORDER BY id FOR SHARE;
    WITH again AS (
        SELECT job.id, coalesce(batch.finished_at IS NULL AND job.step > batch.step, false) AS is_held
        FROM job LEFT JOIN job_batch AS batch ON batch.id = job.batch_id WHERE job.id = ANY(p_ids)
    ), reopened AS (
        UPDATE job SET
            state = 'ready', run_at = CASE WHEN is_held THEN '9999-01-01 00:00:00+00' ELSE now() END,
            deadline_at = now() + (deadline_at - created_at),
            attempt = 0, crashes = 0, hinted_at = NULL, cancel_requested_at = NULL,
            waiting_for = CASE WHEN is_held THEN 'an earlier step of its batch' END,
            started_at = NULL, finished_at = NULL
        FROM again WHERE job.id = again.id AND state IN ('failed', 'cancelled', 'expired')
        RETURNING job.id, kind, args, fence
    ), logged AS (
        INSERT INTO job_event (job_id, event, attempt, fence, "by")
        SELECT id, 'retried_by_hand', 0, fence, p_by FROM reopened
    ), asked AS (
        UPDATE integration_request AS request SET
            request_status = 'pending', retry_count = 0, updated_by = '00000000-0000-0000-0000-000000000001'
        FROM reopened, integration_configuration AS configuration
        WHERE reopened.kind = 'verification.verify'
          AND request.id = (reopened.args ->> 'request_id')::bigint
          AND request.request_status <> 'completed'
          AND configuration.id = request.configuration_id
        RETURNING reopened.id, 1 + configuration.retry_attempts AS calls
    )
    SELECT reopened.id, coalesce(asked.calls, 0) FROM reopened LEFT JOIN asked USING (id)
$$
"""
