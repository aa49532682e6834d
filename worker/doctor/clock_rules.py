"""Clocks that disagree. Leases and the schedule go by PostgreSQL's, the provider's limits by Redis', certificates and
cached tokens by each machine's own."""

from collections.abc import Iterator
from dataclasses import dataclass

from worker.doctor.finding import Finding, problem, warning

WARN_S = 2.0
BAD_S = 30.0


@dataclass(frozen=True, slots=True)
class Clock:
    """How far a server's clock is ahead of this machine's, in seconds, to within `uncertain_s` of the way there."""

    server: str
    ahead_s: float
    uncertain_s: float

    @classmethod
    def of(cls, server: str, *, asked_at: float, said: float, heard_at: float) -> "Clock":
        """From the time a server told between two looks at this machine's clock (Cristian's algorithm)."""
        return cls(server, said - (asked_at + heard_at) / 2, (heard_at - asked_at) / 2)


def judge_clocks(clocks: list[Clock]) -> Iterator[Finding]:
    for clock in clocks:
        surely = abs(clock.ahead_s) - clock.uncertain_s
        if surely > WARN_S:
            where = "ahead of" if clock.ahead_s > 0 else "behind"
            yield (problem if surely > BAD_S else warning)(
                "clock_skew",
                f"{clock.server}'s clock is {abs(clock.ahead_s):.1f} s {where} this machine's.",
                "Have both follow NTP (`timedatectl` says whether one does).",
            )
