"""/metrics: what is counted, how little it can grow, and who may read it."""

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import event, text

from tests.api.clients import Upstream
from tests.api.served import Api, served
from tests.api.test_rights import question
from tests.conftest import DatabaseUrls, settings_for
from worker.api.system_metrics import SystemCollector
from worker.database import Database
from worker.operating import numbers
from worker.operating.budgets import set_budget
from worker.pauses import Scope, pause
from worker.settings import Settings

TOKEN = "a-token-of-monitoring"


def read(api: Api, **headers: str) -> tuple[int, str]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with api.ask("GET", "/metrics", None, named) as answer:
        return answer.status, answer.read().decode()


def series(api: Api) -> dict[str, float]:
    _, said = read(api)
    return {
        name: float(value)
        for name, value in (line.rsplit(" ", 1) for line in said.splitlines() if not line.startswith("#"))
    }


def test_requests_are_counted_by_route_and_outcomes_by_kind(api: Api, upstream: Upstream, driver: int) -> None:
    for key in "aab":
        upstream.call("POST", "/v1/verifications", question(driver), Idempotency_Key=key)
    upstream.call("POST", "/v1/verifications", question(999_999))
    upstream.call("POST", "/v1/verifications", {})
    upstream.call("POST", "/v1/verifications:batch", [question(driver), question(999_999), 7])
    upstream.call("GET", "/v1/verifications/1")
    found = series(api)

    def requests(method: str, route: str, status: int) -> float:
        return found[f'worker_api_requests_total{{method="{method}",route="{route}",status="{status}"}}']

    def outcome(word: str) -> float:
        return found[f'worker_api_enqueued_total{{kind="verification.verify",outcome="{word}"}}']

    assert requests("POST", "/v1/verifications", 202) == 3
    assert requests("POST", "/v1/verifications", 404) == 1
    assert requests("POST", "/v1/verifications", 422) == 1
    assert requests("POST", "/v1/verifications:batch", 200) == 1
    assert requests("GET", "/v1/verifications/{request_id}", 200) == 1
    assert [outcome(word) for word in ("new", "joined", "repeated", "refused")] == [1, 2, 1, 2]
    assert found['worker_api_request_seconds_count{method="POST",route="/v1/verifications"}'] == 5
    assert found["worker_api_database_connections_max"] == 4


def test_whatever_is_asked_there_are_no_more_series(api: Api, upstream: Upstream) -> None:
    def ask_strangely(word: str, method: str = "LOCK") -> None:
        api.call("GET", f"/nowhere/{word}")
        api.call(method, "/healthz")
        upstream.call("GET", f"/v1/jobs/{word}")

    ask_strangely("a")
    before = set(series(api))
    for word, method in (("b", "PROPFIND"), ("Ann", "MKCOL")):
        ask_strangely(word, method)
    after = set(series(api))
    # The first look is counted after it was answered.
    assert {name for name in after - before if 'route="/metrics"' not in name} == set()
    assert not re.search("Ann|nowhere", str(after))


def test_only_this_machine_may_read_them(api: Api) -> None:
    assert read(api)[0] == 200
    proxies = ({"X_Forwarded_For": "203.0.113.9"}, {"Forwarded": "for=203.0.113.9"}, {"X_Forwarded_For": "127.0.0.1"})
    for proxied in proxies:
        status, said = read(api, **proxied)
        assert status == 403, "a proxy on this machine speaks for somebody else"
        assert "worker_api" not in said


@pytest.mark.parametrize("shown", [None, "Bearer wrong", f"Basic {TOKEN}", "Bearer ", f"Bearer {TOKEN}x"])
def test_with_a_token_whoever_shows_it(settings: Settings, shown: str | None) -> None:
    with served(settings.model_copy(update={"metrics_token": SecretStr(TOKEN)})) as api:
        headers = {} if shown is None else {"Authorization": shown}
        assert read(api, **headers)[0] == 403
        assert read(api, Authorization=f"Bearer {TOKEN}", X_Forwarded_For="203.0.113.9")[0] == 200


