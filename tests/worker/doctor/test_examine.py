"""`worker check` against real servers: each state that is wrong is made, and found."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
import time_machine
from celery import Celery
from redis import Redis

from tests.conftest import DatabaseUrls, settings_for
from tests.migrations.rows import configuration, insert
from worker import system_mark
from worker.broker import celery_configuration
from worker.database import Database
from worker.dev.embedded import EmbeddedServers
from worker.doctor.database_facts import gather_database
from worker.doctor.database_rules import judge_database
from worker.doctor.examine import examine
from worker.doctor.finding import Finding
from worker.settings import Settings

OF_THE_TESTS = {
    "postgresql_fsync", "postgresql_full_page_writes", "postgresql_synchronous_commit", "redis_not_persistent",
}  # fmt: skip
"""The tests' servers are fast, and forget."""

KEPT = frozenset({"job", "quotes"})


@pytest.fixture
def owner(database: DatabaseUrls) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database.owner_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def client(redis_url: str) -> Iterator[Any]:
    with Redis.from_url(redis_url) as client:
        yield client


def look(settings: Settings) -> list[Finding]:
    with Celery("checked", set_as_current=False) as app:
        app.conf.update(celery_configuration(settings.celery_broker_url))
        return [f for f in examine(settings, app.conf, {}, KEPT) if f.code not in OF_THE_TESTS]


def codes(settings: Settings) -> set[str]:
    return {finding.code for finding in look(settings)}


def test_a_system_as_it_should_be_raises_no_alarm(settings: Settings, db: Database, client: Any) -> None:
    with db.transaction() as connection:
        system = system_mark.identity(connection)
    assert system is not None
    system_mark.leave(client, system)
    client.lpush("verification", "a hint")
    client.hset("verification:{DCS:sandbox}:account:1", "learnt", 1)
    assert look(settings) == []


DEEDS: list[tuple[str, str, str]] = [
    ("GRANT CREATE ON SCHEMA public TO PUBLIC", "REVOKE CREATE ON SCHEMA public FROM PUBLIC", "role_may_create"),
    ("GRANT UPDATE ON audit_logs TO PUBLIC", "REVOKE ALL ON audit_logs FROM PUBLIC", "role_may_rewrite"),
    (
        "GRANT DELETE ON audit_logs_default TO PUBLIC",
        "REVOKE ALL ON audit_logs_default FROM PUBLIC",
        "role_may_rewrite",
    ),
    ("GRANT UPDATE ON provider_call TO PUBLIC", "REVOKE ALL ON provider_call FROM PUBLIC", "role_may_rewrite"),
    ("DROP TABLE {month}", "SELECT create_monthly_audit_partition('{month_begins}')", "partitions_missing"),
    (
        "INSERT INTO audit_logs (action, resource_type, created_at) VALUES ('a', 'b', '2199-01-01')",
        "DELETE FROM audit_logs",
        "partition_default_rows",
    ),
    (
        "UPDATE data_retention_policies SET table_name = 'call_budget', date_column = 'set_at'"
        " WHERE table_name = 'job'",
        "UPDATE data_retention_policies SET table_name = 'job', date_column = 'finished_at'"
        " WHERE table_name = 'call_budget'",
        "policy_missing",
    ),
    (
        "INSERT INTO schedule_entry (name, decided_until, counts_since, paused_at, paused_by, pause_reason)"
        " VALUES ('masking.sweep', now(), now(), now(), 'olga', 'why')",
        "DELETE FROM schedule_entry",
        "schedule_paused",
    ),
    (
        "ALTER DATABASE {database} CONNECTION LIMIT 8",
        "ALTER DATABASE {database} CONNECTION LIMIT -1",
        "connections_short",
    ),
    (
        "INSERT INTO worker_process (owner, queues, hostname, pid, in_flight, calls_in_flight)"
        " SELECT 'p' || n, '{{rating}}', 'h', n, 0, 8 FROM generate_series(1, 500) AS n",
        "DELETE FROM worker_process",
        "connections_short",
    ),
]
"""What the owner does, how it is undone, and what is found in between."""


def test_what_is_wrong_with_the_database_is_found(
    settings: Settings, database: DatabaseUrls, owner: psycopg.Connection
) -> None:
    month = datetime.now(UTC).replace(day=1) + timedelta(days=32)
    names = {"month": f"audit_logs_{month:%Y_%m}", "month_begins": f"{month:%Y-%m-01}", "database": database.name}
    for deed, undo, code in DEEDS:
        owner.execute(deed.format(**names))
        assert codes(settings) == {code}, deed
        owner.execute(undo.format(**names))
    assert codes(settings) == set()


@pytest.mark.parametrize(("revision", "found"), [("034", "schema_behind"), ("next_year", "schema_newer")])
def test_a_schema_of_another_version_is_found(
    settings: Settings, owner: psycopg.Connection, revision: str, found: str
) -> None:
    owner.execute("UPDATE alembic_version SET version_num = %s", [revision])
    assert codes(settings) == {found}


@pytest.mark.parametrize(
    ("number", "found"), [("X123", {"values_in_clear"}), ("enc:v1:lost:AAAA", {"keys_missing"}), (None, set())]
)
def test_values_that_no_key_of_ours_encrypts_are_found(
    settings: Settings, owner: psycopg.Connection, number: str | None, found: set[str]
) -> None:
    driver = insert(owner, "driver", first_name="A")
    insert(owner, "license", driver_id=driver, license_number=number, state_code="TX")
    assert codes(settings) == found


