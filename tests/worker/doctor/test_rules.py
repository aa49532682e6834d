"""Facts in, findings out: what each rule of `worker check` calls a problem, a warning, or nothing."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from worker.broker import celery_configuration
from worker.crypto import new_key
from worker.doctor.celery_rules import judge_celery
from worker.doctor.clock_rules import Clock, judge_clocks
from worker.doctor.database_facts import DatabaseFacts, Role, Schema
from worker.doctor.database_rules import judge_database
from worker.doctor.finding import Finding
from worker.doctor.redis_facts import RedisFacts
from worker.doctor.redis_rules import judge_redis
from worker.doctor.settings_rules import judge_flower, judge_keys, judge_settings
from worker.settings import Settings

IN_STEP = Clock("PostgreSQL", 0.0, 0.0)
CELERYS_OWN: dict[str, Any] = {
    "result_serializer": "json", "event_serializer": "json", "task_always_eager": False, "result_backend": None,
    "task_reject_on_worker_lost": None, "task_track_started": False,
}  # fmt: skip
SERVER = {
    "server_version_num": "180000", "server_version": "18.0", "fsync": "on", "full_page_writes": "on",
    "synchronous_commit": "on", "autovacuum": "on", "max_connections": "100", "superuser_reserved_connections": "3",
    "TimeZone": "UTC", "statement_timeout": "20s",
}  # fmt: skip
SCHEMA = Schema(3, False, (), (), (), 0)
ROLE = Role("app", (), 0, False, (), None)
DATABASE = DatabaseFacts(
    SERVER, False, IN_STEP, "1/2", ROLE, frozenset({"035"}), frozenset({"035"}), False, 20, 40, SCHEMA
)
REDIS = RedisFacts(
    {"role": "master", "maxmemory_policy": "noeviction", "maxmemory": 0, "used_memory": 1, "aof_enabled": 1},
    IN_STEP, frozenset({"1/2"}), 10, 0, False, True,
)  # fmt: skip


def told(findings: Iterable[Finding]) -> list[tuple[str, str]]:
    return [(finding.level, finding.code) for finding in findings]


def test_celery_as_it_is_configured_here_is_fine() -> None:
    conf = CELERYS_OWN | celery_configuration("redis://:secret@h/0")
    assert told(judge_celery(conf)) == []


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"accept_content": ["json", "pickle"]}, ("problem", "celery_unsafe_content")),
        ({"task_serializer": "yaml"}, ("problem", "celery_unsafe_content")),
        ({"task_acks_late": True}, ("problem", "celery_task_acks_late")),
        ({"task_always_eager": True}, ("problem", "celery_task_always_eager")),
        ({"task_reject_on_worker_lost": True}, ("problem", "celery_task_reject_on_worker_lost")),
        ({"broker_connection_max_retries": 100}, ("problem", "celery_broker_connection_max_retries")),
        ({"beat_scheduler": "celery.beat:PersistentScheduler"}, ("problem", "celery_beat_scheduler")),
        ({"timezone": "Europe/Berlin"}, ("problem", "celery_timezone")),
        ({"worker_prefetch_multiplier": 4}, ("warning", "celery_worker_prefetch_multiplier")),
        ({"worker_prefetch_multiplier": 0}, ("warning", "celery_worker_prefetch_multiplier")),
        ({"result_backend": "redis://h/0"}, ("warning", "celery_result_backend")),
        ({"broker_transport_options": {"priority_steps": [0]}}, ("problem", "celery_socket_timeout")),
        ({"broker_transport_options": {"socket_timeout": 5}}, ("warning", "celery_priority_steps")),
        (
            {"broker_transport_options": {"socket_timeout": 5, "priority_steps": [0], "visibility_timeout": 30}},
            ("warning", "celery_visibility_timeout"),
        ),
    ],
)
def test_a_celery_setting_that_loses_or_doubles_work_is_found(change: dict[str, Any], found: tuple[str, str]) -> None:
    conf = CELERYS_OWN | celery_configuration("redis://:secret@h/0") | change
    assert told(judge_celery(conf)) == [found]


def test_another_broker_needs_none_of_the_options_of_redis() -> None:
    conf = CELERYS_OWN | celery_configuration("amqp://h//") | {"broker_transport_options": {}}
    assert told(judge_celery(conf)) == []


def settings(**changes: str) -> Settings:
    values = {
        "DATABASE_URL": "postgresql://app:x@127.0.0.1:5432/worker",
        "REDIS_URL": "redis://:secret@localhost:6379/0",
        "ENCRYPTION_KEYS": f"k1:{new_key()}",
        "BLIND_INDEX_KEY": new_key(),
    }
    return Settings.model_validate({**values, **changes})


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({}, []),
        ({"REDIS_URL": "unix:///run/redis.sock"}, []),
        ({"REDIS_URL": "redis://localhost:6379/0"}, [("warning", "redis_without_password")]),
        (
            {"REDIS_URL": "redis://redis:6379/0"},
            [("problem", "redis_without_password"), ("warning", "redis_unencrypted")],
        ),
        ({"REDIS_URL": "rediss://:secret@redis:6379/0"}, [("problem", "redis_certificate_unchecked")]),
        ({"REDIS_URL": "rediss://:secret@redis:6379/0?ssl_cert_reqs=required&ssl_ca_certs=/ca"}, []),
        ({"BROKER_URL": "redis://[::1]:6380/0"}, [("warning", "redis_without_password")]),
        ({"BROKER_URL": "amqp://guest:guest@rabbit//"}, []),
        ({"DATABASE_URL": "postgresql://app:x@db/worker"}, [("warning", "database_unverified")]),
        ({"DATABASE_URL": "postgresql://app:x@db/worker?sslmode=verify-full"}, []),
        ({"DATABASE_URL": "postgresql://app@/worker?host=/run/postgresql"}, []),
    ],
)
def test_an_address_is_judged_by_who_may_listen_on_the_way(
    change: dict[str, str], found: list[tuple[str, str]]
) -> None:
    assert told(judge_settings(settings(**change))) == found


def test_keys_that_somebody_typed_or_used_twice_are_found() -> None:
    good, other = new_key(), new_key()
    zeros = "A" * 43 + "="
    assert told(judge_keys(f"k1:{good}, k2:{other}", new_key())) == []
    assert told(judge_keys(f"k1:{zeros}", good)) == [("problem", "key_weak")]
    assert told(judge_keys(f"k1:{good}", good)) == [("problem", "key_shared")]
    assert told(judge_keys(f"k1:{good},k2:{good}", other)) == [("problem", "key_shared")]
    assert good not in str([*judge_keys(f"k1:{good}", good), *judge_keys(f"k1:{zeros}", zeros)])


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, []),
        ({"FLOWER_BASIC_AUTH": "olga:a-long-password"}, []),
        ({"FLOWER_BASIC_AUTH": "olga:short"}, [("warning", "flower_weak_login")]),
        ({"FLOWER_PORT": "5555"}, [("problem", "flower_open")]),
        ({"FLOWER_PORT": "5555", "FLOWER_BASIC_AUTH": ""}, [("problem", "flower_open")]),
        (
            {"FLOWER_BASIC_AUTH": "olga:a-long-password", "FLOWER_UNAUTHENTICATED_API": "true"},
            [("problem", "flower_open_api")],
        ),
    ],
)
def test_a_flower_without_a_login_is_found(environment: dict[str, str], found: list[tuple[str, str]]) -> None:
    assert told(judge_flower(environment)) == found


@pytest.mark.parametrize(
    ("ahead_s", "uncertain_s", "found"),
    [
        (0.0, 0.0, []),
        (2.5, 1.0, []),  # the way there may have taken as long
        (3.1, 1.0, [("warning", "clock_skew")]),
        (-3.1, 1.0, [("warning", "clock_skew")]),
        (31.0, 0.5, [("problem", "clock_skew")]),
    ],
)
def test_clocks_disagree_only_if_the_way_does_not_explain_it(
    ahead_s: float, uncertain_s: float, found: list[tuple[str, str]]
) -> None:
    assert told(judge_clocks([Clock("Redis", ahead_s, uncertain_s)])) == found


def test_a_servers_clock_is_compared_with_the_middle_of_the_way() -> None:
    assert Clock.of("Redis", asked_at=100, said=107, heard_at=104) == Clock("Redis", 5, 2)


def server(**changes: str) -> DatabaseFacts:
    return replace(DATABASE, settings=SERVER | changes)


def role(**changes: Any) -> DatabaseFacts:
    return replace(DATABASE, role=replace(ROLE, **changes))


def schema(**changes: Any) -> DatabaseFacts:
    return replace(DATABASE, schema=replace(SCHEMA, **changes))


@pytest.mark.parametrize(
    ("facts", "found"),
    [
        (DATABASE, []),
        (server(server_version_num="140011"), ("problem", "postgresql_too_old")),
        (server(fsync="off"), ("problem", "postgresql_fsync")),
        (server(full_page_writes="off"), ("problem", "postgresql_full_page_writes")),
        (server(synchronous_commit="off"), ("problem", "postgresql_synchronous_commit")),
        (server(synchronous_commit="local"), []),
        (server(autovacuum="off"), ("problem", "postgresql_autovacuum")),
        (server(TimeZone="Europe/Berlin"), ("problem", "session_settings_lost")),
        (server(statement_timeout="0"), ("problem", "session_settings_lost")),
        (replace(DATABASE, is_standby=True), ("problem", "postgresql_standby")),
        (replace(DATABASE, pools=67), []),
        (replace(DATABASE, pools=68), ("warning", "connections_tight")),
        (replace(DATABASE, connections=90), ("warning", "connections_tight")),
        (replace(DATABASE, pools=88), ("problem", "connections_short")),
        (role(connection_limit=45), ("problem", "connections_short")),
        (role(powers=("SUPERUSER",)), ("problem", "role_too_powerful")),
        (role(owns=40), ("problem", "role_owns_tables")),
        (role(may_create=True), ("problem", "role_may_create")),
        (role(may_rewrite=("audit_logs",)), ("problem", "role_may_rewrite")),
        (replace(DATABASE, revisions=frozenset({"034"}), schema=None), ("problem", "schema_behind")),
        (replace(DATABASE, revisions=frozenset(), schema=None), ("problem", "schema_behind")),
        (replace(DATABASE, revisions=frozenset({"99"}), is_newer=True, schema=None), ("problem", "schema_newer")),
        (schema(partitions_ahead=2), []),
        (schema(partitions_ahead=1), ("warning", "partitions_missing")),
        (schema(partitions_ahead=0), ("problem", "partitions_missing")),
        (schema(has_strays=True), ("warning", "partition_default_rows")),
        (schema(without_policy=("job",)), ("warning", "policy_missing")),
        (schema(paused_entries=("masking.sweep",)), ("warning", "schedule_paused")),
        (schema(plain_http=("DCS",)), ("problem", "production_over_http")),
        (schema(production=1), []),
    ],
)
def test_a_database_is_judged(facts: DatabaseFacts, found: tuple[str, str] | list[None]) -> None:
    assert told(judge_database(facts, allows_private_providers=False)) == ([found] if found else [])


def test_private_providers_are_a_problem_only_where_real_ones_are_called() -> None:
    assert told(judge_database(DATABASE, allows_private_providers=True)) == []
    judged = judge_database(schema(production=1), allows_private_providers=True)
    assert told(judged) == [("problem", "private_providers_allowed")]


def info(**changes: Any) -> RedisFacts:
    return replace(REDIS, info={**(REDIS.info or {}), **changes})


@pytest.mark.parametrize(
    ("facts", "found"),
    [
        (REDIS, []),
        (info(role="slave"), ("problem", "redis_replica")),
        (info(maxmemory_policy="allkeys-lru"), ("warning", "redis_evicts")),
        (info(maxmemory_policy="allkeys-lru", maxmemory=10**9), ("problem", "redis_evicts")),
        (info(maxmemory=100, used_memory=81), ("warning", "redis_full")),
        (info(aof_enabled=0), []),
        (replace(info(aof_enabled=0), takes_snapshots=None), []),
        (replace(info(aof_enabled=0), takes_snapshots=False), ("warning", "redis_not_persistent")),
        (info(aof_last_write_status="err"), ("problem", "redis_cannot_save")),
        (replace(REDIS, info=None), ("warning", "redis_tells_nothing")),
        (replace(REDIS, systems=frozenset({"1/2", "1/3"})), ("problem", "redis_shared_by_systems")),
        (replace(REDIS, systems=frozenset()), []),
        (replace(REDIS, foreign=1), ("warning", "redis_foreign_keys")),
        (replace(REDIS, has_gossip=True), ("warning", "celery_gossip")),
    ],
)
def test_a_redis_is_judged(facts: RedisFacts, found: tuple[str, str] | list[None]) -> None:
    assert told(judge_redis(facts, "1/2")) == ([found] if found else [])


def test_nobody_is_called_another_system_where_ones_own_name_is_not_known() -> None:
    assert told(judge_redis(REDIS, None)) == []
