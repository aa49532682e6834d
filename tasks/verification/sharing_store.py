"""The SQL that lets equal questions share one call: who asks, who waits for that, and whose answer is good enough.

Whoever begins a job with a question tries to become its asker, under a lock on the question's row. Only one does; the
others find its answer, or wait until it ends and are woken then. If it gives up, they give up with it: asking a hundred
times would not make the answer better. If it was only stopped or expired, one of them asks instead. An asker that dies
is found out by the clock.

A request, its job and its results stay the caller's own: only the call is shared, and only within a tenant and a
configuration.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Connection, text

from tasks.verification.question import KnownAnswer, Question
from tasks.verification.report import Report
from tasks.verification.sharing import Forgets, Waits, wait_for
from worker.job import Finished
from worker.ledger import READY
from worker.outcomes import Done, Outcome, Retry, Snooze


def share(
    connection: Connection, inputs: Mapping[UUID, Question | Outcome[Any]]
) -> dict[UUID, Question | Outcome[Any]]:
    """The inputs, of which some have a known answer now, wait for that of another request, or fail with it."""
    shared = dict(inputs)
    asking = {
        asked.request_id: (job_id, asked)
        for job_id, asked in inputs.items()
        if isinstance(asked, Question) and asked.text is not None
    }
    if not asking:
        return shared
    rows = [{"id": asked.request_id, "tenant": asked.tenant, "question": asked.text} for _, asked in asking.values()]
    document = orjson.dumps(rows).decode()
    forced = [id_ for id_, (_, asked) in asking.items() if asked.is_forced]
    askers = set(connection.execute(_BECOME_ASKER, {"rows": document, "forced": forced}).scalars())
    if askers >= asking.keys():
        return shared
    for row in connection.execute(_OTHERS, {"rows": document}):
        job_id, asked = asking[row.id]
        if not asked.is_forced:
            shared[job_id] = _instead(asked, row)
    return shared


# Of several in one claim the earliest asks, unless one of them is the asker already or is forced to ask.
_BECOME_ASKER = text(
    """
    WITH given AS (
        SELECT DISTINCT ON (tenant, question) given.*
        FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS given (id bigint, tenant text, question text)
        ORDER BY tenant, question, given.id = ANY(:forced) DESC, coalesce((
            SELECT known.asker = given.id FROM asked_question AS known
            WHERE known.tenant = given.tenant AND known.question = given.question
        ), false) DESC, given.id
    )
    INSERT INTO asked_question AS known (tenant, question, asker, open_until)
    SELECT tenant, question, id, now() + interval '5 minutes' FROM given ORDER BY tenant, question
    ON CONFLICT (tenant, question) DO UPDATE SET
        asker = excluded.asker, open_until = excluded.open_until, asked_at = now()
    WHERE known.asker = excluded.asker OR excluded.asker = ANY(:forced)
       OR (known.open_until <= now() AND (known.answer_until IS NULL OR known.answer_until <= now()))
    RETURNING known.asker
    """
)

_OTHERS = text(
    """
    SELECT given.id, known.asker, known.open_until > now() AS is_open, known.answer_until,
        answer.id AS answer_id, answer.response_status_code, answer.response_body::text AS body,
        answer.external_transaction_id
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS given (id bigint, tenant text, question text)
    JOIN asked_question AS known USING (tenant, question)
    LEFT JOIN integration_request AS answer ON answer.id = known.answered_by AND known.answer_until > now()
        AND answer.request_status = 'completed' AND NOT answer.pii_masked
    WHERE known.asker <> given.id
    """
)


def _instead(asked: Question, row: Any) -> Question | Outcome[Any]:
    if row.answer_id is not None:
        known = KnownAnswer(
            row.answer_id, row.response_status_code, row.body, row.external_transaction_id, row.answer_until
        )
        return replace(asked, known=known)
    return wait_for(asked, row.asker) if row.is_open else asked


def close(connection: Connection, runs: Sequence[Finished]) -> None:
    """Questions whose asker has ended are open to others, who wake; whoever waits for one is noted there."""
    ended = [
        {
            "id": int(run.job.args["request_id"]),
            "wait_s": run.outcome.after.total_seconds() if isinstance(run.outcome, Retry | Snooze) else None,
            "ttl_hours": _ttl_hours(run),
        }
        for run in runs
        if not (isinstance(run.inputs, Question) and (run.inputs.text is None or run.inputs.known is not None))
        and not isinstance(_left(run), Waits)
    ]
    if ended:
        connection.execute(_CLOSE, {"rows": orjson.dumps(ended).decode()})
    waiting = [
        {
            "job": str(run.job.id),
            "id": int(run.job.args["request_id"]),
            "tenant": waits.tenant,
            "question": waits.question,
            "asker": waits.asker,
        }
        for run in runs
        if isinstance(waits := _left(run), Waits)
    ]
    if waiting:
        connection.execute(_WAIT, {"rows": orjson.dumps(waiting).decode()})
    for gone in [left for run in runs if isinstance(left := _left(run), Forgets)]:
        connection.execute(_FORGET, {"tenant": gone.tenant, "question": gone.question})


def _left(run: Finished) -> Any:
    return getattr(run.outcome, "result", None)


def _ttl_hours(run: Finished) -> int:
    is_answered = isinstance(run.outcome, Done) and isinstance(run.outcome.result, Report)
    return run.inputs.account.cache_ttl_hours if is_answered and isinstance(run.inputs, Question) else 0


# Waking takes no lock that somebody else holds: a job that is being claimed at this moment is awake.
_CLOSE = text(
    f"""
    WITH given AS (
        SELECT * FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS given (id bigint, wait_s float, ttl_hours integer)
    ), locked AS (
        SELECT known.id, known.asker, known.waiting FROM asked_question AS known
        WHERE known.asker = ANY(ARRAY(SELECT id FROM given))
        ORDER BY known.tenant, known.question FOR UPDATE
    ), closed AS (
        UPDATE asked_question AS known SET
            open_until = now() + coalesce(make_interval(secs => given.wait_s) + interval '5 minutes', interval '0'),
            answered_by = CASE WHEN given.ttl_hours > 0 THEN given.id ELSE known.answered_by END,
            answer_until = CASE WHEN given.ttl_hours > 0 THEN now() + make_interval(hours => given.ttl_hours)
                           ELSE known.answer_until END,
            waiting = CASE WHEN given.wait_s IS NULL THEN '{{}}' ELSE known.waiting END
        FROM locked JOIN given ON given.id = locked.asker
        WHERE known.id = locked.id
        RETURNING CASE WHEN given.wait_s IS NULL THEN locked.waiting ELSE '{{}}' END AS woken
    ), free AS (
        SELECT id FROM job WHERE id = ANY(ARRAY(SELECT unnest(woken) FROM closed)) AND {READY}
        FOR UPDATE SKIP LOCKED
    )
    UPDATE job SET run_at = now(), hinted_at = NULL FROM free WHERE job.id = free.id
    """  # noqa: S608 - constants of ours
)

# If the asker has ended meanwhile, nobody would wake them: they look again at once. A list that is long enough is left
# as it is; who is not in it looks by itself.
_WAIT = text(
    """
    WITH given AS (
        SELECT * FROM jsonb_to_recordset(CAST(:rows AS jsonb))
            AS given (job uuid, id bigint, tenant text, question text, asker bigint)
    ), locked AS (
        SELECT id, tenant, question, open_until > now() AS is_open FROM asked_question
        WHERE (tenant, question) IN (SELECT tenant, question FROM given) ORDER BY tenant, question FOR UPDATE
    ), noted AS (
        UPDATE asked_question AS known SET waiting = known.waiting || ARRAY(
            SELECT job FROM given
            WHERE given.tenant = known.tenant AND given.question = known.question AND job <> ALL(known.waiting)
        )
        FROM locked WHERE known.id = locked.id AND locked.is_open AND cardinality(known.waiting) < 1000
    ), told AS (
        UPDATE integration_request AS request SET answered_by = given.asker FROM given WHERE request.id = given.id
    )
    UPDATE job SET run_at = now()
    FROM given LEFT JOIN locked USING (tenant, question)
    WHERE job.id = given.job AND locked.is_open IS NOT TRUE
    """
)

_FORGET = text("UPDATE asked_question SET answer_until = NULL WHERE tenant = :tenant AND question = :question")
