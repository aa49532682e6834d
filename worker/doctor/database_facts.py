"""What PostgreSQL says of itself, of this role and of the schema. Reads only, as the application's own role."""

import time
from dataclasses import dataclass
from typing import Any

from psycopg import errors
from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

from worker import system_mark
from worker.doctor.clock_rules import Clock
from worker.operating import backlogs
from worker.schema import revisions_of, scripts

SETTINGS = (
    "server_version_num", "server_version", "fsync", "full_page_writes", "synchronous_commit", "autovacuum",
    "max_connections", "superuser_reserved_connections", "TimeZone", "statement_timeout",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Role:
    """The role of DATABASE_URL. `powers` are attributes and memberships it should not have; `owns` counts tables;
    `may_rewrite` names tables whose rows it must not change, but may."""

    name: str
    powers: tuple[str, ...]
    owns: int
    may_create: bool
    may_rewrite: tuple[str, ...]
    connection_limit: int | None


@dataclass(frozen=True, slots=True)
class Schema:
    """What migrations and nightly work should have left. `partitions_ahead` counts the audit trail's months after this
    one, in a row. `without_policy` are tables whose rows should go some day."""

    partitions_ahead: int
    has_strays: bool
    without_policy: tuple[str, ...]
    paused_entries: tuple[str, ...]
    plain_http: tuple[str, ...]
    production: int


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """`schema` is None where migrations are behind or ahead, for then nobody knows what may be asked. `pools` is how
    many connections the processes that were seen a moment ago may open, and `connections` how many are open."""

    settings: dict[str, str]
    is_standby: bool
    clock: Clock
    system: str | None
    role: Role
    revisions: frozenset[str]
    wanted: frozenset[str]
    is_newer: bool
    connections: int
    pools: int
    schema: Schema | None


def gather_database(connection: Connection, kept_tables: frozenset[str], pool_size: int) -> DatabaseFacts:
    """`kept_tables` are those whose rows the models declare to go some day."""
    asked_at = time.time()
    row = connection.execute(_SERVER).one()
    clock = Clock.of("PostgreSQL", asked_at=asked_at, said=row.now, heard_at=time.time())
    migrations = scripts()
    known = {script.revision for script in migrations.walk_revisions()}
    revisions, wanted = _revisions(connection), frozenset(migrations.get_heads())
    is_current = revisions == wanted
    return DatabaseFacts(
        settings=dict(connection.execute(_SETTINGS, {"names": list(SETTINGS)}).all()),
        is_standby=row.is_standby,
        clock=clock,
        system=system_mark.identity(connection),
        role=_role(connection),
        revisions=revisions,
        wanted=wanted,
        is_newer=not revisions <= known,
        connections=row.connections,
        pools=connection.execute(_PROCESSES).scalar_one() * pool_size if is_current else 0,
        schema=_schema(connection, kept_tables) if is_current else None,
    )


_SERVER = text(
    """
    SELECT extract(epoch FROM clock_timestamp())::float AS now, pg_is_in_recovery() AS is_standby,
        (SELECT sum(numbackends) FROM pg_stat_database)::int AS connections
    """
)

_SETTINGS = text("SELECT name, current_setting(name) FROM unnest(CAST(:names AS text[])) AS name")

# Rating and upkeep have a parent process without a pool; it is not in the table either.
_PROCESSES = text("SELECT count(*) FROM worker_process WHERE seen_at > now() - interval '1 minute'")


def _revisions(connection: Connection) -> frozenset[str]:
    try:
        with connection.begin_nested():
            return revisions_of(connection)
    except ProgrammingError as error:
        if isinstance(error.orig, errors.InsufficientPrivilege):
            return frozenset()
        raise


def _role(connection: Connection) -> Role:
    row: Any = connection.execute(_ROLE, {"harmless": _HARMLESS}).one()
    rewritable = tuple(connection.execute(_REWRITABLE).scalars())
    return Role(row.name, tuple(row.powers), row.owns, row.may_create, rewritable, row.connection_limit)


_HARMLESS = [
    "pg_database_owner", "pg_monitor", "pg_read_all_settings", "pg_read_all_stats", "pg_stat_scan_tables",
    "pg_use_reserved_connections",
]  # fmt: skip
"""Roles of PostgreSQL's own whose members may not read or change rows of others by that."""

_ROLE = text(
    """
    SELECT rolname AS name,
        array_remove(ARRAY[
            CASE WHEN rolsuper THEN 'SUPERUSER' END, CASE WHEN rolbypassrls THEN 'BYPASSRLS' END,
            CASE WHEN rolcreaterole THEN 'CREATEROLE' END, CASE WHEN rolcreatedb THEN 'CREATEDB' END,
            CASE WHEN rolreplication THEN 'REPLICATION' END
        ], NULL) || ARRAY(
            SELECT 'member of ' || rolname FROM pg_roles AS other
            WHERE NOT role.rolsuper AND other.oid <> role.oid AND pg_has_role(other.oid, 'MEMBER')
              AND (other.rolsuper OR other.rolname LIKE 'pg\\_%' AND other.rolname <> ALL (:harmless))
            ORDER BY 1
        ) AS powers,
        (SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = current_schema()::regnamespace
            AND NOT role.rolsuper AND pg_has_role(relowner, 'MEMBER')) AS owns,
        NOT rolsuper AND has_schema_privilege(current_schema(), 'CREATE') AS may_create,
        least(nullif(rolconnlimit, -1), (
            SELECT nullif(datconnlimit, -1) FROM pg_database WHERE datname = current_database()
        )) AS connection_limit
    FROM pg_roles AS role WHERE rolname = current_user
    """
)

# An owner and a superuser may do all of that anyhow, and are told so.
_REWRITABLE = text(
    """
    SELECT relname FROM pg_class JOIN (VALUES
        ('audit_logs%', 'UPDATE'), ('audit_logs%', 'DELETE'), ('audit_logs%', 'TRUNCATE'), ('provider_call', 'UPDATE'),
        ('alembic_version', 'INSERT'), ('alembic_version', 'UPDATE'), ('alembic_version', 'DELETE')
    ) AS forbidden (name, privilege) ON relname LIKE forbidden.name
    WHERE relkind IN ('r', 'p') AND relnamespace = current_schema()::regnamespace
      AND has_table_privilege(pg_class.oid, privilege) AND NOT pg_has_role(relowner, 'MEMBER')
    GROUP BY relname ORDER BY relname
    """
)


def _schema(connection: Connection, kept_tables: frozenset[str]) -> Schema:
    row = connection.execute(_SCHEMA, {"kept": sorted(kept_tables)}).one()
    months, strays = backlogs.audit_partitions(connection)
    return Schema(
        partitions_ahead=months,
        has_strays=strays > 0,
        without_policy=tuple(row.without_policy),
        paused_entries=tuple(row.paused_entries),
        plain_http=tuple(row.plain_http),
        production=row.production,
    )


_SCHEMA = text(
    """
    WITH production AS (
        SELECT integration.code, configuration.endpoint_url, integration.base_url,
            configuration.auth_config ->> 'token_url' AS token_url
        FROM integration_configuration AS configuration
        JOIN third_party_integration AS integration ON integration.id = configuration.integration_id
        WHERE configuration.environment = 'production' AND configuration.is_enabled AND integration.is_active
    )
    SELECT
        ARRAY(
            SELECT name FROM unnest(CAST(:kept AS text[])) AS name
            WHERE NOT EXISTS (SELECT FROM data_retention_policies WHERE table_name = name) ORDER BY name
        ) AS without_policy,
        ARRAY(SELECT name FROM schedule_entry WHERE paused_at IS NOT NULL ORDER BY name) AS paused_entries,
        ARRAY(
            SELECT DISTINCT code FROM production
            WHERE CASE WHEN endpoint_url LIKE '%://%' THEN endpoint_url ELSE base_url END ILIKE 'http://%'
               OR token_url ILIKE 'http://%'
            ORDER BY code
        ) AS plain_http,
        (SELECT count(*) FROM production) AS production
    """
)
