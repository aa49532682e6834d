"""How the gate of each provider stands, for Prometheus: breakers by host, the rest by integration and environment.

    worker_provider_breaker_state{integration,environment,host}     0 closed, 1 half-open, 2 open
    worker_provider_rate_per_second{integration,environment}        what refusals have taught; none where nothing has
    worker_provider_calls_in_flight{integration,environment}        of accounts that limit them
    worker_provider_remaining{integration,environment}              calls left, as the provider said a moment ago

Integrations and hosts are what the operators configured. A provider that nobody has called lately has no series.
"""

from collections.abc import Iterable, Sequence

from prometheus_client.core import GaugeMetricFamily, Metric

from worker.metrics import LABEL_VALUES_MAX, OTHER
from worker.operating.providers import Breaker, Part, by_provider, gate

_STATES: dict[Breaker, int] = {"closed": 0, "half_open": 1, "open": 2}


def provider_gauges(parts: Sequence[Part], now_ms: float) -> list[Metric]:
    """`parts` and the moment as `worker.operating.providers.read` gives them."""
    return [_breakers(parts, now_ms), *_accounts(parts, now_ms)]


def _breakers(parts: Iterable[Part], now_ms: float) -> Metric:
    states: dict[tuple[str, str, str], int] = {}
    for part in sorted((part for part in parts if part.part == "breaker"), key=lambda part: part.of):
        host = part.of if len(states) < LABEL_VALUES_MAX else OTHER
        labels = (part.integration, part.environment, host)
        state = _STATES[gate([(part.part, part.fields)], now_ms).breaker]
        states[labels] = max(state, states.get(labels, 0))
    family = GaugeMetricFamily(
        "worker_provider_breaker_state", "0 closed, 1 half-open, 2 open.", labels=("integration", "environment", "host")
    )
    for labels, state in states.items():
        family.add_metric(labels, state)
    return family


def _accounts(parts: Iterable[Part], now_ms: float) -> list[Metric]:
    labels = ("integration", "environment")
    rate = GaugeMetricFamily("worker_provider_rate_per_second", "Calls, as refusals have taught.", labels=labels)
    in_flight = GaugeMetricFamily("worker_provider_calls_in_flight", "Of accounts that limit them.", labels=labels)
    remaining = GaugeMetricFamily("worker_provider_remaining", "Calls left, as the provider said.", labels=labels)
    for provider, known in by_provider(parts, now_ms).items():
        for family, value in ((rate, known.rate), (in_flight, known.in_flight), (remaining, known.remaining)):
            if value is not None:
                family.add_metric(provider, value)
    return [rate, in_flight, remaining]
