"""What a run of maintenance is asked for, and how its plan is made from that."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from worker.job import Job
from worker.maintenance.stages import Plan


@dataclass(frozen=True, slots=True)
class Order:
    """What a run is asked for: the inputs of `act`. `progress` is what earlier attempts of the job left."""

    job: Job
    progress: Mapping[str, Any] | None

    @property
    def is_dry_run(self) -> bool:
        return bool(self.job.args.get("dry_run"))

    @property
    def is_confirmed(self) -> bool:
        """Whether a person has seen what the guards refuse, and wants it done."""
        return bool(self.job.args.get("confirm"))


Planner = Callable[[Connection, Order], Plan]