def test_a_role_that_owns_the_tables_or_rules_the_server_is_found(
    database: DatabaseUrls, servers: EmbeddedServers, redis_url: str
) -> None:
    owner = settings_for(database, redis_url, DATABASE_URL=database.owner_url)
    assert codes(owner) == {"role_owns_tables", "role_may_create"}
    admin_url = f"{servers.admin_database_url.rsplit('/', 1)[0]}/{database.name}"
    assert codes(settings_for(database, redis_url, DATABASE_URL=admin_url)) == {"role_too_powerful"}


def test_production_over_http_and_with_private_addresses_is_found(
    database: DatabaseUrls, owner: psycopg.Connection, redis_url: str
) -> None:
    configuration(owner, environment="production", is_enabled=True, endpoint_url="http://dcs.example/v1")
    assert codes(settings_for(database, redis_url)) == {"production_over_http", "private_providers_allowed"}
    careful = settings_for(database, redis_url, allow_private_providers=False)
    (found,) = look(careful)
    assert (found.code, "DCS_HOUSEHOLD_DRIVERS" in found.what) == ("production_over_http", True)


def test_a_pooler_that_drops_the_sessions_settings_is_found(database: DatabaseUrls) -> None:
    """As such a connection looks to the server: without the options that `Database` asks for."""
    engine = sa.create_engine(database.app_url.replace("postgresql://", "postgresql+psycopg://"), poolclass=sa.NullPool)
    with engine.connect() as connection:
        facts = gather_database(connection, KEPT, 4)
    found = {finding.code for finding in judge_database(facts, allows_private_providers=False)}
    assert found - OF_THE_TESTS == {"session_settings_lost"}


def test_a_database_that_is_away_or_empty_is_one_finding(
    settings: Settings, database: DatabaseUrls, fresh_database: DatabaseUrls, redis_url: str
) -> None:
    assert codes(settings_for(fresh_database, redis_url)) == {"schema_behind"}
    wrong = database.app_url.replace("://app:", "://app:not-")
    (found,) = look(settings_for(database, redis_url, DATABASE_URL=wrong))
    assert found.code == "database_away"
    assert "not-" not in found.what


@contextmanager
def _config(client: Any, **values: object) -> Iterator[None]:
    before = client.config_get(*(name.replace("_", "-") for name in values))
    client.config_set(*(part for name, value in values.items() for part in (name.replace("_", "-"), value)))
    yield
    client.config_set(*(part for pair in before.items() for part in pair))


def test_a_redis_that_evicts_or_is_full_is_found(settings: Settings, client: Any) -> None:
    with _config(client, maxmemory_policy="allkeys-lru"):
        assert codes(settings) == {"redis_evicts"}
    with _config(client, maxmemory=int(client.info("memory")["used_memory"] * 1.1)):
        assert codes(settings) == {"redis_full"}


def test_a_replica_is_found(settings: Settings, client: Any) -> None:
    client.replicaof("127.0.0.1", 1)
    try:
        assert codes(settings) == {"redis_replica"}
    finally:
        client.replicaof("NO", "ONE")


def test_two_systems_on_one_redis_are_found_while_both_are_there(settings: Settings, client: Any) -> None:
    system_mark.leave(client, "7711036183944404727/16384")
    assert codes(settings) == {"redis_shared_by_systems"}
    client.zadd(system_mark.KEY, {"7711036183944404727/16384": client.time()[0] - system_mark.LASTS_S - 1})
    assert codes(settings) == set()


def test_another_applications_keys_are_found(settings: Settings, client: Any) -> None:
    client.set("session:42", "somebody else's")
    (found,) = look(settings)
    assert found.code == "redis_foreign_keys"
    assert "session" not in found.what, "names of foreign keys may be anything"


def test_a_redis_that_is_away_refuses_or_tells_nothing_is_found(
    settings: Settings, database: DatabaseUrls, redis_url: str, client: Any
) -> None:
    refused = look(settings_for(database, redis_url.replace("redis://:", "redis://:not-")))
    assert [(f.code, "not-" in f.what) for f in refused] == [("redis_away", False)]
    client.execute_command("ACL", "SETUSER", "quiet", "on", ">hush", "~*", "+@all", "-info", "-config")
    try:
        quiet = redis_url.replace("redis://:", "redis://quiet:hush@").split("@")
        assert codes(settings_for(database, f"{quiet[0]}@{quiet[-1]}")) == {"redis_tells_nothing"}
    finally:
        client.execute_command("ACL", "DELUSER", "quiet")


def test_workers_that_gossip_are_found(settings: Settings) -> None:
    with (
        Celery("gossip", broker=settings.celery_broker_url, set_as_current=False) as app,
        app.connection() as connection,
    ):
        receiver = app.events.Receiver(connection, routing_key="worker.#")  # as Celery's gossip makes it
        receiver.queue.bind(connection.default_channel).declare()
        assert codes(settings) == {"celery_gossip"}


def test_a_clock_that_is_wrong_is_found(settings: Settings) -> None:
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=1), tick=True):
        found = look(settings)
    assert [(f.level, f.code) for f in found] == [("problem", "clock_skew")] * 2
    assert {"PostgreSQL" in f.what or "Redis" in f.what for f in found} == {True}
