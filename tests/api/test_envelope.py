"""Around every request: correlation ids, sizes, shares of clients, and what is said when the database is away."""

import re
from uuid import UUID

import pytest
from sqlalchemy import text

from tests.api.clients import Upstream, add_client, ask_for_token, token_of
from tests.api.served import Api
from worker.database import Database
from worker.dev.embedded import EmbeddedServers

PATH = "/v1/verifications"


def test_every_answer_has_a_correlation_id(api: Api, upstream: Upstream) -> None:
    for method, path in (("GET", "/healthz"), ("GET", "/nowhere"), ("POST", PATH), ("GET", "/v1/jobs")):
        assert UUID(api.call(method, path).headers["X-Correlation-Id"])
        assert api.call(method, path, X_Correlation_Id="a-1").headers["X-Correlation-Id"] == "a-1"


def test_a_body_that_is_too_large_is_refused_before_it_is_read(api: Api, upstream: Upstream) -> None:
    assert api.call("POST", PATH, None, b" " * 65536).status == 422
    for token in (None, upstream.token):
        reply = api.call("POST", PATH, token, b" " * 65537)
        assert (reply.status, reply.body["code"]) == (413, "too_large")
    with api.ask("POST", PATH, iter([b" " * 1024] * 65)) as answer:
        assert answer.status == 413
    assert upstream.call("POST", f"{PATH}:batch", b" " * 65537).status == 422
    assert upstream.call("POST", f"{PATH}:batch", b" " * (1024 * 1024 + 1)).status == 413


def test_a_client_has_its_share_a_minute_and_an_hour(api: Api, db: Database) -> None:
    other = token_of(api, add_client(db))
    for per_minute, per_hour, wait_max in ((5, 1000, 120), (1000, 5, 7200)):
        client = add_client(db, per_minute=per_minute, per_hour=per_hour)
        token = token_of(api, client)  # counts as one
        with db.transaction() as connection:  # into the next span, so that none ends while we count
            connection.execute(text("UPDATE oauth2_request_counts SET began_at = began_at + span_s * interval '1 s'"))
        statuses = [api.call("GET", "/v1/jobs", token).status for _ in range(6)]
        assert statuses == [200] * 4 + [429] * 2
        refused = api.call("POST", PATH, token, {})
        assert refused.headers["Content-Type"] == "application/problem+json"
        assert 1 <= int(refused.headers["Retry-After"]) <= wait_max
        assert ask_for_token(api, {"grant_type": "client_credentials"}, basic=client).status == 429
        assert api.call("GET", "/v1/jobs", other).status == 200, "another client has a share of its own"


def test_a_new_span_is_a_new_share(api: Api, db: Database) -> None:
    token = token_of(api, add_client(db, per_minute=1))
    assert api.call("GET", "/v1/jobs", token).status == 429
    with db.transaction() as connection:
        connection.execute(
            text("UPDATE oauth2_request_counts SET began_at = began_at - interval '1 minute' WHERE span_s = 60")
        )
    assert api.call("GET", "/v1/jobs", token).status == 200


@pytest.mark.kills
def test_a_database_that_went_away_is_said_and_forgotten(upstream: Upstream, servers: EmbeddedServers) -> None:
    assert upstream.call("GET", "/v1/jobs").status == 200
    servers.restart_postgres()
    away = upstream.call("GET", "/v1/jobs")
    assert (away.status, away.body["code"], away.headers["Retry-After"]) == (503, "database_away", "1")
    assert upstream.call("GET", "/v1/jobs").status == 200


def test_the_document_names_every_answer(api: Api) -> None:
    _, _, document = api.get("/openapi.json")
    assert set(document["paths"]) == {
        "/healthz", "/readyz", "/metrics", "/oauth2/token", "/oauth2/revoke", "/v1/verifications",
        "/v1/verifications:batch", "/v1/verifications/{request_id}", "/v1/verifications/{request_id}/raw",
        "/v1/quotes/{quote_id}:recalculate", "/v1/jobs", "/v1/jobs/{job_id}", "/v1/jobs/{job_id}/why",
        "/v1/jobs/{job_id}:cancel", "/v1/jobs/{job_id}:retry",
    }  # fmt: skip
    for path, operations in document["paths"].items():
        for operation in operations.values():
            answers = operation["responses"]
            if path.startswith("/v1/"):
                assert {"401", "403", "413", "422", "429", "503"} <= set(answers), path
                assert operation["security"], path
            for status, answer in answers.items():
                assert "X-Correlation-Id" in answer["headers"], (path, status)
                is_problem = int(status) >= 400 and not path.startswith("/oauth2/")
                assert ("application/problem+json" in answer["content"]) or not is_problem, (path, status)


def test_the_page_that_describes_it_loads_nothing_and_runs_nothing(api: Api) -> None:
    _, _, document = api.get("/openapi.json")
    with api.ask("GET", "/docs") as page:
        assert page.status == 200
        assert "default-src 'none'" in (page.getheader("content-security-policy") or "")
        html = page.read().decode()
    assert "<script" not in html
    assert not re.search(r"(src|href)\s*=\s*.?(https?:)?//", html)
    assert "@import" not in html
    for path, operations in document["paths"].items():
        for method in operations:
            assert f"<code>{method.upper()} {path}</code>" in html
    assert "verifications:write" in html
