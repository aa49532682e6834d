"""SIGKILL of a worker with a hundred jobs in flight: how long until the last of them is done by another one."""

import time
from dataclasses import dataclass

from benchmarks.contenders import Contender
from benchmarks.place import Place
from benchmarks.stage import Check, open_stage
from benchmarks.templates import Template

JOBS = 100
LATENCY_S = 3.0
"""So long that all jobs are under way when the worker dies."""


@dataclass(frozen=True, slots=True)
class Recovery:
    contender: str
    in_flight: int
    seconds: float
    check: Check


def kill_one(place: Place, contender: Contender, template: Template, warm_up: int, lease_s: int) -> Recovery:
    """One of two workers is held until the other has all the jobs, which then dies. Their calls are repeated."""
    with open_stage(
        place, contender, template, latency_s=0.05, in_flight=128, warm_up=warm_up, lease_s=lease_s
    ) as stage:
        already, before = stage.asked, place.provider.count()
        place.provider.set_latency(LATENCY_S)
        victim, heir = stage.fleet.children
        stage.fleet.hold([heir])
        stage.ask(JOBS)
        deadline = time.monotonic() + 10
        while (in_flight := place.provider.count() - before) < JOBS and time.monotonic() < deadline:
            time.sleep(0.01)
        victim.kill()
        killed = time.monotonic()
        place.provider.set_latency(0.05)
        stage.fleet.let_go([heir])
        while stage.done() < already + JOBS:
            if time.monotonic() > killed + 180:
                break
            time.sleep(0.05)
        return Recovery(contender.name, in_flight, time.monotonic() - killed, stage.check())
