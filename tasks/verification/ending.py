"""How the end of a run shows on its request, and which results it leaves."""

from collections.abc import Sequence
from typing import Any, assert_never

from models.vocabularies import HttpRequestStatus
from tasks.verification.apis import APIS
from tasks.verification.question import Question
from tasks.verification.results import Result
from worker.audit import Deed
from worker.job import Finished
from worker.outcomes import Cancelled, Done, Expired, GiveUp, Outcome, Retry, Snooze


def request_end(outcome: Outcome[Any]) -> tuple[HttpRequestStatus, str | None]:
    """The request's status after a run, and its `error_message`: a code and a sentence."""
    match outcome:
        case Done():
            return "completed", None
        case Retry(code, _, message):
            return "pending", _error(code, message)
        case Snooze(reason):
            return "pending", reason
        case GiveUp(code, message, result):
            return "timeout" if result is not None and result.is_timeout else "failed", _error(code, message)
        case Expired():
            return "failed", _error("deadline_passed", "The job's deadline came before an answer.")
        case Cancelled():
            return "failed", _error("cancelled", "Somebody asked for the job to stop.")
    assert_never(outcome)


def results_of(outcome: Outcome[Any], question: Question) -> Sequence[Result]:
    """The rows of what was found, or of the error; a run that will be repeated, or was stopped, leaves none."""
    match outcome:
        case Done(result):
            found: Sequence[Result] = result.findings.results if result.findings is not None else ()
            return found
        case GiveUp():
            return APIS[question.account.api].error_results(question)
    return ()


def deed_of(run: Finished) -> Deed | None:
    """What the audit trail says of a run that left results: the rows they are about, by id."""
    if not isinstance(asked := run.inputs, Question) or not (results := results_of(run.outcome, asked)):
        return None
    details: dict[str, Any] = {"job": run.job.id, "integration": asked.account.integration_code}
    for result in results:
        ids = details.setdefault(result.target_type, [])
        if result.target_id not in ids:
            ids.append(result.target_id)
    action = "verification.completed"
    if isinstance(run.outcome, GiveUp):
        action = "verification.failed"
        details["code"] = run.outcome.code
    return Deed(action, "integration_request", asked.request_id, details=details, correlation_id=asked.correlation_id)


def _error(code: str, message: str) -> str:
    return f"{code}: {message}" if message else code
