"""From asking for a job to the provider's first byte received, with workers that have little to do.

The clock starts before the call that asks, so the commit of ours is inside; peers only send a message.
"""

import statistics
from dataclasses import dataclass

from benchmarks.contenders import Contender
from benchmarks.place import Place
from benchmarks.stage import Check, open_stage
from benchmarks.templates import Template

RATES = (20, 50, 100)
"""Jobs a second."""

LATENCY_S = 0.05
IN_FLIGHT = 128


@dataclass(frozen=True, slots=True)
class Waits:
    """Milliseconds at one rate."""

    contender: str
    per_second: int
    p50_ms: float
    p99_ms: float
    check: Check


def one_visit(place: Place, contender: Contender, template: Template, seconds: float, warm_up: int) -> list[Waits]:
    """All rates, one after the other, with the same workers."""
    found = []
    with open_stage(place, contender, template, latency_s=LATENCY_S, in_flight=IN_FLIGHT, warm_up=warm_up) as stage:
        begin = stage.asked
        for rate in RATES:
            moments = stage.ask_one_by_one(round(rate * seconds), rate)
            stage.wait()
            calls = place.provider.calls()
            ids = template.drivers[begin : stage.asked]
            begin = stage.asked
            waits = [
                (calls[f"driver:{id_}"][0] - moment) * 1000
                for id_, moment in zip(ids, moments[:-1], strict=True)
                if f"driver:{id_}" in calls
            ]
            found.append(Waits(contender.name, rate, statistics.median(waits), percentile(waits, 0.99), stage.check()))
    return found


def percentile(values: list[float], share: float) -> float:
    """The value that a share of all values does not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]
