"""Verifications a second: a backlog is laid before workers that are held still, and the clock runs until it is done.

So neither start-up nor asking is counted. Rounds of all contenders take turns; each round has a fresh database, and
what was done is counted afterwards, in the rows and at the provider.
"""

import time
from dataclasses import dataclass

from benchmarks.contenders import Contender
from benchmarks.place import CpuTimes, Place
from benchmarks.stage import Check, open_stage
from benchmarks.templates import Template

IN_FLIGHT = {0.05: 512, 0.5: 1024}
"""Calls of one process, by the provider's latency in seconds: enough that the machine and not their number decides, for
the fastest as for the slowest."""


@dataclass(frozen=True, slots=True)
class Round:
    contender: str
    latency_ms: int
    jobs: int
    seconds: float
    cpu: CpuTimes
    check: Check

    @property
    def jobs_per_s(self) -> float:
        return (self.jobs - self.check.lost) / self.seconds

    @property
    def cpu_ms(self) -> float:
        """A job's share of workers, PostgreSQL and Valkey."""
        return self.cpu.total_of_system() * 1000 / self.jobs


def jobs_for(contender: Contender, latency_s: float, seconds: float, measured: float | None, most: int) -> int:
    """As many as it works off in about so many seconds, at the rate of its last round or as it is guessed."""
    rate = measured or contender.jobs_per_s
    if contender.in_flight is not None:
        rate = min(rate, contender.in_flight / latency_s)
    else:
        rate = min(rate, contender.processes * IN_FLIGHT[latency_s] / latency_s)
    return max(20, min(most, int(rate * seconds)))


def one_round(
    place: Place, contender: Contender, template: Template, latency_s: float, jobs: int, warm_up: int
) -> Round:
    in_flight = IN_FLIGHT[latency_s]
    with open_stage(place, contender, template, latency_s=latency_s, in_flight=in_flight, warm_up=warm_up) as stage:
        stage.fleet.hold()
        stage.ask(jobs)
        before, start = place.cpu(stage.fleet), time.monotonic()
        stage.fleet.let_go()
        end = stage.wait()
        cpu = place.cpu(stage.fleet) - before
        return Round(contender.name, round(latency_s * 1000), jobs, end - start, cpu, stage.check())
