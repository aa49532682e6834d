"""What a run that shares another's call leaves instead of a report."""

from datetime import timedelta
from typing import Any

from tasks.verification.question import Question
from worker.outcomes import GiveUp, Snooze
from worker.values import value

_OWN_FATES = ("cancelled", "deadline_passed", "worker_died")
"""Ends that say nothing about the question."""

_LOOK_AGAIN_S = 60
"""Who waits is woken; should that fail, it looks by itself."""


@value
class Waits:
    """Request `asker` is asking the same; its answer will do."""

    tenant: str
    question: str
    asker: int


@value
class Forgets:
    """The answer that was kept can't be read any more: the question has to be asked again."""

    tenant: str
    question: str


def wait_for(question: Question, asker: int) -> Snooze[Any]:
    """Until the other request has its answer, or has ended without one."""
    waits = Waits(question.tenant, question.text or "", asker)
    return Snooze(f"request {asker}, which asks the same", timedelta(seconds=_LOOK_AGAIN_S), waits)


def forget(question: Question) -> Snooze[Any]:
    """Come back at once, to ask."""
    gone = Forgets(question.tenant, question.text or "")
    return Snooze("the kept answer can't be read: it is asked again", timedelta(0), gone)


def shared_failure(awaited: int | None, status: str | None, error: str | None) -> GiveUp[Any] | None:
    """The end of the request that this one waited for, if that had no answer and asking again would be useless."""
    if status not in ("failed", "timeout"):
        return None
    code, _, message = (error or "").partition(": ")
    if not code or code in _OWN_FATES:
        return None
    return GiveUp(code, f"So ended request {awaited}, which asked the same. {message}".strip())
