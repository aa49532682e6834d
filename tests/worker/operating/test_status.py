"""What `worker status` makes of a system's state: alarms from plain data, the rest from real servers."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from redis import Redis
from rich.console import Console
from sqlalchemy import text

from tasks.verification.gate import RULES
from tests.cli.operator import insert
from worker.cli.status_screen import screen
from worker.clock.schedule import EntryStatus
from worker.database import Database
from worker.operating import providers
from worker.operating.budgets import Budget
from worker.operating.inspection import QueueStatus
from worker.operating.providers import Gate, Load, Provider, gate
from worker.operating.status import Failures, Process, Status, alarms, status
from worker.pauses import Pause, Scope
from worker.settings import Settings

NOW = datetime(2026, 5, 5, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
QUEUE = QueueStatus("verification", 0, 0, 0, 0, None, 1, 0, 64)
ENTRY = EntryStatus(
    "masking.sweep", "masking.sweep", "40 0 * * *", "UTC", "once", (), NOW, "done", None, MINUTE, None, NOW, NOW, None,
    0, None, None, None, None,
)  # fmt: skip
PROVIDER = Provider("DCS", "production", Gate("closed", None, None, None), Load(0, 0, 0, Decimal(0)))
BUDGET = Budget("DEMO", None, Decimal(100), Decimal(90), Decimal(0), 0, "olga", NOW)
FINE = Status(
    NOW, True, [], [QUEUE], [], [PROVIDER], [ENTRY], [BUDGET], [Failures("k", "c", 50)], 0, MINUTE, {}, {}, 3, 0
)


def of_queue(**changes: Any) -> Status:
    return replace(FINE, queues=[replace(QUEUE, **changes)])


@pytest.mark.parametrize(
    ("state", "names"),
    [
        (FINE, []),
        (of_queue(oldest_due=5 * MINUTE), []),
        (of_queue(oldest_due=6 * MINUTE), ["WorkerJobsWaitTooLong"]),
        (of_queue(oldest_due=2 * MINUTE, workers=0), ["WorkerNobodyListens"]),
        (of_queue(oldest_due=6 * MINUTE, workers=0), ["WorkerNobodyListens", "WorkerJobsWaitTooLong"]),
        (of_queue(workers=0), []),
        (of_queue(queue="maintenance", oldest_due=6 * MINUTE), []),
        (of_queue(queue="maintenance", oldest_due=31 * MINUTE), ["WorkerJobsWaitTooLong"]),
        (replace(FINE, quarantined=1), ["WorkerJobsQuarantined"]),
        (replace(FINE, failures=[Failures("k", "c", 51)]), ["WorkerJobsFail"]),
        (replace(FINE, providers=[replace(PROVIDER, gate=Gate("open", MINUTE, None, None))]), ["WorkerBreakerOpen"]),
        (replace(FINE, providers=[replace(PROVIDER, gate=Gate("half_open", None, None, 1))]), ["WorkerBreakerOpen"]),
        (replace(FINE, providers=[replace(PROVIDER, gate=None)]), []),
        (replace(FINE, budgets=[replace(BUDGET, spent=Decimal("90.01"))]), ["WorkerBudgetNearlyUsed"]),
        (replace(FINE, budgets=[replace(BUDGET, spent=Decimal(1000), hard_limit=None)]), []),
        (replace(FINE, schedule=[replace(ENTRY, overdue_since=NOW)]), ["WorkerClockEntryOverdue"]),
        (replace(FINE, masking_overdue={"quotes": timedelta(hours=36)}), []),
        (replace(FINE, masking_overdue={"quotes": timedelta(hours=37)}), ["WorkerMaskingOverdue"]),
        (replace(FINE, retention_overdue={"job": timedelta(hours=37)}), ["WorkerRetentionOverdue"]),
        (replace(FINE, partitions_ahead=0), ["WorkerPartitionMissing"]),
        (replace(FINE, strays=1), ["WorkerDefaultPartitionHasRows"]),
        (replace(FINE, oldest_transaction=11 * MINUTE), ["WorkerLongTransaction"]),
    ],
)
def test_an_alarm_is_raised_for_what_somebody_should_look_at(state: Status, names: list[str]) -> None:
    assert [alarm.name for alarm in alarms(state)] == names


NOW_MS = 1_000_000.0


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([], Gate("closed", None, None, None)),
        ([("breaker", {"begun:1": "3"})], Gate("closed", None, None, None)),
        ([("breaker", {"open_until": "1005000"})], Gate("open", timedelta(seconds=5), None, None)),
        ([("breaker", {"open_until": "999999"})], Gate("half_open", None, None, None)),
        (
            [("breaker", {"open_until": "999999"}), ("breaker", {"open_until": "1001000"})],
            Gate("open", timedelta(seconds=1), None, None),
        ),
        ([("account", {"closed_until": "1002000"})], Gate("closed", None, timedelta(seconds=2), None)),
        ([("account", {"learnt": "4", "learnt_at": "940000"})], Gate("closed", None, None, 8.0)),
        (
            [
                ("account", {"learnt": "4", "learnt_at": "1000000"}),
                ("account", {"learnt": "2", "learnt_at": "1000000"}),
            ],
            Gate("closed", None, None, 2.0),
        ),
        ([("account", {"learnt": "4", "learnt_at": "760000"})], Gate("closed", None, None, None)),
        (
            [("account", {"remaining": n, "remaining_at": at}) for n, at in (("40", "999000"), ("9", "999000"))],
            Gate("closed", None, None, None, remaining=9),
        ),
        ([("account", {"remaining": "40", "remaining_at": "760000"})], Gate("closed", None, None, None)),
        ([("flights", {"held": "3"}), ("flights", {"held": "0"})], Gate("closed", None, None, None, in_flight=3)),
    ],
)
def test_the_gate_is_the_worst_of_its_hosts_and_accounts(
    parts: list[tuple[str, dict[str, str]]], expected: Gate
) -> None:
    assert gate(parts, NOW_MS) == expected


def test_rates_grow_back_as_the_gate_has_it() -> None:
    assert RULES.doubles_in_s * 1000 == providers.DOUBLES_IN_MS


@pytest.fixture
def redis(redis_url: str) -> Iterator[Any]:
    with Redis.from_url(redis_url) as client:
        yield client


def test_the_status_tells_of_the_whole_system(settings: Settings, db: Database, redis: Any) -> None:
    breaker = "verification:{DCS_CRIMINAL:sandbox}:breaker:dcs.example"
    redis.hset(breaker, "open_until", redis.time()[0] * 1000 + 60_000)
    redis.sadd(providers.KNOWN, breaker)
    insert(db, 2, resource="DCS_CRIMINAL")
    insert(db, 1, state="failed", error_code="worker_died", finished_at=datetime.now(UTC))
    with db.transaction() as connection:
        connection.execute(
            text(
                "INSERT INTO worker_process (owner, queues, hostname, pid, in_flight, calls_in_flight, seen_at) VALUES"
                " ('a', '{rating}', 'h', 1, 3, 8, now()), ('b', '{rating}', 'h', 2, 0, 8, now() - interval '1 hour')"
            )
        )
    known = providers.gates(settings.redis_url.get_secret_value())
    with db.transaction() as connection:
        found = status(connection, [], known)
    assert [(process.pid, process.in_flight) for process in found.processes] == [(1, 3)]
    (criminal,) = (provider for provider in found.providers if provider.integration == "DCS_CRIMINAL")
    assert criminal.gate is not None
    assert (criminal.environment, criminal.gate.breaker, criminal.load.waiting) == ("sandbox", "open", 2)
    assert [failed.code for failed in found.failures] == ["worker_died"]
    assert {alarm.name for alarm in alarms(found)} == {"WorkerBreakerOpen", "WorkerJobsQuarantined"}
    with db.transaction() as connection:
        without = status(connection, [], providers.gates("redis://127.0.0.1:1/0"))
    assert not without.has_redis
    assert {provider.gate for provider in without.providers} == {None}


def test_the_screen_fits_into_80_columns_and_breaks_no_name() -> None:
    processes = [
        Process(f"o{n}", "worker-machine-17", 40_000 + n, ["verification"], 64, 128, NOW, NOW) for n in range(20)
    ]
    open_gate = Gate("open", 20 * MINUTE, None, None)
    state = replace(
        FINE,
        processes=processes,
        providers=[Provider("DCS_HOUSEHOLD_VEHICLES", "production", open_gate, Load(99_999, 128, 9_999, Decimal(999)))],
        pauses=[Pause(Scope(tenant="DEMO"), "a [red]long\x1b[2J reason " * 5, "olga", NOW, None)],
        quarantined=2,
    )
    console = Console(width=80, record=True, file=StringIO())
    console.print(screen(state))
    said = console.export_text()
    assert max(map(len, said.splitlines())) <= 80
    for word in ("WorkerBreakerOpen", "DCS_HOUSEHOLD_VEHICLES production", "open 20m", "99999", "and 8 more", "[red]"):
        assert word in said
    assert "\x1b" not in said
