"""What an outcome means for the job's row: the next state, computed from plain values."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, assert_never

from models.vocabularies import JobEventName, JobState
from worker.job import Job
from worker.outcomes import Cancelled, Done, Expired, GiveUp, Outcome, Retry, Snooze


@dataclass(frozen=True, slots=True)
class Verdict:
    """The finish of one run. `wait` is None at the end of the job, else the time until the next run."""

    state: JobState
    attempt: int
    wait: timedelta | None = None
    event: JobEventName | None = None
    code: str | None = None
    message: str | None = None
    waiting_for: str | None = None

    @property
    def outcome(self) -> str:
        """How the run ended, in a word: done, retry, snooze, failed, expired or cancelled."""
        return self.state if self.wait is None else "retry" if self.event == "retried" else "snooze"


def last_word(job: Job, outcome: Outcome[Any]) -> Outcome[Any]:
    """The outcome, except that the error which spends the last attempt is the end of the job."""
    if isinstance(outcome, Retry) and job.attempt + 1 >= job.max_attempts:
        return GiveUp(outcome.code, outcome.message, outcome.result)
    return outcome


def judge(job: Job, outcome: Outcome[Any]) -> Verdict:
    """The verdict over a run that ended in `outcome`, which has gone through `last_word`."""
    match outcome:
        case Done():
            return Verdict("done", job.attempt)
        case Retry(code, after, message):
            return Verdict("ready", job.attempt + 1, after, "retried", code, message, f"retry after {code}")
        case Snooze(reason, after, given_back=given_back):
            attempt = max(0, job.attempt - given_back)
            return Verdict("ready", attempt, after, "snoozed", reason, None, reason)
        case GiveUp(code, message):
            return Verdict("failed", job.attempt + 1, None, "failed", code, message)
        case Expired():
            return Verdict(
                "expired", job.attempt, None, "expired", "deadline_passed", "Its deadline passed before it ran."
            )
        case Cancelled():
            return Verdict("cancelled", job.attempt, None, "cancelled", "cancelled", "Somebody asked for it to stop.")
    assert_never(outcome)
