"""How long the phases of jobs took: a histogram for thousands of jobs a second.

prometheus-client's own takes a lock or two for each observation, a few microseconds for each job. Here an observation
is an append to a list, and many of them are sorted into their buckets at once.
"""

import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Literal

from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

Phase = Literal["queue", "load", "act", "token", "limit", "connect", "provider", "save"]
"""queue: from the moment a job is due to its claim. load, save: the transactions of claim and finish, but not the waits
for a database that is away. act: all of a run between them. Within it, of calls to a provider: token, limit (the leave
of the gate), provider (from request to last byte), and as a part of that connect, where a connection is made."""

NAME = "worker_job_phase_seconds"
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 3600)
_LES = (*(str(float(bound)) for bound in BOUNDS), "+Inf")
_SORTED_AT = 1000


class Phases(Collector):
    """Seconds by kind and phase; threads may share it."""

    def __init__(self) -> None:
        self._timers: dict[tuple[str, Phase], _Timer] = {}
        self._making = threading.Lock()

    def took(self, kind: str, phase: Phase, seconds: Iterable[float]) -> None:
        """A phase of so many jobs took so long each."""
        timer = self._timers.get((kind, phase))
        if timer is None:
            with self._making:
                timer = self._timers.setdefault((kind, phase), _Timer())
        timer.fresh.extend(seconds)
        if len(timer.fresh) >= _SORTED_AT:
            timer.sort()

    def describe(self) -> Iterable[Metric]:
        return (HistogramMetricFamily(NAME, "What the time of jobs is spent on.", labels=("kind", "phase")),)

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(NAME, "What the time of jobs is spent on.", labels=("kind", "phase"))
        for (kind, phase), timer in sorted(self._timers.items()):
            counts, total = timer.sort()
            cumulated, buckets = 0, []
            for le, count in zip(_LES, counts, strict=True):
                cumulated += count
                buckets.append((le, float(cumulated)))
            family.add_metric((kind, phase), buckets, total)
        yield family


class _Timer:
    """One histogram. `fresh` only grows at its end, so whoever extends it needs no lock."""

    def __init__(self) -> None:
        self.fresh: list[float] = []
        self._counts = [0] * len(_LES)
        self._total = 0.0
        self._sorting = threading.Lock()

    def sort(self) -> tuple[list[int], float]:
        """Count what is fresh; gives the observations of each bucket, and the sum of all."""
        with self._sorting:
            seconds = self.fresh[:]
            del self.fresh[: len(seconds)]
            for second in seconds:
                self._counts[bisect_left(BOUNDS, second)] += 1
            self._total += sum(seconds)
            return self._counts.copy(), self._total
