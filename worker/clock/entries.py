"""The lines of the clock, checked: the only reader of `beat_schedule`.

Whatever is wrong in it is said at the start, all at once and by the entry's name, and not at three in the morning.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, get_args, get_type_hints
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import orjson
from celery.schedules import crontab

import beat_schedule
from beat_schedule import Entry, Fill, Round
from worker.clock.moments import Decision, decide, next_slot, overdue_from, slots
from worker.errors import Misconfigured
from worker.job import Kind, declared

FILL_MAX = 1000
"""Slots that may be made up for at one time: one transaction's worth."""

_ROUNDS = get_args(get_type_hints(Round)["name"])

_ON_TIME = timedelta(minutes=1)
"""A slot that is no older than this was not missed."""


@dataclass(frozen=True, slots=True)
class Line:
    """One entry of the clock, checked and with its names looked up."""

    name: str
    kind: Kind
    schedule: crontab
    zone: ZoneInfo
    missed: str
    most: int
    on_time: timedelta | None
    after: tuple[str, ...]
    args: Mapping[str, Any]

    @property
    def cron(self) -> str:
        """The schedule as a crontab's five fields."""
        fields = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
        return " ".join(str(getattr(self.schedule, f"_orig_{field}")) for field in fields)

    def decide(self, decided_until: datetime, now: datetime) -> Decision:
        """What becomes of the slots that have passed by `now`."""
        return decide(
            self.schedule, self.zone, decided_until=decided_until, now=now, most=self.most, on_time=self.on_time
        )

    def is_undecided(self, decided_until: datetime, now: datetime) -> bool:
        """Whether a beat has something to decide: slots have passed, or a wrong clock had decided years ahead."""
        return self.decide(decided_until, now).until != decided_until

    def due_since(self, decided_until: datetime, now: datetime) -> datetime | None:
        """The earliest slot that has passed and is not decided."""
        slot = next_slot(self.schedule, min(decided_until, now), self.zone)
        return slot if decided_until < slot <= now else None

    def next_slot(self, after: datetime) -> datetime:
        return next_slot(self.schedule, after, self.zone)

    def overdue_from(self, since: datetime) -> datetime:
        """See `worker.clock.moments.overdue_from`."""
        return overdue_from(self.schedule, since, self.zone)


def lines() -> list[Line]:
    """The clock, in its order. The kinds must have been declared: import `worker.app` first. Raises as `checked`."""
    return checked(beat_schedule.ENTRIES, declared())


def rounds() -> dict[str, float]:
    """Seconds between two rounds of what every worker does by itself. Raises `Misconfigured`."""
    given = beat_schedule.ROUNDS
    problems = [
        f"  {each.name}: it can't come every {each.every_s} s" for each in given if not 0 < each.every_s < math.inf
    ]
    if sorted(each.name for each in given) != sorted(_ROUNDS):
        problems.append(f"  it has to name {' and '.join(_ROUNDS)}, each once, and nothing else")
    if problems:
        raise Misconfigured("\n".join(["The rounds of workers (beat_schedule.py) can't run:", *problems]))
    return {each.name: each.every_s for each in given}


def timings() -> dict[str, tuple[crontab, ZoneInfo]]:
    """When each entry of the clock runs; also for processes that declare no kinds."""
    return {entry.name: (entry.schedule, ZoneInfo(entry.zone)) for entry in beat_schedule.ENTRIES}


def checked(entries: Sequence[Entry], kinds: Mapping[str, Kind]) -> list[Line]:
    """These entries with their names looked up. Raises `Misconfigured` with a line for each thing that is wrong."""
    problems = [
        f"  {entry.name}: {problem}"
        for number, entry in enumerate(entries)
        for problem in _problems(entry, kinds, [other.name for other in entries[:number]])
    ]
    if problems:
        raise Misconfigured("\n".join(["The clock (beat_schedule.py) can't run:", *problems]))
    return [_line(entry, kinds[entry.kind]) for entry in entries]


def _line(entry: Entry, kind: Kind) -> Line:
    fill = entry.missed.most if isinstance(entry.missed, Fill) else None
    return Line(
        name=entry.name,
        kind=kind,
        schedule=entry.schedule,
        zone=ZoneInfo(entry.zone),
        missed=f"fill {fill}" if fill else str(entry.missed),
        most=fill or 1,
        on_time=_ON_TIME if entry.missed == "skip" else None,
        after=entry.after,
        args=entry.args,
    )


def _problems(entry: Entry, kinds: Mapping[str, Kind], further_up: Sequence[str]) -> Iterator[str]:
    if entry.name in further_up:
        yield "another entry has this name; give one of them a name of its own"
    if entry.kind not in kinds:
        yield f"there is no kind of job called {entry.kind}"
    if not isinstance(entry.schedule, crontab):
        yield "its schedule is no crontab"
    elif next(slots(entry.schedule, datetime.now(UTC)), None) is None:
        yield "its schedule has no slot in the next ten years"
    try:
        ZoneInfo(entry.zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        yield f"there is no time zone called {entry.zone}"
    if isinstance(entry.missed, Fill):
        if not 1 <= entry.missed.most <= FILL_MAX:
            yield f"it can make up for 1 to {FILL_MAX} slots, not for {entry.missed.most}"
    elif entry.missed not in ("once", "skip"):
        yield f"its missed slots may run once, skip or Fill(n), not {entry.missed}"
    for other in entry.after:
        if other not in further_up:
            yield f"it comes after {other}, which is no entry further up"
    if entry.after and entry.missed == "skip":
        yield "an entry that comes after others may be late, so it can't skip what is late"
    try:
        orjson.dumps(dict(entry.args))
    except TypeError:
        yield "its arguments are not plain values"
