"""Pauses: which waiting jobs are to stay where they are, who wished so and why.

A scope names a queue, a kind, a tenant, a resource, or several of them at once; it holds back the jobs that match all
it names. Rows say it, so a pause outlives every restart, and it counts from the next claim on, in every process.
"""

from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from worker.audit import audit
from worker.broker import QUEUES
from worker.errors import BadRequest

_IN_FORCE = "coalesce(job_pause.until, 'infinity') > now()"


def holds_back(queue: str, kind: str, tenant: str, resource: str) -> str:
    """The condition, in SQL, that a row of `job_pause` in force matches these four expressions."""
    return f"""{_IN_FORCE}
        AND (job_pause.queue IS NULL OR job_pause.queue = {queue})
        AND (job_pause.kind IS NULL OR job_pause.kind = {kind})
        AND (job_pause.tenant IS NULL OR job_pause.tenant = {tenant})
        AND (job_pause.resource IS NULL OR job_pause.resource = {resource})"""


@dataclass(frozen=True, slots=True)
class Scope:
    """What is paused; None stands for any."""

    queue: str | None = None
    kind: str | None = None
    tenant: str | None = None
    resource: str | None = None

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in asdict(self).items() if value is not None)


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause in force."""

    scope: Scope
    reason: str
    paused_by: str
    paused_at: datetime
    until: datetime | None


def pause(connection: Connection, scope: Scope, by: str, reason: str, until: datetime | None = None) -> int:
    """Hold back the waiting jobs of `scope`; gives how many there are now. Running ones run on.

    The same scope again replaces reason, name and end. `by` is an account name. Raises `BadRequest` with code no_scope,
    bad_scope, unknown_queue, no_reason or bad_until.
    """
    _check(scope)
    if not reason.strip():
        raise BadRequest("no_reason", "say why: the reason is what others read at night")
    connection.execute(_FORGET)
    values = {**asdict(scope), "reason": reason.strip(), "by": by, "until": until}
    if not connection.execute(_PAUSE, values).rowcount:
        raise BadRequest("bad_until", "the end of the pause must lie in the future")
    _audit(connection, "jobs.paused", scope, by)
    return int(connection.execute(_HELD_BACK, asdict(scope)).scalar_one())


def resume(connection: Connection, scope: Scope, by: str) -> None:
    """End the pause of exactly this scope. Raises `BadRequest` with code no_scope, bad_scope or not_paused."""
    _check(scope)
    connection.execute(_FORGET)
    if not connection.execute(_RESUME, asdict(scope)).rowcount:
        others = "; ".join(str(other.scope) for other in in_force(connection))
        raise BadRequest(
            "not_paused",
            f"there is no pause of {scope}; " + (f"paused are: {others}" if others else "nothing is paused"),
        )
    _audit(connection, "jobs.resumed", scope, by)


def in_force(connection: Connection) -> list[Pause]:
    """Every pause in force, the oldest first."""
    return [Pause(Scope(*row[:4]), *row[4:]) for row in connection.execute(_ALL)]


def _check(scope: Scope) -> None:
    named = {name: value for name, value in asdict(scope).items() if value is not None}
    if not named:
        raise BadRequest("no_scope", "name what is meant: a queue, kind, tenant or resource")
    for name, value in named.items():
        if not value.strip():
            raise BadRequest("bad_scope", f"the {name} has no name")
    if scope.queue is not None and scope.queue not in QUEUES:
        raise BadRequest("unknown_queue", f"there is no queue {scope.queue}; the queues are {', '.join(QUEUES)}")


def _audit(connection: Connection, action: str, scope: Scope, by: str) -> None:
    """A pause's row goes when it ends; that it was stays in the audit trail, which takes no free text."""
    named = {name: value for name, value in asdict(scope).items() if value is not None}
    audit(connection, action=action, resource_type="job_pause", details={"by": by, **named})


_FORGET = text(f"DELETE FROM job_pause WHERE NOT ({_IN_FORCE})")  # noqa: S608 - a constant of ours

_PAUSE = text(
    """
    INSERT INTO job_pause (queue, kind, tenant, resource, reason, paused_by, until)
    SELECT :queue, :kind, :tenant, :resource, :reason, :by, given.until
    FROM (SELECT CAST(:until AS timestamptz) AS until) AS given
    WHERE coalesce(given.until, 'infinity') > now()
    ON CONFLICT (queue, kind, tenant, resource) DO UPDATE SET
        reason = excluded.reason, paused_by = excluded.paused_by, paused_at = now(), until = excluded.until
    """
)

_RESUME = text(
    """
    DELETE FROM job_pause
    WHERE queue IS NOT DISTINCT FROM :queue AND kind IS NOT DISTINCT FROM :kind
      AND tenant IS NOT DISTINCT FROM :tenant AND resource IS NOT DISTINCT FROM :resource
    """
)

_ALL = text(
    f"""
    SELECT queue, kind, tenant, resource, reason, paused_by, paused_at, until
    FROM job_pause WHERE {_IN_FORCE} ORDER BY paused_at, id
    """  # noqa: S608 - a constant of ours
)

_HELD_BACK = text(
    """
    SELECT count(*) FROM job
    WHERE state = 'ready'
      AND (CAST(:queue AS text) IS NULL OR queue = :queue) AND (CAST(:kind AS text) IS NULL OR kind = :kind)
      AND (CAST(:tenant AS text) IS NULL OR tenant = :tenant)
      AND (CAST(:resource AS text) IS NULL OR resource = :resource)
    """
)
