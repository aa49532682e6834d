"""Looks at everything once: gathers the facts of each part and has them judged."""

from collections.abc import Mapping
from typing import Any

from redis.exceptions import RedisError

from worker.broker import is_redis
from worker.crypto import Keyring
from worker.database import Database, reaching
from worker.doctor.celery_rules import judge_celery
from worker.doctor.clock_rules import judge_clocks
from worker.doctor.database_facts import DatabaseFacts, gather_database
from worker.doctor.database_rules import judge_database
from worker.doctor.finding import Finding, problem
from worker.doctor.redis_facts import RedisFacts, gather_redis
from worker.doctor.redis_rules import judge_redis
from worker.doctor.settings_rules import judge_flower, judge_settings
from worker.errors import Misconfigured
from worker.keys import check_keys, has_values_in_clear
from worker.settings import Settings


def examine(
    settings: Settings, celery: Mapping[str, Any], environment: Mapping[str, str], kept_tables: frozenset[str]
) -> list[Finding]:
    """Everything that is wrong or doubtful, problems first. A server that is away is one finding, the rest goes on.

    `celery` is the app's configuration; `kept_tables` are those whose rows go some day.
    """
    found = [*judge_celery(celery), *judge_flower(environment), *_keys(settings)]
    database, facts = _database(settings, kept_tables)
    found += database
    clocks = [facts.clock] if facts else []
    for name, url in _redis_addresses(settings).items():
        try:
            redis: RedisFacts = gather_redis(url)
        except RedisError as error:
            what = f"{name}: Redis does not answer, or refuses the login ({type(error).__name__})."
            found.append(problem("redis_away", what, "Check the address, the password and the server."))
            continue
        found += judge_redis(redis, facts.system if facts else None)
        clocks.append(redis.clock)
    found += judge_clocks(clocks)
    return sorted(found, key=lambda finding: finding.level)  # problem comes before warning


def _keys(settings: Settings) -> list[Finding]:
    try:
        Keyring.of(settings)
    except Misconfigured as error:
        return [problem("keys_unusable", f"{error}.", "A key is `openssl rand -base64 32`; a new one goes in front.")]
    return list(judge_settings(settings))


def _database(settings: Settings, kept_tables: frozenset[str]) -> tuple[list[Finding], DatabaseFacts | None]:
    database = Database(settings)
    try:
        with reaching("look at the database"), database.transaction() as connection:
            facts = gather_database(connection, kept_tables, settings.database_pool_size)
        found = list(judge_database(facts, allows_private_providers=settings.allow_private_providers))
        return found + (_stored_keys(database, settings) if facts.schema is not None else []), facts
    except Misconfigured as error:
        return [problem("database_away", f"{error}.", "Check DATABASE_URL, its password and the server.")], None
    finally:
        database.close()


def _stored_keys(database: Database, settings: Settings) -> list[Finding]:
    found = []
    try:
        check_keys(database, Keyring.of(settings))
    except Misconfigured as error:
        found.append(
            problem("keys_missing", str(error), "Workers don't start without it; `worker keys status` counts.")
        )
    with database.transaction() as connection:
        if has_values_in_clear(connection):
            what = "The database holds values in clear that must be encrypted."
            found.append(problem("values_in_clear", what, "`worker keys status` counts them; write them anew."))
    return found


def _redis_addresses(settings: Settings) -> dict[str, str]:
    addresses = {"REDIS_URL": settings.redis_url.get_secret_value()}
    if is_redis(settings.celery_broker_url) and settings.celery_broker_url not in addresses.values():
        addresses["BROKER_URL"] = settings.celery_broker_url
    return addresses
