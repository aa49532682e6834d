"""Every command of docker-compose.yml runs, outside containers: with secrets from files and the one user of Valkey."""

import base64
import http.client
import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path

import psycopg
import pytest
import redis
from redis.exceptions import NoPermissionError, RedisError

from tests.conftest import database_from
from tests.packaging import composed
from tests.packaging.composed import SERVICES, Composed
from tests.waiting import until
from worker.crypto import Keyring
from worker.database import Database
from worker.dev.demo import sample
from worker.dev.demo.sample import INTEGRATION
from worker.dev.embedded import EmbeddedServers
from worker.settings import Settings

pytestmark = [pytest.mark.end_to_end, pytest.mark.servers, pytest.mark.timeout(400)]

PATIENCE_S = 240
"""Nine processes start at the same time, maybe on a busy machine."""

STAYING = ("sandbox", "api", "worker-verification", "worker-rating", "worker-maintenance", "beat", "flower")
TESTED_ELSEWHERE = {"postgres", "prometheus", "grafana"}


@pytest.fixture(scope="module")
def system(servers: EmbeddedServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    place = tmp_path_factory.mktemp("composed")
    with ExitStack() as stack:
        database = stack.enter_context(contextmanager(database_from)(servers, "template0"))
        system = composed.make(place, database)
        stack.enter_context(composed.valkey(system))
        until(partial(_answers, system), PATIENCE_S)
        migrated = system.run("migrate")
        assert migrated.returncode == 0, migrated.stderr
        seed(system)
        processes = [stack.enter_context(system.running(name)) for name in STAYING]
        yield system
        assert [process.poll() for process in processes] == [None] * len(STAYING), "one of them has ended"


def seed(system: Composed) -> None:
    settings = Settings.model_validate(
        {
            name.upper(): system.secret(name)
            for name in ("database_url", "redis_url", "encryption_keys", "blind_index_key")
        }
    )
    with closing(Database(settings)) as database, database.transaction() as connection:
        sample.seed(connection, Keyring.of(settings), f"http://127.0.0.1:{system.port('sandbox', '8081')}")


def _answers(system: Composed) -> bool:
    try:
        with operator(system) as client:
            return bool(client.ping())
    except redis.ConnectionError:
        return False


def operator(system: Composed) -> redis.Redis:
    return redis.Redis.from_url(f"{composed.OPERATOR}:{system.redis_port}/0")


def flower(system: Composed, path: str, login: str | None, method: str = "GET") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", int(system.port("flower", "5555")), timeout=30)
    headers = {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"} if login else {}
    with closing(connection):
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def states_of(system: Composed) -> dict[str, str]:
    with psycopg.connect(system.secret("database_url")) as connection:
        return dict(connection.execute("SELECT kind, state FROM job").fetchall())


def test_every_service_is_run_here_or_elsewhere() -> None:
    assert set(SERVICES) == {*STAYING, "migrate", "redis", *TESTED_ELSEWHERE}


@pytest.mark.parametrize("service", STAYING)
def test_it_becomes_healthy_and_says_so(system: Composed, service: str) -> None:
    until(lambda: system.is_healthy(service), PATIENCE_S)


def ask(system: Composed, kind: str, queue: str) -> None:
    """Ask for a job that needs no arguments."""
    with psycopg.connect(system.secret("database_url")) as connection:
        connection.execute("SELECT insert_job(%s, %s, '{}'::jsonb)", (kind, queue))


def test_a_job_of_each_queue_is_done(system: Composed) -> None:
    with psycopg.connect(system.secret("database_url")) as connection:
        args = {"integration": INTEGRATION, "driver_id": 1}
        connection.execute("SELECT enqueue_job('verification.verify', %s::jsonb)", (json.dumps(args),))
    ask(system, "tokens.expire", "maintenance")
    ask(system, "rating.follow_dates", "rating")
    wanted = {"verification.verify": "done", "tokens.expire": "done", "rating.follow_dates": "done"}
    until(lambda: wanted.items() <= states_of(system).items(), PATIENCE_S)


def test_the_api_may_read_all_that_metrics_tell(system: Composed) -> None:
    """With the roles of the database and the user of Valkey that it has there; a verification has passed the gate."""
    until(lambda: system.is_healthy("api"), PATIENCE_S)
    connection = http.client.HTTPConnection("127.0.0.1", int(system.port("api", "8000")), timeout=30)
    with closing(connection):
        connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {system.secret('metrics_token')}"})
        answer = connection.getresponse()
        said = answer.read().decode()
    assert answer.status == 200, said
    parts = [line for line in said.splitlines() if line.startswith("worker_system_metrics_up{")]
    assert len(parts) > 5
    assert [line for line in parts if not line.endswith(" 1.0")] == []
    assert "worker_provider_breaker_state{" in said


def test_flower_shows_workers_queues_and_jobs_to_whoever_is_logged_in(system: Composed) -> None:
    login = system.secret("flower_basic_auth")
    until(lambda: system.is_healthy("flower"), PATIENCE_S)
    assert flower(system, "/workers", None)[0] == 401
    assert flower(system, "/api/tasks", "worker:guessed")[0] == 401
    until(lambda: flower(system, "/api/workers?refresh=true", login)[1].count("active_queues") >= 3, PATIENCE_S)

    def tasks() -> bool:
        """Until Flower has had the events switched on, hints go by unseen."""
        ask(system, "partitions.ensure", "maintenance")
        time.sleep(0.5)
        told = json.loads(flower(system, "/api/tasks", login)[1]).values()
        return any((task["name"], task["state"]) == ("partitions.ensure", "SUCCESS") for task in told)

    until(tasks, PATIENCE_S)
    assert "maintenance" in flower(system, "/broker", login)[1]


def test_nobody_changes_anything_through_flower_and_it_tells_no_secret(system: Composed) -> None:
    login = system.secret("flower_basic_auth")
    until(lambda: system.is_healthy("flower"), PATIENCE_S)
    workers = flower(system, "/api/workers?refresh=true", login)[1]
    status, said = flower(system, "/api/worker/shutdown/celery@nobody", login, "POST")
    assert status == 403, said
    pages = [flower(system, path, login)[1] for path in ("/workers", "/broker", "/tasks", "/api/tasks", "/metrics")]
    for name in ("redis_password", "encryption_keys", "blind_index_key", "metrics_token"):
        assert system.secret(name) not in workers + str(pages)


def test_valkey_denied_nothing_that_the_system_wants(system: Composed) -> None:
    with operator(system) as client:
        denied = [(entry["username"], entry["reason"], entry["object"]) for entry in client.acl_log()]
    assert [entry for entry in denied if entry[0] == "worker"] == []


@pytest.mark.parametrize(
    "command", ["FLUSHALL", "FLUSHDB", "KEYS *", "SCAN 0", "CONFIG GET requirepass", "MONITOR", "SHUTDOWN", "ACL LIST",
                "GET somebody:else", "PUBLISH somebody:else x", "CLIENT LIST", "REPLICAOF NO ONE"],
)  # fmt: skip
def test_valkey_denies_everything_else(system: Composed, command: str) -> None:
    with redis.Redis.from_url(system.secret("redis_url")) as client, pytest.raises(NoPermissionError):
        client.execute_command(*command.split())
    with operator(system) as client:
        client.acl_log_reset()


def test_nobody_gets_into_valkey_without_the_password(system: Composed) -> None:
    for user in ("", "worker:wrong@", "default:@"):
        client = redis.Redis.from_url(f"redis://{user}127.0.0.1:{system.redis_port}/0")
        with client, pytest.raises(RedisError):
            client.ping()


def test_no_process_shows_a_secret_in_its_command_line(system: Composed) -> None:
    said = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    for path in (system.place / "secrets").iterdir():
        assert path.read_text().strip() not in said


def test_what_is_written_survives_the_server(system: Composed) -> None:
    kept = list((system.place / "data").rglob("*.aof"))
    assert kept
    assert isinstance(kept[0], Path)
