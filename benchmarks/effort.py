"""How much is measured: in full, or so little that it only shows that everything still runs."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Effort:
    """`seconds` is how long one round should work; `drivers` bounds the jobs of a round."""

    drivers: int
    warm_up: int
    """Jobs that workers do before the clock runs."""

    seconds: float
    rounds: dict[float, int]
    """Of throughput, by the provider's latency in seconds."""

    peers: tuple[str, ...] | None
    """Which peers take part; None: all."""

    rate_seconds: float
    many: int
    asking_rounds: int
    api_seconds: float
    lease_s: int
    """Of the worker that is killed; 30 is what production has."""

    history: tuple[int, ...]
    scheduled: int
    soak_minutes: float


FULL = Effort(
    drivers=14_000,
    warm_up=300,
    seconds=5,
    rounds={0.05: 3, 0.5: 2},
    peers=None,
    rate_seconds=5,
    many=10_000,
    asking_rounds=2,
    api_seconds=10,
    lease_s=30,
    history=(0, 1_000_000, 5_000_000),
    scheduled=1_000_000,
    soak_minutes=1,
)

QUICK = Effort(
    drivers=1_500,
    warm_up=100,
    seconds=0.5,
    rounds={0.05: 1},
    peers=("Dramatiq", "SAQ"),
    rate_seconds=1,
    many=500,
    asking_rounds=1,
    api_seconds=1,
    lease_s=3,
    history=(0, 20_000),
    scheduled=20_000,
    soak_minutes=0.05,
)


def smallest(jobs: int) -> Effort:
    """This system alone, with so many jobs a round: for a test of the benchmarks themselves."""
    return replace(
        QUICK, drivers=20 * jobs, warm_up=jobs, seconds=0, peers=(), many=jobs, history=(0, jobs), scheduled=jobs
    )
