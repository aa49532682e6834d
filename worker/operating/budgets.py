"""What a tenant may spend on calls in a day of UTC. Every change is written into the audit trail."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import Connection, text

from worker.audit import audit
from worker.errors import BadRequest

MOST = Decimal("9999999999.99")


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits and today's money, in US dollars. `waiting` are the jobs that a used-up budget holds back."""

    tenant: str
    soft_limit: Decimal | None
    hard_limit: Decimal | None
    spent: Decimal
    reserved: Decimal
    waiting: int
    set_by: str
    set_at: datetime


def budgets(connection: Connection) -> list[Budget]:
    """Every budget, by tenant."""
    return [Budget(*row) for row in connection.execute(_BUDGETS)]


_WAITS = "job.state = 'ready' AND starts_with(job.waiting_for, 'the budget of ' || budget.tenant || ' for ')"
_BUDGETS = text(
    f"""
    SELECT budget.tenant, soft_limit, hard_limit, coalesce(spent, 0), coalesce(reserved, 0),
        (SELECT count(*) FROM job WHERE job.tenant = budget.tenant AND {_WAITS}), set_by, set_at
    FROM call_budget AS budget
    LEFT JOIN call_budget_day AS today
        ON today.tenant = budget.tenant AND today.day = (now() AT TIME ZONE 'UTC')::date
    ORDER BY budget.tenant
    """  # noqa: S608 - constants of ours
)


def set_budget(connection: Connection, tenant: str, by: str, *, soft: Decimal | None, hard: Decimal | None) -> int:
    """Give a tenant these limits in place of those it has; gives how many waiting jobs look again.

    Raises `BadRequest` with code bad_budget or no_name.
    """
    if not tenant:
        raise BadRequest("no_name", "name the tenant")
    if soft is None and hard is None:
        raise BadRequest("bad_budget", "a budget needs a soft or a hard limit")
    for limit in (soft, hard):
        if limit is not None and not (limit.is_finite() and 0 <= limit <= MOST and limit == round(limit, 2)):
            raise BadRequest("bad_budget", f"a limit must lie between 0 and {MOST}, in whole cents")
    if soft is not None and hard is not None and soft > hard:
        raise BadRequest("bad_budget", f"the soft limit {soft} is above the hard one {hard}")
    connection.execute(_SET, {"tenant": tenant, "soft": soft, "hard": hard, "by": by})
    _audit(connection, "budget.set", tenant, by, soft_limit=soft, hard_limit=hard)
    return _wake(connection, tenant)


_SET = text(
    """
    INSERT INTO call_budget (tenant, soft_limit, hard_limit, set_by) VALUES (:tenant, :soft, :hard, :by)
    ON CONFLICT (tenant) DO UPDATE SET soft_limit = :soft, hard_limit = :hard, set_by = :by, set_at = now()
    """
)


def remove_budget(connection: Connection, tenant: str, by: str) -> int:
    """Let a tenant spend what it likes; gives how many waiting jobs look again. Raises `BadRequest`, no_budget."""
    woken = _wake(connection, tenant)
    if not connection.execute(text("DELETE FROM call_budget WHERE tenant = :tenant"), {"tenant": tenant}).rowcount:
        raise BadRequest("no_budget", f"the tenant {tenant} has no budget")
    _audit(connection, "budget.removed", tenant, by)
    return woken


def _audit(connection: Connection, action: str, tenant: str, by: str, **limits: Decimal | None) -> None:
    named = {name: str(limit) for name, limit in limits.items() if limit is not None}
    audit(connection, action=action, resource_type="call_budget", resource_id=tenant, details={"by": by, **named})


def _wake(connection: Connection, tenant: str) -> int:
    return connection.execute(_WAKE, {"tenant": tenant}).rowcount


# A job that is claimed at this moment is awake.
_WAKE = text(
    f"""
    UPDATE job SET run_at = now(), hinted_at = NULL WHERE id = ANY(ARRAY(
        SELECT job.id FROM job JOIN call_budget AS budget ON budget.tenant = job.tenant
        WHERE job.tenant = :tenant AND {_WAITS} FOR UPDATE OF job SKIP LOCKED
    ))
    """  # noqa: S608 - constants of ours
)
