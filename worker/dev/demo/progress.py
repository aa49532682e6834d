"""How far a demo is: a bar on a terminal, a plain line every second elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


@dataclass(frozen=True, slots=True)
class Counts:
    """Jobs by what they are doing; `elapsed_s` since the first was asked for."""

    total: int
    done: int
    failed: int
    retrying: int
    elapsed_s: float

    @property
    def ended(self) -> int:
        return self.done + self.failed

    def __str__(self) -> str:
        rate = self.ended / self.elapsed_s if self.elapsed_s else 0.0
        return f"done {self.done} · retrying {self.retrying} · failed {self.failed} · {rate:.0f} jobs/s"


class Show(Protocol):
    def __call__(self, counts: Counts, /) -> None: ...


@contextmanager
def progress(console: Console) -> Iterator[Show]:
    """Gives a function to call as often as counts are known."""
    if not console.is_terminal:
        yield _Lines(console)
        return
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=None)
        yield lambda counts: bar.update(task, total=counts.total, completed=counts.ended, description=str(counts))


class _Lines:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._next = 0.0

    def __call__(self, counts: Counts) -> None:
        now = time.monotonic()
        if now >= self._next or counts.ended == counts.total:
            self._console.print(f"{counts.elapsed_s:5.1f} s  {counts.ended}/{counts.total}  {counts}")
            self._next = now + 1
