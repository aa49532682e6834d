"""What must hold between batches and their jobs."""

from worker.operating.checks import Check

_HELD = "job.state = 'ready' AND job.run_at > '9000-01-01'"
_OPEN = "job.state IN ('ready', 'running')"
_UNDER_WAY = "FROM job_batch AS batch JOIN job ON job.batch_id = batch.id WHERE batch.finished_at IS NULL"

BATCH_CHECKS = (
    Check(
        "batch_over_not_closed",
        "All jobs of the batch are over, but it was never closed, and its callback never asked for.",
        f"""
        SELECT batch.id FROM job_batch AS batch
        WHERE finished_at IS NULL AND NOT EXISTS (SELECT FROM job WHERE batch_id = batch.id AND {_OPEN})
        """,  # noqa: S608 - constants of ours
    ),
    Check(
        "batch_closed_too_early",
        "The batch is closed, but a job of it that nobody has started anew is not over.",
        f"""
        SELECT DISTINCT batch.id FROM job_batch AS batch JOIN job ON job.batch_id = batch.id
        WHERE batch.finished_at IS NOT NULL AND {_OPEN}
          AND NOT EXISTS (SELECT FROM job_event WHERE job_id = job.id AND event = 'retried_by_hand')
        """,  # noqa: S608 - constants of ours
    ),
    Check(
        "batch_without_callback",
        "The batch is closed, but the callback that it names was never asked for.",
        """
        SELECT id FROM job_batch
        WHERE finished_at IS NOT NULL AND callback_kind IS NOT NULL AND callback_job_id IS NULL
          AND cancel_requested_at IS NULL
        """,
    ),
    Check(
        "callback_missing",
        "The batch's callback was asked for, but its job is gone before its time.",
        """
        SELECT batch.id FROM job_batch AS batch LEFT JOIN job ON job.id = batch.callback_job_id
        WHERE batch.callback_job_id IS NOT NULL AND job.id IS NULL AND batch.finished_at >= :jobs_gone_before
        """,
    ),
    Check(
        "step_never_began",
        "The batch has come to this step, but a job of it is still held back.",
        f"SELECT DISTINCT batch.id {_UNDER_WAY} AND {_HELD} AND job.step <= batch.step",
    ),
    Check(
        "step_began_too_early",
        "A job of a later step is not held back.",
        f"SELECT DISTINCT batch.id {_UNDER_WAY} AND {_OPEN} AND job.step > batch.step AND NOT ({_HELD})"
        " AND job.cancel_requested_at IS NULL",
    ),
    Check(
        "job_of_no_batch",
        "A job waits in a batch that does not exist: nothing would ever let go of it.",
        f"""
        SELECT job.id FROM job LEFT JOIN job_batch AS batch ON batch.id = job.batch_id
        WHERE job.batch_id IS NOT NULL AND batch.id IS NULL AND {_OPEN}
          AND job.created_at >= :batches_gone_before
        """,  # noqa: S608 - constants of ours
    ),
)
