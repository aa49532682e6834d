"""Trouble on demand: a share of calls answered 500, and another latency, until the next reset."""

from dataclasses import dataclass, field

from worker.errors import Misconfigured

from .bounded import Counters
from .chance import draw
from .latency import Latency


@dataclass(frozen=True)
class Faults:
    """`rate_500` is the share (0..1) of API calls that fail; counting starts anew with each new object."""

    rate_500: float
    seed: int
    latency: Latency
    _calls: Counters = field(default_factory=Counters)

    def next_draws(self, api: str, correlation_id: str) -> tuple[bool, float]:
        """Of the next call with this correlation id: does it fail, and how many seconds does it take?"""
        delay = self.latency.delays.get(api)
        if delay is None and not self.rate_500:
            return False, 0.0
        nth = self._calls.next(correlation_id)
        fails = draw(self.seed, "500", correlation_id, nth) < self.rate_500
        return fails, delay.at(draw(self.seed, "latency", correlation_id, nth)) if delay else 0.0


def parse_faults(payload: object, *, seed: int, latency: str) -> Faults:
    """Faults from `{"rate_500": 0.2, "seed": 7, "latency": "50ms"}`; what is left out is as the server started."""
    if not isinstance(payload, dict):
        raise Misconfigured("faults are a JSON object")
    if unknown := sorted(payload.keys() - {"rate_500", "seed", "latency"}):
        raise Misconfigured(f"faults has no field {unknown[0]!r}: it takes rate_500, seed and latency")
    rate, seed, text = payload.get("rate_500", 0.0), payload.get("seed", seed), payload.get("latency", latency)
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 1:
        raise Misconfigured("rate_500 is a share between 0 and 1")
    if not isinstance(seed, int):
        raise Misconfigured("seed is a whole number")
    return Faults(float(rate), seed, Latency.parse(str(text)))
