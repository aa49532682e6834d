"""What maintenance is made of: stages of bounded batches, and the tally of what they have done.

A stage is one kind of change to many rows. It knows how to do the next batch and where the following one begins;
when to commit, to rest or to stop is decided elsewhere (`worker.maintenance.run`). Nothing here touches the world.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from sqlalchemy import Connection

GOAL_S = 0.1
"""What a transaction should take: whoever waits for a row of it doesn't notice, even if one takes twice as long."""

_SMALLEST = 50


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction did. `rows` is how far it came; `counts` say what became of them and add up over the run.

    `after` is handed to the next batch to begin behind; None says that the stage is finished.
    """

    rows: int
    counts: Mapping[str, int] = field(default_factory=dict)
    after: Any = None


class Stage(Protocol):
    """A stage keeps no state of its own: a batch that is rolled back may be asked for again."""

    @property
    def name(self) -> str:
        """What it works on, mostly a table; its counts stand under this name."""

    @property
    def most(self) -> int:
        """Rows in one batch, at most."""

    def size(self, connection: Connection) -> "int | Problem":
        """How many rows lie ahead, for the progress bar, or why they are left alone. Each statement is a transaction
        of its own."""

    def batch(self, connection: Connection, after: Any, limit: int) -> Batch:
        """Do at most `limit` rows behind `after`, which is None at first. Never commits."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a part of a run was not done, and what a person has to do about it. No personal data."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is going to do, what it refuses to, and what a person should know without the run failing for it."""

    stages: Sequence[Stage]
    problems: Sequence[Problem] = ()
    alarms: Sequence[Problem] = ()

    waits_for_disk: bool = True
    """Whether each batch is on the disk before the next begins. At the end of a run all are."""


@dataclass(slots=True)
class Tally:
    """The progress of a run, as `job.progress` keeps it. A run that is taken up again adds to what is there."""

    is_dry_run: bool = False
    stage: str | None = None
    done: int = 0
    total: int = 0
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    unfinished: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    alarms: list[Problem] = field(default_factory=list)

    def add(self, stage: str, batch: Batch) -> None:
        self.done += batch.rows
        self.total = max(self.total, self.done)
        for name, number in batch.counts.items():
            if number:
                counts = self.counts.setdefault(stage, {})
                counts[name] = counts.get(name, 0) + number


def taken_up(progress: Mapping[str, Any] | None, *, is_dry_run: bool) -> Tally:
    """The tally to go on with, from the job's row. A dry run that was interrupted has done nothing: it starts anew."""
    if progress is None or is_dry_run:
        return Tally(is_dry_run)
    return Tally(done=progress["done"], total=progress["done"], counts=progress["counts"])


def next_limit(limit: int, most: int, took_s: float) -> int:
    """How many rows the next batch may have, after one of `limit` rows took `took_s`: at most twice, at least half."""
    wanted = limit * GOAL_S / max(took_s, 0.001)
    return max(min(_SMALLEST, most), min(most, 2 * limit, max(limit // 2, int(wanted))))
