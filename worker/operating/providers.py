"""How providers stand: what the gate in Redis has learnt of them, and what the ledger says waits for them. Reads only.

The gate's keys and their fields are described where they are written (`tasks/verification/gate_scripts.py`). Which
there are stands in the set `verification:gates`: the worker's Redis user may not list keys.
"""

import re
from collections import defaultdict
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
"""As the gate has it: a rate that was halved grows back, and is forgotten. So is what a provider said remains."""

KNOWN = "verification:gates"
"""The keys of all gates that were asked lately and say something. `tasks/verification/gate_store.py` writes it."""

_KEY = re.compile(
    r"verification:\{(?P<integration>[^:}]+):(?P<environment>[^}]+)\}:(?P<part>breaker|account|flights):(?P<of>.+)"
)


@dataclass(frozen=True, slots=True)
class Gate:
    """The gate of one integration in one environment: the worst of its hosts and accounts.

    `open_for` is how long an open breaker rests before a probe, `closed_for` how long a provider asked to be left
    alone, `rate` the calls a second that refusals have taught, `in_flight` the calls of accounts that limit them,
    `remaining` those that the provider said it would still take; None where there is nothing of the kind.
    """

    breaker: Breaker
    open_for: timedelta | None
    closed_for: timedelta | None
    rate: float | None
    in_flight: int | None = None
    remaining: int | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """What one key of a gate says. `of` is a breaker's host, or a digest of the account that limits are about.

    `fields` are as in Redis; of `flights` there is only `held`, the number of calls in flight.
    """

    integration: str
    environment: str
    part: str
    of: str
    fields: Mapping[str, str]


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
            parts, now_ms = read(client)
    except (RedisError, OSError):
        return None
    return by_provider(parts, now_ms)


def read(client: Any) -> tuple[list[Part], float]:
    """All that there is, and the moment, of Redis' clock. `client` decodes answers. Raises `RedisError`."""
    with client.pipeline(transaction=False) as pipeline:
        pipeline.time()
        pipeline.smembers(KNOWN)
        (seconds, micros), keys = pipeline.execute()
    now_ms = seconds * 1000 + micros / 1000
    found = [(match, key) for key in keys if (match := _KEY.fullmatch(key))]
    with client.pipeline(transaction=False) as pipeline:
        for match, key in found:
            if match["part"] == "flights":
                pipeline.zcount(key, now_ms, "+inf")  # older ones are of workers that were killed
            else:
                pipeline.hgetall(key)
        said = pipeline.execute()
    parts = [
        Part(**match.groupdict(), fields=fields if isinstance(fields, dict) else {"held": str(fields)})
        for (match, _), fields in zip(found, said, strict=True)
        if fields != {}  # forgotten since then
    ]
    return parts, now_ms


def by_provider(parts: Iterable[Part], now_ms: float) -> dict[tuple[str, str], Gate]:
    """By integration and environment."""
    of_provider: dict[tuple[str, str], list[tuple[str, Mapping[str, str]]]] = defaultdict(list)
    for part in parts:
        of_provider[part.integration, part.environment].append((part.part, part.fields))
    return {provider: gate(known, now_ms) for provider, known in of_provider.items()}


def gate(parts: Iterable[tuple[str, Mapping[str, str]]], now_ms: float) -> Gate:
    """What one provider's breakers, accounts and flights mean at this moment of Redis' clock."""
    open_for = closed_for = None
    is_half_open, rate = False, None
    in_flight, remaining = None, None
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
            if now_ms - float(fields.get("remaining_at", 0)) < FORGOTTEN_AFTER_MS:
                left_over = int(fields["remaining"])
                remaining = left_over if remaining is None else min(remaining, left_over)
        elif part == "flights":
            in_flight = (in_flight or 0) + int(fields["held"])
    breaker: Breaker = "open" if open_for else "half_open" if is_half_open else "closed"
    return Gate(breaker, _length(open_for), _length(closed_for), rate, in_flight, remaining)


def _length(ms: float | None) -> timedelta | None:
    return None if ms is None else timedelta(milliseconds=ms)
