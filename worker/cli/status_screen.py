"""A system's status as tables that fit on a screen of 80 columns."""

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from worker.cli.printing import age, cell
from worker.clock.schedule import EntryStatus
from worker.operating.providers import Provider
from worker.operating.status import Status, alarms

PROCESSES_MAX = 12
FAILURES_MAX = 5


def screen(status: Status) -> RenderableType:
    """What is wrong comes first; what there is none of is left out."""
    found = alarms(status)
    counts = f"{len(status.processes)} processes, {len(found)} alarms"
    redis = "" if status.has_redis else ", Redis does not answer"
    parts: list[RenderableType] = [Text(f"{cell(status.at)} UTC: {counts}{redis}", style="bold")]
    if found:
        parts.append(_table(("ALARM", "SEE docs/runbook.md"), ((alarm.name, alarm.what) for alarm in found), "red"))
    parts += [_queues(status), _processes(status), _providers(status), _schedule(status)]
    if status.budgets:
        rows = ((b.tenant, b.spent, b.soft_limit, b.hard_limit, b.waiting) for b in status.budgets)
        parts.append(_table(("BUDGET OF", "SPENT $", "SOFT", "HARD", "WAITING"), rows))
    if status.pauses:
        pauses = ((p.scope, p.paused_by, cell(p.until) or "resumed", p.reason) for p in status.pauses)
        parts.append(_table(("PAUSED", "BY", "UNTIL", "BECAUSE"), pauses))
    if status.failures:
        most = status.failures[:FAILURES_MAX]
        parts.append(_table(("FAILED IN THE LAST HOUR", "CODE", "JOBS"), ((f.kind, f.code, f.count) for f in most)))
    return Group(*(line for part in parts for line in (part, Text())))


def _queues(status: Status) -> Table:
    rows = (
        (q.queue, q.due, q.ready - q.due, q.held or "", q.running, q.oldest_due, q.workers or "nobody", _places(q))
        for q in status.queues
    )
    return _table(("QUEUE", "DUE", "LATER", "PAUSED", "RUNNING", "OLDEST", "PROCESSES", "IN FLIGHT"), rows)


def _processes(status: Status) -> Table:
    shown = status.processes[:PROCESSES_MAX]
    rows: list[Sequence[Any]] = [
        (f"{p.hostname} {p.pid}", ", ".join(p.queues) or "ends", _places(p), age(status.at - p.started_at))
        for p in shown
    ]
    if more := len(status.processes) - len(shown):
        rows.append((f"and {more} more", "", "", ""))
    return _table(("PROCESS", "QUEUES", "IN FLIGHT", "UP"), rows)


def _places(of: Any) -> str:
    return f"{of.in_flight}/{of.calls_in_flight}"


def _providers(status: Status) -> Table:
    headings = ("PROVIDER", "BREAKER", "SLOWED TO", "WAIT", "RUN", "TODAY", "COST $")
    return _table(headings, (_provider(provider) for provider in status.providers))


def _provider(provider: Provider) -> Sequence[Any]:
    gate, load = provider.gate, provider.load
    name = " ".join(word for word in (provider.integration, provider.environment) if word)
    breaker, rate = "", ""
    if gate is not None:
        breaker = f"open {age(gate.open_for)}" if gate.open_for else gate.breaker.replace("_", " ")
        rate = f"none for {age(gate.closed_for)}" if gate.closed_for else f"{gate.rate:.1f}/s" if gate.rate else ""
    return (name, breaker, rate, load.waiting, load.running, load.calls_today, load.cost_today)


def _schedule(status: Status) -> Table:
    headings = ("CLOCK", "LAST RUN (UTC)", "OUTCOME", "TOOK", "NEXT (UTC)", "STATE")
    return _table(headings, (_entry(entry) for entry in status.schedule))


def _entry(entry: EntryStatus) -> Sequence[Any]:
    outcome = " ".join(word for word in (entry.last_outcome, entry.last_error_code) if word)
    state = "paused" if entry.paused_at else "overdue" if entry.overdue_since else "due" if entry.due_since else ""
    last = f"{entry.last_slot:%m-%d %H:%M}" if entry.last_slot else "never"
    return (entry.name, last, outcome, entry.took, f"{entry.next_slot:%m-%d %H:%M}", state)


def _table(headings: Sequence[str], rows: Iterable[Sequence[Any]], style: str = "") -> Table:
    """The last column gives way where the screen is narrow; none is wider than what is in it."""
    table = Table(box=None, pad_edge=False, style=style, header_style="bold")
    for number, heading in enumerate(headings):
        table.add_column(heading, no_wrap=number < len(headings) - 1, overflow="fold" if number else "ellipsis")
    for row in rows:
        table.add_row(*(Text(cell(value)) for value in row))
    return table
