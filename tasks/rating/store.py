"""The SQL of the recalculation of single quotes, any number of them at a time."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from tasks.rating import quote_store
from tasks.rating.refusal import Refused
from tasks.rating.standing import Result, Standing, ToRate, Waiting
from worker.job import Finished, Job
from worker.outcomes import Cancelled, Done, Expired, GiveUp, Outcome, Retry, Snooze

LOOK_AGAIN = timedelta(minutes=5)
"""For an open verification; its end asks for the quote anyhow, and wakes the job that waits."""


def load(connection: Connection, jobs: Sequence[Job]) -> Mapping[UUID, Any]:
    """A `ToRate` for each job whose quote has something to be done about, which is `calculating` from here on."""
    quotes = quote_store.quotes_by_id(connection, {_quote_id(job) for job in jobs})
    found = quote_store.standings(connection, quotes)
    taken = quote_store.take(connection, [work for work in found.values() if isinstance(work, ToRate)])
    return {job.id: _input({**found, **taken}.get(_quote_id(job)), _quote_id(job)) for job in jobs}


def _input(found: Standing | None, quote_id: UUID) -> ToRate | Outcome[Any]:
    match found:
        case ToRate():
            return found
        case Refused():
            return GiveUp(found.code, f"Quote {quote_id}: {found.message}.", found)
        case Waiting(reason, has_failed):
            if has_failed:
                return GiveUp("required_verification_failed", f"Quote {quote_id}: {reason}.", found)
            return Snooze(reason, LOOK_AGAIN, found)
        case None:
            return GiveUp("unknown_quote", f"There is no quote {quote_id}.")
    return Done(None)  # closed or up to date


def save(connection: Connection, finished: Sequence[Finished]) -> None:
    """The premium, or why there is none. A quote that was changed meanwhile is asked for again."""
    results = [run.outcome.result for run in finished if isinstance(run.outcome, Done) and run.outcome.result]
    quote_store.again(connection, quote_store.write(connection, results), "edited_meanwhile")
    given_back: dict[UUID, str | None] = {}
    held: dict[UUID, str | None] = {}
    for run in finished:
        quote_id = _quote_id(run.job)
        match run.outcome:
            case Snooze(result=Waiting(reason)):
                held[quote_id] = reason
            case GiveUp(result=Waiting(reason)):
                given_back[quote_id] = reason  # nobody calculates: a person has to settle it
            case GiveUp(result=Refused() as refused):
                given_back[quote_id] = quote_store.sentence(refused)
            case GiveUp(result=Result(rated=Refused() as refused)):
                given_back[quote_id] = quote_store.sentence(refused)
            case GiveUp(code="unknown_quote") | Retry():
                pass
            case GiveUp(code) | Snooze(code):
                given_back[quote_id] = f"the recalculation ended with {code}"
            case Cancelled() | Expired():
                given_back[quote_id] = None
    quote_store.give_back(connection, given_back)
    quote_store.give_back(connection, held, holds=True)


def _quote_id(job: Job) -> UUID:
    return UUID(job.args["quote_id"])