def test_budgets_and_missed_runs_are_told_of(api: Api, db: Database) -> None:
    with db.transaction() as connection:
        set_budget(connection, "T1", "somebody", soft=Decimal(5), hard=None)
        connection.execute(
            text("INSERT INTO schedule_entry (name, missed, decided_until) VALUES ('tokens.expire', 3, now())")
        )
    found = series(api)
    assert found['worker_budget_spent_usd{tenant="T1"}'] == 0
    assert found['worker_budget_limit_usd{limit="soft",tenant="T1"}'] == 5
    assert 'worker_budget_limit_usd{limit="hard",tenant="T1"}' not in found
    assert found['worker_budget_waiting_jobs{tenant="T1"}'] == 0
    assert found['worker_clock_missed_runs_total{entry="tokens.expire"}'] == 3


def test_a_database_that_is_away_has_nothing_to_tell(database: DatabaseUrls, redis_url: str) -> None:
    settings = settings_for(
        database, redis_url, DATABASE_URL="postgresql://app:x@127.0.0.1:1/none", REDIS_URL="redis://127.0.0.1:1/0"
    )
    away = Database(settings)
    collector = SystemCollector(away, settings)
    (up,) = collector.collect()
    assert {sample.value for sample in up.samples} == {0}
    collector.close()
    away.close()


def test_the_whole_system_is_told_of(api: Api, db: Database, upstream: Upstream, driver: int) -> None:
    upstream.call("POST", "/v1/verifications", question(driver))
    with db.transaction() as connection:
        connection.execute(_OTHER_JOBS)
        connection.execute(
            text("INSERT INTO schedule_entry (name, missed, decided_until) VALUES ('tokens.expire', 3, now())")
        )
        connection.execute(
            text("INSERT INTO worker_process VALUES ('me', '{rating,maintenance}', 'here', 1, now(), now(), 0, 4)")
        )
        pause(connection, Scope(kind="k.paused"), "somebody", "a test")
    found = series(api)

    def told(name: str) -> dict[str, float]:
        return {key[len(name) :]: value for key, value in found.items() if key.startswith(f"{name}{{")}

    assert told("worker_queue_ready_jobs") == {
        '{kind="k.ready",queue="rating",tenant_class="few"}': 3,
        '{kind="k.ready",queue="rating",tenant_class="many"}': 200,
        '{kind="verification.verify",queue="verification",tenant_class="few"}': 1,
    }
    assert told("worker_queue_oldest_ready_seconds")['{kind="k.ready",queue="rating"}'] == pytest.approx(3600, abs=60)
    assert told("worker_queue_waiting_jobs") == {
        f'{{kind="k.{word}",queue="rating",reason="{reason}"}}': 1
        for word, reason in (
            *(("paused", "paused"), ("limited", "limited"), ("open", "breaker"), ("budget", "budget")),
            *(("retry", "retry"), ("batch", "batch"), ("later", "scheduled")),
        )
    }
    assert told("worker_queue_running_jobs") == {'{kind="k.running",queue="rating"}': 1}
    assert told("worker_jobs_failed_recent") == {
        '{code="timeout",kind="k.failed"}': 1, '{code="worker_died",kind="k.failed"}': 1
    }  # fmt: skip
    assert told("worker_jobs_quarantined") == {'{kind="k.failed"}': 2}
    assert told("worker_processes") == {'{role="maintenance"}': 1, '{role="rating"}': 1}
    assert told("worker_clock_overdue") == {'{entry="tokens.expire"}': 0}
    assert told("worker_clock_last_success_age_seconds")['{entry="tokens.expire"}'] < 60
    assert found["worker_masking_overdue_rows"] == found["worker_masking_oldest_overdue_seconds"] == 0
    assert told("worker_retention_oldest_overdue_seconds")['{table="user_sessions"}'] == 0
    assert told("worker_partitions_months_ahead")['{table="audit_logs"}'] >= 3
    assert told("worker_partitions_default_rows") == {'{table="audit_logs"}': 0}
    assert found["worker_database_oldest_transaction_seconds"] >= 0
    assert set(told("worker_clock_skew_seconds")) == {'{between="machine_database"}', '{between="machine_redis"}'}
    assert set(told("worker_system_metrics_up").values()) == {1}


