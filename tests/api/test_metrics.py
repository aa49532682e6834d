"""/metrics: what is counted, how little it can grow, and who may read it."""

import re
from decimal import Decimal

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from tests.api.clients import Upstream
from tests.api.served import Api, served
from tests.api.test_rights import question
from tests.conftest import DatabaseUrls, settings_for
from worker.api.system_metrics import SystemCollector
from worker.database import Database
from worker.operating.budgets import set_budget
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
        connection.execute(text("INSERT INTO schedule_entry (name, missed, decided_until) VALUES ('a', 3, now())"))
    found = series(api)
    assert found['worker_budget_spent_usd{tenant="T1"}'] == 0
    assert found['worker_budget_limit_usd{limit="soft",tenant="T1"}'] == 5
    assert 'worker_budget_limit_usd{limit="hard",tenant="T1"}' not in found
    assert found['worker_budget_waiting_jobs{tenant="T1"}'] == 0
    assert found['worker_clock_missed_runs_total{entry="a"}'] == 3


def test_a_database_that_is_away_has_nothing_to_tell(database: DatabaseUrls, redis_url: str) -> None:
    away = Database(settings_for(database, redis_url, DATABASE_URL="postgresql://app:x@127.0.0.1:1/none"))
    assert list(SystemCollector(away).collect()) == []
    away.close()
