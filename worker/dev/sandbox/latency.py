"""How long an answer takes, as text a person types.

`0`, `50ms`, `0.05` (seconds): a median, calls spread around it; `50ms-200ms`: evenly between the two;
`drivers=5s,criminal=10s`: an API on its own, the others at once.
"""

import math
import re
from dataclasses import dataclass
from statistics import NormalDist

from worker.errors import Misconfigured

APIS = ("drivers", "criminal", "vehicles")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s)?")
_SPREAD = 0.3  # of the logarithm: one call in twenty then takes 1.64 times the median, or longer
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Delay:
    """Seconds. `low == high` is a median, anything else a range."""

    low: float
    high: float

    def at(self, chance: float) -> float:
        """The delay that a share `chance` (0..1) of all calls stays below."""
        if self.low == self.high:
            return self.low * math.exp(_SPREAD * _NORMAL.inv_cdf(min(max(chance, 0.001), 0.999)))
        return self.low + (self.high - self.low) * chance


@dataclass(frozen=True, slots=True)
class Latency:
    delays: dict[str, Delay]

    @classmethod
    def parse(cls, text: str) -> "Latency":
        if "=" not in text:
            return cls({api: _delay(text) for api in APIS}) if text != "0" else cls({})
        delays = {}
        for part in text.split(","):
            api, _, delay = part.strip().partition("=")
            if api not in APIS:
                raise Misconfigured(f"latency names an unknown API {api!r}: it is one of {', '.join(APIS)}")
            delays[api] = _delay(delay)
        return cls(delays)


def _delay(text: str) -> Delay:
    low, dash, high = text.strip().partition("-")
    delay = Delay(_seconds(low), _seconds(high if dash else low))
    if delay.low > delay.high:
        raise Misconfigured(f"latency {text!r} ends before it begins")
    return delay


def _seconds(text: str) -> float:
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise Misconfigured(f"latency {text!r} is not a duration: write 50ms, 0.05, 5s or 50ms-200ms")
    return float(match[1]) / (1000 if match[2] == "ms" else 1)