_CLOCK = text("INSERT INTO schedule_entry (name, missed, decided_until) VALUES ('tokens.expire', 3, now())")

_OTHER_JOBS = text(
    """
    INSERT INTO job (kind, queue, tenant, run_at, state, waiting_for, error_code, lease_until, finished_at)
    SELECT 'k.ready', 'rating', 'bulk', now() - interval '1 minute', 'ready', NULL, NULL,
        CAST(NULL AS timestamptz), CAST(NULL AS timestamptz) FROM generate_series(1, 200)
    UNION ALL
    SELECT 'k.ready', 'rating', 'small', now() - interval '1 hour', 'ready', NULL, NULL, NULL, NULL
    FROM generate_series(1, 3)
    UNION ALL VALUES
    ('k.paused', 'rating', 'a', now(), 'ready', NULL, NULL, NULL, NULL),
    ('k.limited', 'rating', 'a', now() + interval '1 hour', 'ready', 'limited until then', NULL, NULL, NULL),
    ('k.open', 'rating', 'a', now() + interval '1 hour', 'ready', 'breaker of host open', NULL, NULL, NULL),
    ('k.budget', 'rating', 'a', now() + interval '1 hour', 'ready', 'the budget of a for today', NULL, NULL, NULL),
    ('k.retry', 'rating', 'a', now() + interval '1 hour', 'ready', 'retry after timeout', NULL, NULL, NULL),
    ('k.batch', 'rating', 'a', 'infinity', 'ready', NULL, NULL, NULL, NULL),
    ('k.later', 'rating', 'a', now() + interval '1 hour', 'ready', NULL, NULL, NULL, NULL),
    ('k.running', 'rating', 'a', now(), 'running', NULL, NULL, now(), NULL),
    ('k.failed', 'rating', 'a', now(), 'failed', NULL, 'timeout', NULL, now()),
    ('k.failed', 'rating', 'a', now(), 'failed', NULL, 'worker_died', NULL, now()),
    ('k.failed', 'rating', 'a', now(), 'failed', NULL, 'worker_died', NULL, now() - interval '2 hours')
    """
)


def test_a_long_backlog_and_several_scrapers_cost_no_more_than_a_short_one(
    settings: Settings, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numbers, "LANE_MAX", 50)
    with db.transaction() as connection:
        connection.execute(
            text("INSERT INTO job (kind, queue) SELECT 'k.ready', 'rating' FROM generate_series(1, 5000)")
        )
        lines = numbers.waiting(connection)
        plan = connection.execute(
            text("EXPLAIN (ANALYZE, FORMAT JSON) " + numbers._WAITING.text),
            {"lane_max": 50, "lanes_max": 1000, "many": 100},
        ).scalar_one()
    assert [line.jobs for line in lines] == [50]
    assert max(rows_of(plan[0]["Plan"])) <= 51, "some node of the plan has read more of the lane than its limit"
    collector = SystemCollector(db, settings)
    statements: list[str] = []
    event.listen(db.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    for _ in range(3):
        list(collector.collect())
    assert len([said for said in statements if "lanes" in said]) == 1
    collector.close()


def rows_of(node: dict[str, Any]) -> Iterator[float]:
    """Rows that each node of a plan has given, and those that it has read and left out."""
    yield node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
    for child in node.get("Plans", ()):
        yield from rows_of(child)
