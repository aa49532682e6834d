"""The clock: what runs when. Data only; every entry and every round is safe to run late or twice."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from celery.schedules import crontab


@dataclass(frozen=True, slots=True)
class Fill:
    """Of the slots that were missed, the latest `most` run, oldest first."""

    most: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the clock: a kind of job, the times at which it runs, and what becomes of those it missed."""

    kind: str
    schedule: crontab
    missed: Literal["once", "skip"] | Fill
    """What becomes of slots that passed while no clock ran. once: the latest runs; skip: none; Fill: several."""

    zone: str = "UTC"
    """Whose wall clock the schedule reads, by its IANA name."""

    after: tuple[str, ...] = ()
    """Names of entries further up whose waiting and running jobs come first, however they end."""

    args: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    """What operators call it; the kind, unless two entries are of the same kind. Its history hangs on it."""

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self.kind)


@dataclass(frozen=True, slots=True)
class Round:
    """What every worker process does by itself, again and again, whether a beat runs or not.

    The entries depend on it. As slots these would be jobs that nobody finds without a dispatcher, and that nobody takes
    back when their worker dies; they would write 86,400 rows a day each; and where no beat runs, all work would stop.
    They need no clock to agree on: of two that meet, one skips what the other has locked. When they stand still the
    process ends, and `worker_dispatcher_last_round_seconds` tells.
    """

    name: Literal["dispatcher", "rescue"]
    every_s: float


ROUNDS: tuple[Round, ...] = (
    # Fills the window of hints. So often, because nobody else finds a job whose time has come, or whose hint was lost;
    # where a worker runs out of jobs it does not wait for its turn.
    Round("dispatcher", every_s=1),
    # Takes back the jobs of dead workers: a lease of thirty seconds leaves as much for this and the next claim.
    Round("rescue", every_s=1),
)

ENTRIES: tuple[Entry, ...] = (
    # Right after the day begins by which quotes without a date of their own are rated.
    Entry("rating.follow_dates", crontab(minute="1", hour="0"), missed="once"),
    # The nightly order: expire, mask, retain, partition. `after` keeps it also where one is late.
    Entry("tokens.expire", crontab(minute="10", hour="0"), missed="once"),
    # Before anything is removed; at most fifty minutes, then the next night goes on.
    Entry("masking.sweep", crontab(minute="40", hour="0"), missed="once", after=("tokens.expire",)),
    # After masking; at most fifty minutes, then the next night goes on.
    Entry("retention.sweep", crontab(minute="40", hour="1"), missed="once", after=("masking.sweep", "tokens.expire")),
    # Months before the partition is needed, so that a failure can be seen by day.
    Entry(
        "partitions.ensure",
        crontab(minute="10", hour="3"),
        missed="once",
        after=("retention.sweep", "masking.sweep", "tokens.expire"),
    ),
    # After everything that makes rows fewer: nothing to do, unless a new key was put in front of the old one.
    Entry("keys.rotate", crontab(minute="40", hour="3"), missed="once"),
    # Every hour, away from the full one when everybody else's jobs begin: what is lost is missed within the hour.
    Entry("reconciliation.account", crontab(minute="37"), missed="skip"),
)
