"""What must hold between jobs, requests, results and calls: one statement each, which gives the ids that break it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """`sql` gives one column, the ids of what is wrong. It may use what retention has recorded of its removals:
    `:jobs_gone_before`, `:batches_gone_before` and `:calls_gone_before`, moments, `:jobs_removed`, a count, and
    `:requests_gone_to`, an id."""

    code: str
    meaning: str
    sql: str


# The names of tables are ours: nothing that anybody says comes into these statements.
_JOB_OF = "FROM integration_request AS request JOIN job ON job.id = request.job_id"
_OVER = "job.state IN ('done', 'failed', 'cancelled', 'expired')"

CHECKS = (
    Check(
        "job_without_request",
        "A verification was accepted, but there is no request for it.",
        """
        SELECT job.id FROM job LEFT JOIN integration_request AS request
            ON request.id = (job.args ->> 'request_id')::bigint
        WHERE job.kind = 'verification.verify' AND request.id IS NULL
          AND coalesce((job.args ->> 'request_id')::bigint > :requests_gone_to, true)
        """,
    ),
    Check(
        "request_without_job",
        "A request was written, but its job is gone before its time.",
        """
        SELECT request.id FROM integration_request AS request LEFT JOIN job ON job.id = request.job_id
        WHERE job.id IS NULL AND (request.request_status IN ('pending', 'sent')
            OR request.job_id IS NOT NULL AND request.created_at >= :jobs_gone_before)
        """,
    ),
    Check(
        "more_jobs_gone_than_removed",
        "A request's job is gone, and retention has removed fewer jobs than are missing.",
        """
        SELECT request.id FROM integration_request AS request LEFT JOIN job ON job.id = request.job_id
        WHERE job.id IS NULL AND request.job_id IS NOT NULL ORDER BY request.id OFFSET :jobs_removed
        """,
    ),
    Check(
        "request_of_another_job",
        "A request names a job which is for another request.",
        f"SELECT request.id {_JOB_OF} WHERE job.kind <> 'verification.verify'"  # noqa: S608 - names of ours
        " OR job.args ->> 'request_id' IS DISTINCT FROM request.id::text OR request.tenant <> job.tenant",
    ),
    Check(
        "job_over_request_open",
        "The job is over, but its request still waits for an answer.",
        f"SELECT request.id {_JOB_OF} WHERE {_OVER} AND request.request_status IN ('pending', 'sent')",
    ),
    Check(
        "job_done_without_answer",
        "The job is done, but its request has failed.",
        f"SELECT request.id {_JOB_OF} WHERE job.state = 'done' AND request.request_status IN ('failed', 'timeout')",
    ),
    Check(
        "answered_job_not_done",
        "The request has its answer, but the job is not done.",
        f"SELECT request.id {_JOB_OF} WHERE job.state <> 'done' AND request.request_status = 'completed'",
    ),
    Check(
        "failed_request_job_open",
        "The request has failed, but its job goes on.",
        f"""
        SELECT request.id {_JOB_OF}
        WHERE job.state IN ('ready', 'running') AND request.request_status IN ('failed', 'timeout')
        """,
    ),
    Check(
        "sent_without_run",
        "The request is marked as sent, but no run is under way and none has died.",
        f"""
        SELECT request.id {_JOB_OF}
        WHERE request.request_status = 'sent' AND job.state = 'ready' AND job.crashes = 0
        """,
    ),
    Check(
        "lease_long_over",
        "The job runs under a lease that ended minutes ago: nobody frees it.",
        "SELECT id FROM job WHERE state = 'running' AND lease_until < now() - interval '5 minutes'",
    ),
    Check(
        "answer_without_results",
        "The request has its answer, but no result was written.",
        """
        SELECT request.id FROM integration_request AS request
        WHERE request_status = 'completed'
          AND NOT EXISTS (SELECT FROM integration_verification_result AS result WHERE result.request_id = request.id)
        """,
    ),
    Check(
        "results_without_answer",
        "Results were written for a request that has no answer.",
        """
        SELECT DISTINCT request.id FROM integration_request AS request
        JOIN integration_verification_result AS result ON result.request_id = request.id
        WHERE request.request_status <> 'completed' AND result.verification_status <> 'error'
        """,
    ),
    Check(
        "results_doubled",
        "One request has two results of the same type about the same thing.",
        """
        SELECT DISTINCT request_id FROM integration_verification_result
        WHERE verification_status <> 'error' AND verification_type IN ('license', 'identity', 'address')
        GROUP BY request_id, verification_type, target_entity_type, target_entity_id HAVING count(*) > 1
        """,
    ),
    Check(
        "answer_without_call",
        "The provider was asked and answered, but no call is in the ledger.",
        """
        SELECT request.id FROM integration_request AS request
        WHERE request_status = 'completed' AND answered_by IS NULL AND sent_at >= :calls_gone_before
          AND NOT EXISTS (SELECT FROM provider_call AS call WHERE call.request_id = request.id)
        """,
    ),
    Check(
        "call_without_request",
        "A call is in the ledger for a request that does not exist.",
        """
        SELECT call.id FROM provider_call AS call
        LEFT JOIN integration_request AS request ON request.id = call.request_id
        WHERE request.id IS NULL AND call.request_id > :requests_gone_to
        """,
    ),
    Check(
        "call_of_another",
        "A call is in the ledger under another tenant, job or configuration than its request's.",
        """
        SELECT call.id FROM provider_call AS call JOIN integration_request AS request ON request.id = call.request_id
        WHERE call.tenant <> coalesce(request.tenant, call.tenant) OR call.job_id IS DISTINCT FROM request.job_id
           OR call.configuration_id <> request.configuration_id OR call.integration_id <> request.integration_id
        """,
    ),
    Check(
        "call_counted_twice",
        "The calls of one run are in the ledger twice for the same reason.",
        """
        SELECT max(id) FROM provider_call GROUP BY job_id, fence, reason, is_certain HAVING count(*) > 1
        """,
    ),
    Check(
        "known_answer_missing",
        "The request took another one's answer, which does not exist or is no answer.",
        """
        SELECT request.id FROM integration_request AS request
        LEFT JOIN integration_request AS source ON source.id = request.answered_by
        WHERE request.request_status = 'completed' AND request.answered_by IS NOT NULL
          AND (source.request_status IS DISTINCT FROM 'completed' OR source.answered_by IS NOT NULL
               OR source.tenant IS DISTINCT FROM request.tenant)
          AND (source.id IS NOT NULL OR request.answered_by > :requests_gone_to)
        """,
    ),
    Check(
        "criminal_answer_reused",
        "An answer about criminal records was used again.",
        """
        SELECT id FROM integration_verification_result WHERE verification_type = 'criminal' AND is_cached_result
        """,
    ),
    Check(
        "question_held_by_nobody",
        "A question waits for a request that is over.",
        """
        SELECT known.id FROM asked_question AS known JOIN integration_request AS request ON request.id = known.asker
        WHERE known.open_until > now() AND request.request_status IN ('completed', 'failed', 'timeout')
        """,
    ),
    Check(
        "money_held_by_nobody",
        "Money of a budget is set aside, but no run of the tenant is under way.",
        """
        SELECT day.tenant || ' ' || day.day FROM call_budget_day AS day
        WHERE reserved > 0 AND NOT EXISTS (
            SELECT FROM integration_request AS request
            WHERE request.tenant = day.tenant AND request.request_status = 'sent'
        )
        """,
    ),
    Check(
        "budget_booked_too_little",
        "A budget has booked less than the calls in the ledger cost since it was set.",
        """
        SELECT day.tenant || ' ' || day.day FROM call_budget_day AS day JOIN call_budget AS budget USING (tenant)
        WHERE (budget.set_at AT TIME ZONE 'UTC')::date < day.day AND day.spent < (
            SELECT coalesce(sum(calls * price), 0) FROM provider_call AS call
            WHERE call.tenant = day.tenant AND (call.at AT TIME ZONE 'UTC')::date = day.day AND call.is_certain
        ) - day.reserved
        """,
    ),
)
