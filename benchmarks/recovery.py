"""SIGKILL of a worker with a hundred jobs in flight or more: how long until the last of all is done by another one."""

import time
from dataclasses import dataclass

from benchmarks.contenders import Contender
from benchmarks.place import Place
from benchmarks.stage import Check, open_stage
from benchmarks.templates import Template

JOBS = 100
LATENCY_S = 3.0
"""So long that all jobs are under way when a worker dies."""


@dataclass(frozen=True, slots=True)
class Recovery:
    contender: str
    in_flight: int
    seconds: float
    check: Check


def kill_one(place: Place, contender: Contender, template: Template, warm_up: int, lease_s: int) -> Recovery:
    """Two workers share twice as many jobs; the one that has more of them dies. Its calls are repeated."""
    with open_stage(
        place, contender, template, latency_s=0.05, in_flight=2 * JOBS, warm_up=warm_up, lease_s=lease_s
    ) as stage:
        already, before = stage.asked, place.provider.count()
        place.provider.set_latency(LATENCY_S)
        stage.ask(2 * JOBS)
        deadline = time.monotonic() + LATENCY_S / 2
        while place.provider.count() < before + 2 * JOBS and time.monotonic() < deadline:
            time.sleep(0.01)
        in_flight = {child: stage.running_at(child.pid) for child in stage.fleet.children}
        victim = max(in_flight, key=lambda child: in_flight[child])
        victim.kill()
        killed = time.monotonic()
        place.provider.set_latency(0.05)
        while stage.done() < already + 2 * JOBS:
            if time.monotonic() > killed + 180:
                break
            time.sleep(0.05)
        return Recovery(contender.name, in_flight[victim], time.monotonic() - killed, stage.check())
