"""The true cause of where a job is, decided from plain facts.

Where several things hold a job back, the one that lasts longest is the cause: taking away another would change nothing.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from models.vocabularies import JobEventName, JobState
from worker.pauses import Scope

Cause = Literal[
    "done",
    "failed",
    "quarantined",
    "cancelled",
    "expired",
    "running",
    "stopping",  # running, and somebody asked it to stop
    "lease_ran_out",
    "cancel_requested",  # waiting, to be ended by the next worker that looks
    "deadline_passed",  # so too
    "paused",
    "retry_later",
    "snoozed",
    "crashed",  # waiting a moment after its worker died
    "waits_for_step",
    "scheduled",
    "no_worker",
    "hinted",
    "waits_for_turn",
]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a job at the moment `now` of the database.

    `pause_*` are of the longest pause in force over it; `ahead` counts the due jobs of its tenant that come first and
    `tenants` those who take turns with it, for a job that is due; `workers` are the processes that listen to its queue.
    `batch_*` are of the batch whose later step the job is of: the step at work there, its jobs and those not over.
    """

    now: datetime
    state: JobState
    queue: str
    tenant: str
    run_at: datetime
    deadline_at: datetime | None
    attempt: int
    max_attempts: int
    crashes: int
    leased_by: str | None
    lease_until: datetime | None
    hinted_at: datetime | None
    cancel_requested_at: datetime | None
    waiting_for: str | None
    error_code: str | None
    error_message: str | None
    started_at: datetime | None
    finished_at: datetime | None
    last_event: JobEventName | None
    pause_queue: str | None
    pause_kind: str | None
    pause_tenant: str | None
    pause_resource: str | None
    paused_by: str | None
    paused_at: datetime | None
    pause_reason: str | None
    paused_until: datetime | None
    workers: int
    in_flight: int
    calls_in_flight: int
    listener_last_seen_at: datetime | None
    ahead: int | None
    tenants: int | None
    batch_id: UUID | None
    batch_name: str | None
    batch_step: int | None
    batch_step_open: int | None
    batch_step_jobs: int | None


def cause(facts: Facts) -> tuple[Cause, str]:
    """The cause and a sentence about it."""
    match facts.state:
        case "ready":
            return _waiting(facts)
        case "running":
            return _running(facts)
        case "done":
            return "done", f"It is done since {_at(facts.finished_at)}."
        case "failed" if facts.error_code == "worker_died":
            return "quarantined", (
                f"It is in quarantine since {_at(facts.finished_at)}: {facts.crashes} workers died while they ran it."
            )
        case "failed":
            explanation = f": {facts.error_message}" if facts.error_message else "."
            return "failed", f"It failed at {_at(facts.finished_at)} with {facts.error_code}{explanation}"
        case "cancelled":
            return "cancelled", f"It was cancelled at {_at(facts.finished_at)}."
        case "expired":
            return "expired", f"It expired at {_at(facts.finished_at)}: its deadline was {_at(facts.deadline_at)}."


def _running(facts: Facts) -> tuple[Cause, str]:
    if facts.lease_until is not None and facts.lease_until < facts.now:
        return "lease_ran_out", (
            f"Its worker {facts.leased_by} died or lost the database: the lease ran out at {_at(facts.lease_until)}."
            f" Any worker frees the job{_nobody(facts)}."
        )
    runs = f"by {facts.leased_by}, first begun at {_at(facts.started_at)}, with a lease until {_at(facts.lease_until)}"
    if facts.cancel_requested_at is not None:
        return "stopping", (
            f"Somebody asked it to stop at {_at(facts.cancel_requested_at)}; it is still run {runs}, and ends when that"
            " lease is renewed."
        )
    return "running", f"It is run {runs}."


def _waiting(facts: Facts) -> tuple[Cause, str]:
    if facts.cancel_requested_at is not None:
        return "cancel_requested", (
            f"Somebody asked for it to stop at {_at(facts.cancel_requested_at)}; a worker ends it{_nobody(facts)}."
        )
    if facts.deadline_at is not None and facts.deadline_at <= facts.now:
        return "deadline_passed", (
            f"Its deadline passed at {_at(facts.deadline_at)}; a worker ends it as expired{_nobody(facts)}."
        )
    is_later = facts.run_at > facts.now
    if facts.paused_at is not None and (facts.paused_until is None or facts.paused_until >= facts.run_at):
        scope = Scope(facts.pause_queue, facts.pause_kind, facts.pause_tenant, facts.pause_resource)
        end = f"until {_at(facts.paused_until)}" if facts.paused_until else "until somebody resumes it"
        return "paused", (
            f"{facts.paused_by} paused {scope} at {_at(facts.paused_at)}, {end}: {facts.pause_reason}"
            + (f" ({_own_wait(facts)})" if is_later else "")
        )
    if facts.batch_id is not None:
        return "waits_for_step", (
            f"It waits for step {facts.batch_step} of batch {facts.batch_id} ({facts.batch_name}):"
            f" {facts.batch_step_open} of {facts.batch_step_jobs} jobs there are open."
        )
    if is_later:
        return _later(facts)
    if not facts.workers:
        seen = facts.listener_last_seen_at
        return "no_worker", (
            f"No worker listens to its queue, {facts.queue}; "
            + (f"the last one was seen at {_at(seen)}." if seen else "none has been seen in the last hour.")
        )
    if facts.hinted_at is not None:
        return "hinted", (
            f"A worker was told of it at {_at(facts.hinted_at)} and should begin it at any moment; if that message is"
            " lost, it is sent again within a minute or so."
        )
    return "waits_for_turn", (
        f"It waits for its turn: {_count(facts.ahead or 0, 'due job')} of its tenant {facts.tenant} before it,"
        f" {_tenants(facts.tenants or 1)}, and {facts.in_flight} of {facts.calls_in_flight} places are taken in"
        f" {_count(facts.workers, 'worker process', 'es')}."
    )


def _later(facts: Facts) -> tuple[Cause, str]:
    until = _at(facts.run_at)
    match facts.last_event:
        case "retried" if facts.waiting_for:
            explanation = f": {facts.error_message}" if facts.error_message else "."
            return "retry_later", (
                f"It is tried again at {until}, after {facts.attempt} of {facts.max_attempts} attempts ended in errors,"
                f" the last in {facts.error_code}{explanation}"
            )
        case "snoozed" if facts.waiting_for:
            return "snoozed", f"It waits until {until}: {facts.waiting_for}."
        case "crashed" if facts.waiting_for:
            return "crashed", f"It waits until {until} because {facts.crashes} workers died while they ran it."
    return "scheduled", f"It is not to run before {until}."


def _own_wait(facts: Facts) -> str:
    if facts.batch_id is not None:
        return f"the job itself waits for step {facts.batch_step} of batch {facts.batch_id}"
    return f"the job itself waits until {_at(facts.run_at)}"


def _tenants(count: int) -> str:
    return "nobody else has due jobs" if count == 1 else f"{count} tenants take turns"


def _count(number: int, thing: str, plural: str = "s") -> str:
    return f"{number} {thing}{'' if number == 1 else plural}"


def _nobody(facts: Facts) -> str:
    return "" if facts.workers else f", but none listens to its queue {facts.queue} at the moment"


def _at(time: datetime | None) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S} UTC" if time is not None else "an unknown time"
