"""Rows that are masked one by one: those of tables with a mark of their own, and the addresses in the audit trail.

Names of tables and columns come from the models.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from models import Base
from tasks.masking.maskers import Maskers
from tasks.masking.rows import masked, masked_columns, told, write
from worker.maintenance.stages import Batch

AUDIT = "audit_logs"
OFFERS = "household_member_offer"

_OFFER_IS_DUE = """
    AND (r.decision <> 'open' OR r.created_at < now() - interval '90 days')
    AND (coalesce((SELECT named.pii_masked FROM integration_request AS named WHERE named.id = r.request_id), true)
         OR EXISTS (SELECT FROM driver AS d JOIN quotes AS q ON q.id = d.quote_id
                    WHERE d.id = r.driver_id AND q.pii_rule_version IS NOT NULL))
"""
_OFFER_IS_HELD = """
    driver_id::text IN (SELECT held_ids('driver'))
    OR coalesce(request_id::text IN (SELECT held_ids('integration_request')), false)
"""


def maskable() -> set[str]:
    """Tables with a mark of their own for each row."""
    return {name for name, table in Base.metadata.tables.items() if "pii_rule_version" in table.columns}


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one table by its own clock. Quotes with a policy in force wait until it is over.

    Offers of household members go with the request that named them, or the quote; one that nobody has decided about
    waits for that, but not for ever.
    """

    name: str
    version: int
    maskers: Maskers
    clock: str
    cutoff: datetime
    most: int

    def size(self, connection: Connection) -> int:
        statement = f"SELECT count(*) FROM {self.name} AS r WHERE {self._due()}"  # noqa: S608 - names of the models
        return int(connection.execute(text(statement), {"cutoff": self.cutoff}).scalar_one())

    def batch(self, connection: Connection, after: Any, limit: int) -> Batch:
        connection.execute(text("SELECT lock_legal_holds()"))
        values = {"cutoff": self.cutoff, "limit": limit, "at": after and after[0], "id": after and after[1]}
        rows = connection.execute(text(self._take(connection)), values).all()
        if not rows:
            return Batch(0)
        free = [row for row in rows if not row.is_held]
        before = self.maskers.counts.copy()
        changed = [masked(self.maskers.general, self.name, row) for row in free]
        write(connection, text(self._mask(connection)), changed, self.version)
        counts = {"masked": len(free), "held": len(rows) - len(free)}
        return told(len(rows), counts, self.maskers.told(before), rows[-1], limit)

    def _due(self) -> str:
        due = f"r.pii_rule_version IS NULL AND r.{self.clock} < :cutoff"
        if self.name == "quotes":
            due += " AND r.status <> 'calculating' AND NOT EXISTS (SELECT FROM policies AS p"
            due += " WHERE p.id = r.converted_to_policy_id AND p.expiration_date >= CAST(now() AS date))"
        if self.name == OFFERS:
            due += _OFFER_IS_DUE
        return due

    def _take(self, connection: Connection) -> str:
        columns = ", ".join(f"r.{column}::text" for column in masked_columns(self.name))
        is_held = f"id::text IN (SELECT held_ids('{self.name}'))"
        if self.name == OFFERS:
            columns, is_held = f"{columns}, r.driver_id, r.request_id", _OFFER_IS_HELD
        key = Base.metadata.tables[self.name].columns["id"].type.compile(connection.dialect)
        return f"""
            WITH due AS MATERIALIZED (
                SELECT r.id, r.{self.clock} AS at, {columns} FROM {self.name} AS r
                WHERE {self._due()}
                  AND (CAST(:at AS timestamptz) IS NULL
                       OR (r.{self.clock}, r.id) > (CAST(:at AS timestamptz), CAST(:id AS {key})))
                ORDER BY r.{self.clock}, r.id LIMIT :limit FOR UPDATE OF r SKIP LOCKED
            )
            SELECT *, {is_held} AS is_held FROM due ORDER BY at, id
        """  # noqa: S608 - names of the models

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
        """  # noqa: S608 - names of the models


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
