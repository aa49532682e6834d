"""What may be wrong with a Redis that carries hints and limits. It may be emptied at any time, not refuse writes."""

from collections.abc import Iterator
from typing import Any

from worker.doctor.finding import Finding, problem, warning
from worker.doctor.redis_facts import RedisFacts

_FULL = 0.8


def judge_redis(facts: RedisFacts, system: str | None) -> Iterator[Finding]:
    """`system` is the identity of this system's database; None where it is not known."""
    if facts.info is None:
        yield warning(
            "redis_tells_nothing", "Redis does not let this user ask INFO.", "Allow +info to see its state here."
        )
    else:
        yield from _state(facts.info, facts.takes_snapshots)
    if others := facts.systems - {system} if system is not None else frozenset():
        yield problem(
            "redis_shared_by_systems",
            f"{len(others)} other system{'s use' if len(others) > 1 else ' uses'} this Redis database: they take each"
            " other's hints and share breakers, limits and tokens.",
            "Give each system a database number or a server of its own in REDIS_URL.",
        )
    if facts.foreign:
        yield warning(
            "redis_foreign_keys",
            f"{facts.foreign} of {facts.sampled} keys in this Redis database are not this system's.",
            "Give each application a database number of its own; FLUSHDB must stay harmless.",
        )
    if facts.has_gossip:
        yield warning(
            "celery_gossip",
            "A worker was started with gossip: each tells all others through Redis what each does.",
            "Start workers with --without-gossip --without-mingle.",
        )


def _state(info: dict[str, Any], takes_snapshots: bool | None) -> Iterator[Finding]:
    if info.get("role") != "master":
        yield problem("redis_replica", "REDIS_URL leads to a replica: it refuses writes.", "Name the primary.")
    if (policy := info.get("maxmemory_policy")) != "noeviction":
        yield (problem if info.get("maxmemory") else warning)(
            "redis_evicts",
            f"Redis' maxmemory-policy is {policy}: it may throw hints and limits away.",
            "Set maxmemory-policy noeviction.",
        )
    if info.get("maxmemory") and info["used_memory"] > _FULL * info["maxmemory"]:
        yield warning(
            "redis_full",
            f"Redis uses {100 * info['used_memory'] // info['maxmemory']} % of its maxmemory.",
            "Raise maxmemory, or look for what else is in there (`redis-cli --bigkeys`).",
        )
    if not info.get("aof_enabled") and takes_snapshots is False:
        yield warning("redis_not_persistent", *_FORGETS)
    for name in ("aof_last_write_status", "rdb_last_bgsave_status"):
        if info.get(name, "ok") != "ok":
            yield problem(
                "redis_cannot_save",
                f"Redis' {name} is {info[name]}: it refuses writes, or soon will.",
                "Look at its log and its disk.",
            )


_FORGETS = (
    "Redis keeps nothing on disk: a restart forgets hints, breakers and learnt rates.",
    "Set appendonly yes; without it jobs only start a moment later, but providers are asked too fast.",
)
