"""The parts of a run, each by itself: what is measured, and about how long it takes in full on two cores."""

import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from benchmarks import api, enqueueing, growth, latency, recovery, startup, throughput
from benchmarks.contenders import CONTENDERS, Contender
from benchmarks.effort import Effort
from benchmarks.maintenance import floors
from benchmarks.place import Place
from benchmarks.templates import Template, make_ours, make_peers

Say = Callable[[str], None]
_Found = TypeVar("_Found")

QUICKEST = ("Celery, 64 threads", "Dramatiq", "Taskiq", "Procrastinate", "SAQ", "arq")
"""Peers of which somebody might expect a quick start; the others are slower in throughput already."""


@dataclass
class Run:
    """A run's servers, opened when the first section asks for them."""

    place: Place
    effort: Effort
    say: Say
    templates: dict[bool, Template]

    def template(self, contender: Contender) -> Template:
        if contender.is_ours not in self.templates:
            make = make_ours if contender.is_ours else make_peers
            self.templates[contender.is_ours] = make(self.place, self.effort.drivers)
        return self.templates[contender.is_ours]

    def takes_part(self, contender: Contender) -> bool:
        return contender.is_ours or self.effort.peers is None or contender.name in self.effort.peers


def attempts(run: Run, contender: Contender, measure: Callable[[], Iterator[_Found]]) -> Iterator[_Found]:
    """What `measure` yields. A peer that fails is told of and does not end the run; a failure of ours does."""
    try:
        yield from measure()
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        if contender.is_ours:
            raise
        run.say(f"{contender.name} failed: {error}")


def measure_throughput(run: Run) -> Iterator[Any]:
    measured: dict[tuple[str, float], float] = {}
    for latency_s, rounds in run.effort.rounds.items():
        for number in range(1, rounds + 1):
            for contender in filter(run.takes_part, CONTENDERS):
                known = measured.get((contender.name, latency_s))
                most = run.effort.drivers - run.effort.warm_up
                jobs = throughput.jobs_for(contender, latency_s, run.effort.seconds, known, most)
                for found in attempts(run, contender, partial(_one_round, run, contender, latency_s, jobs)):
                    measured[contender.name, latency_s] = found.jobs_per_s
                    trouble = (
                        "" if found.check.is_clean else f", {found.check.lost} lost, {found.check.doubled} doubled"
                    )
                    run.say(
                        f"{latency_s * 1000:.0f} ms, round {number}: {contender.name} {found.jobs_per_s:.0f} jobs/s,"
                        f" {found.cpu_ms:.2f} ms of CPU a job{trouble}"
                    )
                    yield found


def _one_round(run: Run, contender: Contender, latency_s: float, jobs: int) -> Iterator[throughput.Round]:
    template, warm_up = run.template(contender), run.effort.warm_up
    yield throughput.one_round(run.place, contender, template, latency_s, jobs, warm_up)


def measure_latency(run: Run) -> Iterator[Any]:
    ours = next(one for one in CONTENDERS if one.is_ours)
    peers = [one for one in CONTENDERS if one.name in QUICKEST and run.takes_part(one)]
    for contender in (ours, *peers):
        for waits in attempts(run, contender, partial(_one_visit, run, contender)):
            run.say(f"{contender.name} at {waits.per_second}/s: p50 {waits.p50_ms:.0f} ms, p99 {waits.p99_ms:.0f} ms")
            yield waits


def _one_visit(run: Run, contender: Contender) -> Iterator[latency.Waits]:
    template, warm_up = run.template(contender), run.effort.warm_up
    yield from latency.one_visit(run.place, contender, template, run.effort.rate_seconds, warm_up)


def measure_asking(run: Run) -> Iterator[Any]:
    for _ in range(run.effort.asking_rounds):
        for contender in filter(run.takes_part, enqueueing.contenders()):
            for found in attempts(run, contender, partial(_one_asking, run, contender)):
                single = "" if found.single is None else f"{found.single:.0f} jobs/s one by one, "
                run.say(f"{contender.name}: {single}{found.many:.0f} jobs/s at once")
                yield found
    answers = api.open_loop(run.place, run.template(CONTENDERS[0]), run.effort.api_seconds, run.effort.warm_up)
    run.say(f"HTTP API at {answers.per_second}/s: p50 {answers.p50_ms:.1f} ms, p99 {answers.p99_ms:.1f} ms")
    yield answers


def _one_asking(run: Run, contender: Contender) -> Iterator[enqueueing.Asked]:
    yield enqueueing.one_round(run.place, contender, run.template(contender), run.effort.many)


def measure_recovery(run: Run) -> Iterator[Any]:
    ours = CONTENDERS[0]
    found = recovery.kill_one(run.place, ours, run.template(ours), run.effort.warm_up, run.effort.lease_s)
    run.say(f"{found.in_flight} jobs in flight, their worker killed: the last done after {found.seconds:.1f} s")
    yield found


def measure_growth(run: Run) -> Iterator[Any]:
    template = run.template(CONTENDERS[0])
    for cost in growth.history(run.place, template, run.effort.history):
        run.say(f"{cost.finished_rows} finished rows: {cost.ms_per_job:.3f} ms to pick, claim and finish a job")
        yield cost
    memory = growth.backlog(run.place, template, run.effort.scheduled, run.effort.warm_up)
    run.say(f"{memory.scheduled_rows} scheduled: {memory.before_mb:.0f} MB before, {memory.after_mb:.0f} MB after")
    yield memory
    soaked = growth.soak(run.place, template, run.effort.soak_minutes, run.effort.warm_up)
    run.say(f"{soaked.jobs} jobs in {soaked.minutes:g} minutes: {soaked.mb_per_hour:+.1f} MB an hour")
    yield soaked


def measure_maintenance(run: Run) -> Iterator[Any]:
    for found in floors.measured(is_quick=run.effort.seconds < 1):
        run.say(f"{found.what}: {found.said}")
        yield found


def measure_startup(run: Run) -> Iterator[Any]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        found = startup.measure(Path(folder) / "home")
    run.say(f"worker up: {found.first_s:.1f} s, then {found.second_s:.1f} s; import {found.import_ms:.0f} ms")
    yield found


@dataclass(frozen=True, slots=True)
class Section:
    """`minutes` on two cores, in full. `is_quick`: a quick run has it too; what the others measure has tests."""

    measure: Callable[[Run], Iterator[Any]]
    minutes: float
    is_quick: bool = True


SECTIONS: dict[str, Section] = {
    "throughput": Section(measure_throughput, 13),
    "latency": Section(measure_latency, 2.5),
    "enqueue": Section(measure_asking, 3),
    "recovery": Section(measure_recovery, 1),
    "growth": Section(measure_growth, 4),
    "maintenance": Section(measure_maintenance, 2, is_quick=False),
    "startup": Section(measure_startup, 0.5, is_quick=False),
}
