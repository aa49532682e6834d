"""Maintenance beside its own floor: batches of one table taken turn by turn, so that both meet the same machine."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from worker.database import Database
from worker.maintenance.stages import Stage


@dataclass(slots=True)
class Pass:
    """All batches of one stage. `cpu_s` is this process's; what PostgreSQL needs is in `seconds` only."""

    rows: int = 0
    batches: int = 0
    seconds: float = 0
    cpu_s: float = 0

    @property
    def rate(self) -> float:
        """Rows a second."""
        return self.rows / self.seconds


def in_turn(database: Database, stages: Sequence[Stage], batch_size: int) -> list[Pass]:
    """Have the stages, which read the same rows, work off one batch each until there are no more. Gives each one's."""
    passes = [Pass() for _ in stages]
    turn, after = 0, None
    while True:
        began, cpu = time.perf_counter(), time.process_time()
        with database.transaction() as connection:
            batch = stages[turn].batch(connection, after, batch_size)
        done = passes[turn]
        done.seconds += time.perf_counter() - began
        done.cpu_s += time.process_time() - cpu
        done.rows += batch.rows
        done.batches += 1
        if (after := batch.after) is None:
            return passes
        turn = (turn + 1) % len(stages)
