"""What may be wrong with the PostgreSQL that holds everything: durability, rights, room, state of the schema."""

from collections.abc import Iterator

from worker.doctor.database_facts import DatabaseFacts, Role, Schema
from worker.doctor.finding import Finding, problem, warning

OLDEST_VERSION = 150000
_OTHERS = 10
"""Connections for the API, beats, monitoring and a person or two."""

_MONTHS_AHEAD = 2


def judge_database(facts: DatabaseFacts, *, allows_private_providers: bool) -> Iterator[Finding]:
    yield from _server(facts)
    yield from _session(facts.settings)
    yield from _room(facts)
    yield from _role(facts.role)
    yield from _revision(facts)
    if facts.schema is not None:
        yield from _schema(facts.schema, allows_private_providers)


def _server(facts: DatabaseFacts) -> Iterator[Finding]:
    settings = facts.settings
    if int(settings["server_version_num"]) < OLDEST_VERSION:
        yield problem(
            "postgresql_too_old", f"PostgreSQL is {settings['server_version']}, older than 15.", "Upgrade the server."
        )
    if facts.is_standby:
        yield problem("postgresql_standby", "DATABASE_URL leads to a standby: it takes no writes.", "Name the primary.")
    for name, harm in _MUST_BE_ON.items():
        if settings[name] == "off":
            yield problem(f"postgresql_{name}", f"PostgreSQL's {name} is off: {harm}.", f"Set {name} = on.")


_MUST_BE_ON = {
    "fsync": "a crash of its machine may destroy the whole database",
    "full_page_writes": "a crash of its machine may leave torn pages",
    "synchronous_commit": "a crash of its machine loses jobs that were promised, and paid answers",
    "autovacuum": "the ledger grows slower with every job",
}


def _session(settings: dict[str, str]) -> Iterator[Finding]:
    if settings["TimeZone"] != "UTC" or settings["statement_timeout"] == "0":
        yield problem(
            "session_settings_lost",
            "PostgreSQL did not get the session's settings (time zone, timeouts): a pooler in between drops them.",
            "Pool in session mode, and have the pooler pass `options` on.",
        )


def _room(facts: DatabaseFacts) -> Iterator[Finding]:
    room = int(facts.settings["max_connections"]) - int(facts.settings["superuser_reserved_connections"])
    if facts.role.connection_limit is not None:
        room = min(room, facts.role.connection_limit)
    needed = max(facts.pools + _OTHERS, facts.connections)
    if needed > room:
        yield problem(
            "connections_short",
            f"The processes at work may open {facts.pools} connections, {_OTHERS} are for others, and PostgreSQL gives"
            f" {room} to this role.",
            "Raise max_connections, or lower WORKER_DATABASE_POOL_SIZE or the number of processes.",
        )
    elif needed > 0.8 * room:
        yield warning(
            "connections_tight",
            f"{needed} of {room} connections may be needed: one more worker machine may find none.",
            "Raise max_connections before adding processes.",
        )


def _role(role: Role) -> Iterator[Finding]:
    remedy = (
        "Create a role of its own for DATABASE_URL, as docker/roles.sh does, and run `worker migrate` as the owner."
    )
    if role.powers:
        yield problem("role_too_powerful", f"The role {role.name} is {', '.join(role.powers)}.", remedy)
    if role.owns:
        yield problem(
            "role_owns_tables",
            f"The role {role.name} owns {role.owns} tables, so it may alter them and rewrite the audit trail.",
            remedy,
        )
    if role.may_create:
        yield problem(
            "role_may_create",
            f"The role {role.name} may create objects in the schema.",
            f"REVOKE CREATE ON SCHEMA public FROM PUBLIC, {role.name};",
        )
    if role.may_rewrite:
        yield problem(
            "role_may_rewrite",
            f"The role {role.name} may change rows that nobody may change: {_some(role.may_rewrite)}.",
            "Run `worker migrate` as the owner, which takes these rights away.",
        )


def _revision(facts: DatabaseFacts) -> Iterator[Finding]:
    here, wanted = ", ".join(sorted(facts.revisions)) or "nothing", ", ".join(sorted(facts.wanted))
    if facts.is_newer:
        yield problem(
            "schema_newer",
            f"The database is at revision {here}, which this program does not know; it wants {wanted}.",
            "Run the version of the program that migrated it; see docs/upgrade.md for the way back.",
        )
    elif facts.revisions != facts.wanted:
        yield problem(
            "schema_behind",
            f"The database is at revision {here}, this program wants {wanted}.",
            "Run `worker migrate`.",
        )


def _schema(schema: Schema, allows_private_providers: bool) -> Iterator[Finding]:
    if schema.partitions_ahead < _MONTHS_AHEAD:
        ahead = schema.partitions_ahead
        yield (warning if ahead else problem)(
            "partitions_missing",
            f"audit_logs has partitions for {ahead} months after this one, where there should be three.",
            "Run `worker run partitions`.",
        )
    if schema.has_strays:
        yield warning(
            "partition_default_rows",
            "The default partition of audit_logs holds rows: a month was missing when they came.",
            "Run `worker run partitions`; the repair that it asks for moves them.",
        )
    if schema.without_policy:
        yield warning(
            "policy_missing",
            f"No row of data_retention_policies says how long these keep theirs: {_some(schema.without_policy)}.",
            "Insert one for each; the models' `kept` names the default.",
        )
    if schema.paused_entries:
        yield warning(
            "schedule_paused",
            f"The clock does not run {_some(schema.paused_entries)}: somebody paused it.",
            "See `worker schedule` for who and why, then `worker schedule resume ENTRY`.",
        )
    if schema.plain_http:
        yield problem(
            "production_over_http",
            f"Production configurations call http:// addresses: {_some(schema.plain_http)}. No such call will be made.",
            "Change them to https:// (`worker integrations list`).",
        )
    if schema.production and allows_private_providers:
        yield problem(
            "private_providers_allowed",
            "WORKER_ALLOW_PRIVATE_PROVIDERS is set where production configurations are switched on.",
            "Unset it.",
        )


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
