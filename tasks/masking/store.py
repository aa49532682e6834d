"""The SQL of the masking job: the rules in force, and what is due by `mask_after_days` of the retention policies.

Names of tables and columns come from the models.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.dialects.postgresql import JSONB

from models import Base
from models.facts import personal_columns
from tasks.masking.documents import UNKNOWN, Masker
from tasks.masking.exact_json import dump, parse
from tasks.masking.rules import Rule, RuleSet, problem_of
from worker.crypto import Keyring
from worker.maintenance.order import Order
from worker.maintenance.stages import Batch, Plan, Problem, Stage

REQUESTS = "integration_request"
RESULTS = "integration_verification_result"
AUDIT = "audit_logs"

# Hashes find rows, ciphertext is read with a key: neither is personal data to whoever has only the table.
_LEFT_ALONE = ("credential",)


def plan(connection: Connection, order: Order, keyring: Keyring) -> Plan:
    """A stage for each table whose policy masks. One rule that can't be used, and nothing is masked: half is no use."""
    version, rules = _rules(connection)
    stages = _stages(connection, version, Masker(RuleSet([]), keyring.token))
    problems = [
        Problem("invalid_rule", f"{rule.label[:200]}: {problem}.") for rule in rules if (problem := problem_of(rule))
    ]
    if not rules:
        problems.append(Problem("no_rules", "pii_masking_rules is empty."))
    if problems:
        waiting = sum(stage.size(connection) for stage in stages)
        message = f"Nothing was masked: {waiting} rows are due and stay as they are until the rules are mended."
        return Plan([], [*problems, Problem("unmasked", message)])
    connection.execute(_USED, {"version": version})
    return Plan(_stages(connection, version, Masker(RuleSet(rules), keyring.token)))


def _rules(connection: Connection) -> tuple[int, list[Rule]]:
    rows = connection.execute(_RULES).all()
    rules = [
        Rule(row.id, row.match_type, row.pattern, row.operator, row.data_class, row.priority, row.validator, row.params)
        for row in rows
    ]
    return (rows[0].version if rows else 0), rules


_RULES = text(
    "SELECT * FROM pii_masking_rules WHERE version = (SELECT max(version) FROM pii_masking_rules) ORDER BY id"
)
_USED = text("UPDATE pii_masking_rules SET used_at = now() WHERE version = :version AND used_at IS NULL")


def _stages(connection: Connection, version: int, masker: Masker) -> list[Stage]:
    stages: list[Stage] = []
    for row in connection.execute(_CLOCKS):
        if row.table_name == RESULTS:
            continue  # with the request it answers
        if row.table_name == AUDIT:
            stages.append(AuditAddresses(row.cutoff))
        elif row.table_name == REQUESTS:
            stages.append(Requests(version, masker, row.cutoff, row.batch_size))
        elif row.table_name in maskable():
            stages.append(Rows(row.table_name, version, masker, row.date_column, row.cutoff, row.batch_size))
    return stages


_CLOCKS = text(
    """
    SELECT table_name, date_column, batch_size, now() - make_interval(days => mask_after_days) AS cutoff
    FROM data_retention_policies WHERE mask_after_days IS NOT NULL
    ORDER BY table_name
    """
)
"""Also of policies that remove nothing: quotes are masked long before anybody dares to delete them."""


def maskable() -> set[str]:
    """Tables with a mark of their own, which a policy can have masked row by row."""
    return {name for name, table in Base.metadata.tables.items() if "pii_rule_version" in table.columns}


