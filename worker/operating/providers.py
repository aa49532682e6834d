"""How providers stand: what the gate in Redis has learnt of them, and what the ledger says waits for them. Reads only.

The gate's keys and their fields are described where they are written (`tasks/verification/gate_scripts.py`).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any, Literal

from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import Connection, text

Breaker = Literal["closed", "half_open", "open"]

PATIENCE_S = 2.0
DOUBLES_IN_MS = 60_000
FORGOTTEN_AFTER_MS = 4 * DOUBLES_IN_MS
"""As the gate has it: a rate that was halved grows back, and is forgotten."""

_KEY = re.compile(r"verification:\{(?P<integration>[^:}]+):(?P<environment>[^}]+)\}:(?P<part>breaker|account):")


@dataclass(frozen=True, slots=True)
class Gate:
    """The gate of one integration in one environment: the worst of its hosts and accounts.

    `open_for` is how long an open breaker rests before a probe, `closed_for` how long a provider asked to be left
    alone, `rate` the calls a second that refusals have taught; None where there is nothing of the kind.
    """

    breaker: Breaker
    open_for: timedelta | None
    closed_for: timedelta | None
    rate: float | None


@dataclass(frozen=True, slots=True)
class Load:
    """What the ledger knows: jobs that wait, running ones, and today's calls (UTC) with their cost in US dollars."""

    waiting: int
    running: int
    calls_today: int
    cost_today: Decimal


@dataclass(frozen=True, slots=True)
class Provider:
    """`gate` is None where nothing is known of it: nobody has called lately, or Redis is away."""

    integration: str
    environment: str | None
    gate: Gate | None
    load: Load


def providers(connection: Connection, gates: Mapping[tuple[str, str], Gate]) -> list[Provider]:
    """Every active integration, once for each environment that the gate knows of."""
    environments: dict[str, list[str | None]] = {}
    for integration, environment in sorted(gates):
        environments.setdefault(integration, []).append(environment)
    return [
        Provider(row.code, environment, gates.get((row.code, environment or "")), Load(*row[1:]))
        for row in connection.execute(_LOAD)
        for environment in environments.get(row.code) or [None]
    ]


_LOAD = text(
    """
    SELECT integration.code, coalesce(open.waiting, 0) AS waiting, coalesce(open.running, 0) AS running,
        coalesce(today.calls, 0) AS calls_today, coalesce(today.cost, 0) AS cost_today
    FROM third_party_integration AS integration
    LEFT JOIN (
        SELECT resource, count(*) FILTER (WHERE state = 'running') AS running,
            count(*) FILTER (WHERE state = 'ready' AND (run_at <= now() OR waiting_for IS NOT NULL)) AS waiting
        FROM job WHERE state IN ('ready', 'running') GROUP BY resource
    ) AS open ON open.resource = integration.code
    LEFT JOIN (
        SELECT integration_id, sum(calls) AS calls, sum(calls * coalesce(price, 0)) AS cost
        FROM provider_call WHERE at >= date_trunc('day', now(), 'UTC') GROUP BY integration_id
    ) AS today ON today.integration_id = integration.id
    WHERE integration.is_active ORDER BY integration.code
    """
)


def gates(redis_url: str) -> dict[tuple[str, str], Gate] | None:
    """By integration and environment; None if Redis is away."""
    client: Any = Redis.from_url(
        redis_url, socket_timeout=PATIENCE_S, socket_connect_timeout=PATIENCE_S, decode_responses=True
    )
    try:
        with client:
            seconds, micros = client.time()
            keys = [(found, key) for key in client.scan_iter("verification:{*}:*", 1000) if (found := _KEY.match(key))]
            with client.pipeline(transaction=False) as pipeline:
                for _, key in keys:
                    pipeline.hgetall(key)
                hashes = pipeline.execute()
    except (RedisError, OSError):
        return None
    by_provider: dict[tuple[str, str], list[tuple[str, dict[str, str]]]] = {}
    for (found, _), fields in zip(keys, hashes, strict=True):
        by_provider.setdefault((found["integration"], found["environment"]), []).append((found["part"], fields))
    return {provider: gate(parts, seconds * 1000 + micros / 1000) for provider, parts in by_provider.items()}


def gate(parts: Iterable[tuple[str, Mapping[str, str]]], now_ms: float) -> Gate:
    """What the hashes of one provider's breakers and accounts mean at this moment of Redis' clock."""
    open_for = closed_for = None
    is_half_open, rate = False, None
    for part, fields in parts:
        if part == "breaker" and "open_until" in fields:
            left = float(fields["open_until"]) - now_ms
            is_half_open = is_half_open or left <= 0
            open_for = max(left, open_for or 0) if left > 0 else open_for
        elif part == "account":
            left = float(fields.get("closed_until", 0)) - now_ms
            closed_for = max(left, closed_for or 0) if left > 0 else closed_for
            age = now_ms - float(fields.get("learnt_at", 0))
            if "learnt" in fields and age < FORGOTTEN_AFTER_MS:
                learnt = float(fields["learnt"]) * (1 + age / DOUBLES_IN_MS)
                rate = learnt if rate is None else min(rate, learnt)
    breaker: Breaker = "open" if open_for else "half_open" if is_half_open else "closed"
    return Gate(breaker, _length(open_for), _length(closed_for), rate)


def _length(ms: float | None) -> timedelta | None:
    return None if ms is None else timedelta(milliseconds=ms)
