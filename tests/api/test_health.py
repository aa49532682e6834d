"""/healthz and /readyz over real HTTP, and the form of errors."""

import json

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from tests.api.served import served, served_app
from tests.conftest import DatabaseUrls, settings_for
from worker.api.app import create_app
from worker.dev.embedded import EmbeddedServers
from worker.settings import Settings


def test_a_migrated_database_and_a_redis_that_answers_are_ready(settings: Settings) -> None:
    with served(settings) as api:
        assert api.get("/readyz") == (200, "application/json", {"status": "ready"})
        assert api.get("/healthz") == (200, "application/json", {"status": "alive"})


@pytest.mark.parametrize(
    ("setting", "url", "part"),
    [
        ("database_url", "postgresql://app:geheim@127.0.0.1:1/worker", "database"),
        ("redis_url", "redis://:geheim@127.0.0.1:1/0", "redis"),
    ],
)
def test_the_part_that_is_away_is_named_without_its_secrets(
    setting: str, url: str, part: str, settings: Settings
) -> None:
    with served(settings.model_copy(update={setting: SecretStr(url)})) as api:
        status, form, body = api.get("/readyz")
        assert (status, form) == (503, "application/problem+json")
        assert body == {
            "type": "about:blank",
            "title": "Service Unavailable",
            "status": 503,
            "detail": f"{part}: it does not answer",
            "failing": [part],
        }
        assert api.get("/healthz")[0] == 200


def test_a_database_that_was_not_migrated_is_not_ready(fresh_database: DatabaseUrls, servers: EmbeddedServers) -> None:
    with served(settings_for(fresh_database, servers.redis_url)) as api:
        status, _, body = api.get("/readyz")
    assert (status, body["failing"]) == (503, ["database"])
    assert "it is at revision nothing" in body["detail"]
    assert "worker migrate" in body["detail"]


def test_a_database_of_another_revision_is_not_ready(settings: Settings) -> None:
    with served(settings) as api:
        engine = sa.create_engine(settings.migration_url)
        with engine.begin() as owner:
            owner.execute(sa.text("UPDATE alembic_version SET version_num = '001'"))
        engine.dispose()
        status, _, body = api.get("/readyz")
    assert (status, body["failing"]) == (503, ["database"])
    assert "it is at revision 001" in body["detail"]


def test_readiness_comes_back_with_the_server(settings: Settings, servers: EmbeddedServers) -> None:
    with served(settings) as api:
        assert api.get("/readyz")[0] == 200
        servers.restart_postgres()
        api.get("/readyz")  # may meet the connection that the restart has broken
        assert api.get("/readyz")[0] == 200


def test_errors_are_problem_details(settings: Settings) -> None:
    with served(settings) as api:
        status, form, body = api.get("/nowhere")
        assert (status, form) == (404, "application/problem+json")
        assert body == {"type": "about:blank", "title": "Not Found", "status": 404, "detail": "GET /nowhere: Not Found"}
        with api.ask("POST", "/healthz") as refused:
            assert (refused.status, refused.getheader("allow")) == (405, "GET")
            assert json.load(refused)["title"] == "Method Not Allowed"


def test_a_failure_of_ours_says_nothing_about_its_cause(settings: Settings) -> None:
    app = create_app(settings)

    def broken() -> None:
        raise ValueError("geheim")

    app.add_api_route("/broken", broken)
    with served_app(app) as api:
        status, form, body = api.get("/broken")
    assert (status, form) == (500, "application/problem+json")
    assert body["detail"] == "GET /broken failed; the log says why"