def masked_columns(table: str) -> list[str]:
    """The personal columns that masking changes."""
    return [
        name for name, data_class in personal_columns(Base.metadata.tables[table]).items()
        if data_class not in _LEFT_ALONE
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests with their results, in one transaction; the mark is set last. Those that are still at work wait.

    A masked answer is no longer an answer, so it can't be used again from the cache.
    """

    version: int
    masker: Masker
    cutoff: datetime
    most: int
    name: str = REQUESTS

    def size(self, connection: Connection) -> int:
        return int(connection.execute(_DUE_REQUESTS, {"cutoff": self.cutoff}).scalar_one())

    def batch(self, connection: Connection, after: Any, limit: int) -> Batch:
        connection.execute(text("SELECT lock_legal_holds()"))
        values = {"cutoff": self.cutoff, "limit": limit, "at": after and after[0], "id": after and after[1]}
        requests = connection.execute(_TAKE_REQUESTS, values).all()
        if not requests:
            return Batch(0)
        free = [row for row in requests if not row.is_held]
        results = connection.execute(_TAKE_RESULTS, {"ids": [row.id for row in free]}).all()
        before = self.masker.counts.copy()
        masked_results = [_masked(self.masker, RESULTS, row) for row in results]
        masked_requests = [_masked(self.masker, REQUESTS, row) for row in free]
        _write(connection, _MASK_RESULTS, masked_results, self.version)
        _write(connection, _MASK_REQUESTS, masked_requests, self.version)
        counts = {"masked": len(free), "results masked": len(results), "held": len(requests) - len(free)}
        return _told(len(requests), counts, self.masker, before, requests[-1], limit)


_REQUESTS_ARE_DUE = """
    contains_pii AND NOT pii_masked AND created_at < :cutoff
    AND request_status IN ('completed', 'failed', 'timeout')
"""
_DUE_REQUESTS = text(f"SELECT count(*) FROM integration_request WHERE {_REQUESTS_ARE_DUE}")  # noqa: S608 - constants of this file
_TAKE_REQUESTS = text(
    f"""
    WITH due AS MATERIALIZED (
        SELECT id, created_at AS at, request_headers::text, request_body::text, response_headers::text,
            response_body::text, error_message
        FROM integration_request
        WHERE {_REQUESTS_ARE_DUE}
          AND (CAST(:at AS timestamptz) IS NULL OR (created_at, id) > (CAST(:at AS timestamptz), CAST(:id AS bigint)))
        ORDER BY created_at, id LIMIT :limit FOR UPDATE SKIP LOCKED
    )
    SELECT *, id::text IN (SELECT held_ids('integration_request')) AS is_held FROM due ORDER BY at, id
    """  # noqa: S608 - constants of this file
)
_TAKE_RESULTS = text(
    """
    SELECT id, verified_data::text, discrepancies::text FROM integration_verification_result
    WHERE request_id = ANY(CAST(:ids AS bigint[])) ORDER BY id FOR UPDATE
    """
)
_MASK_RESULTS = text(
    """
    UPDATE integration_verification_result AS r SET
        verified_data = given.verified_data, discrepancies = given.discrepancies,
        cache_expires_at = CASE WHEN r.cache_expires_at > now() THEN now() ELSE r.cache_expires_at END
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS given (id bigint, verified_data jsonb, discrepancies jsonb)
    WHERE r.id = given.id
    """
)
_MASK_REQUESTS = text(
    """
    UPDATE integration_request AS r SET
        request_headers = given.request_headers, request_body = given.request_body,
        response_headers = given.response_headers, response_body = given.response_body,
        error_message = given.error_message, pii_masked = true, pii_rule_version = :version
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS given (
        id bigint, request_headers jsonb, request_body jsonb, response_headers jsonb, response_body jsonb,
        error_message text
    )
    WHERE r.id = given.id
    """
)


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one table by its own clock. Quotes with a policy in force wait until it is over."""

    name: str
    version: int
    masker: Masker
    clock: str
    cutoff: datetime
    most: int

    def size(self, connection: Connection) -> int:
        statement = f"SELECT count(*) FROM {self.name} AS r WHERE {self._due()}"  # noqa: S608 - see above
        return int(connection.execute(text(statement), {"cutoff": self.cutoff}).scalar_one())

    def batch(self, connection: Connection, after: Any, limit: int) -> Batch:
        connection.execute(text("SELECT lock_legal_holds()"))
        values = {"cutoff": self.cutoff, "limit": limit, "at": after and after[0], "id": after and after[1]}
        rows = connection.execute(text(self._take(connection)), values).all()
        if not rows:
            return Batch(0)
        free = [row for row in rows if not row.is_held]
        before = self.masker.counts.copy()
        _write(
            connection,
            text(self._mask(connection)),
            [_masked(self.masker, self.name, row) for row in free],
            self.version,
        )
        counts = {"masked": len(free), "held": len(rows) - len(free)}
        return _told(len(rows), counts, self.masker, before, rows[-1], limit)

    def _due(self) -> str:
        due = f"r.pii_rule_version IS NULL AND r.{self.clock} < :cutoff"
        if self.name == "quotes":
            due += " AND r.status <> 'calculating' AND NOT EXISTS (SELECT FROM policies AS p"
            due += " WHERE p.id = r.converted_to_policy_id AND p.expiration_date >= CAST(now() AS date))"
        return due

    def _take(self, connection: Connection) -> str:
        columns = ", ".join(f"r.{column}::text" for column in masked_columns(self.name))
        key = Base.metadata.tables[self.name].columns["id"].type.compile(connection.dialect)
        return f"""
            WITH due AS MATERIALIZED (
                SELECT r.id, r.{self.clock} AS at, {columns} FROM {self.name} AS r
                WHERE {self._due()}
                  AND (CAST(:at AS timestamptz) IS NULL
                       OR (r.{self.clock}, r.id) > (CAST(:at AS timestamptz), CAST(:id AS {key})))
                ORDER BY r.{self.clock}, r.id LIMIT :limit FOR UPDATE OF r SKIP LOCKED
            )
            SELECT *, id::text IN (SELECT held_ids('{self.name}')) AS is_held FROM due ORDER BY at, id
        """  # noqa: S608 - see above

    def _mask(self, connection: Connection) -> str:
        table = Base.metadata.tables[self.name]
        columns = masked_columns(self.name)
        types = {name: table.columns[name].type for name in ("id", *columns)}
        sets = ", ".join(f"{name} = given.{name}" for name in columns)
        given = ", ".join(f"{name} {type_.compile(connection.dialect)}" for name, type_ in types.items())
        return f"""
            UPDATE {self.name} AS r SET {sets}, pii_rule_version = :version
            FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS given ({given})
            WHERE r.id = given.id
        """  # noqa: S608 - see above


@dataclass(frozen=True, slots=True)
class AuditAddresses:
    """Addresses and browsers in the audit trail, by the one function that may: it decides itself what is due."""

    cutoff: datetime
    name: str = AUDIT
    most: int = 5000

    def size(self, connection: Connection) -> int:
        return int(connection.execute(_DUE_AUDIT, {"cutoff": self.cutoff}).scalar_one())

    def batch(self, connection: Connection, after: Any, limit: int) -> Batch:
        masked = int(connection.execute(_MASK_AUDIT, {"limit": limit}).scalar_one())
        return Batch(masked, {"masked": masked} if masked else {}, after="what is left" if masked == limit else None)


_DUE_AUDIT = text(
    """
    SELECT count(*) FROM audit_logs
    WHERE created_at < :cutoff AND (masklen(ip_address) IN (32, 128) OR user_agent IS NOT NULL)
    """
)
_MASK_AUDIT = text("SELECT mask_audit_addresses(:limit)")


def _masked(masker: Masker, table: str, row: Any) -> dict[str, Any]:
    columns = Base.metadata.tables[table].columns
    values = row._mapping
    masked: dict[str, Any] = {"id": str(row.id)}
    for name in masked_columns(table):
        value = values[name]
        if value is None:
            masked[name] = None
        elif isinstance(columns[name].type, JSONB):
            masked[name] = masker.document(parse(value))
        else:
            masked[name] = masker.field(name, value)
    return masked


def _write(connection: Connection, statement: Any, rows: Sequence[dict[str, Any]], version: int) -> None:
    if rows:
        connection.execute(statement, {"rows": dump(rows), "version": version})


def _told(came: int, counts: dict[str, int], masker: Masker, before: Any, last: Any, limit: int) -> Batch:
    labels = {rule.id: rule.label for rule in masker.rules} | {UNKNOWN.id: UNKNOWN.pattern}
    changed = masker.counts - before
    counts |= {labels[id_]: number for id_, number in sorted(changed.items())}
    told = {name: number for name, number in counts.items() if number}
    return Batch(came, told, after=(last.at, last.id) if came == limit else None)
