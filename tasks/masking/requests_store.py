"""Requests and their results: masked together, in one transaction."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, text

from tasks.masking.maskers import Maskers
from tasks.masking.rows import masked, told, write
from worker.maintenance.stages import Batch

REQUESTS = "integration_request"
RESULTS = "integration_verification_result"


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests with their results, in one transaction; the mark is set last. Those that are still at work wait.

    `clock` is the column that has to be older than `cutoff`. A masked answer is no longer an answer, so it can't be
    used again from the cache.
    """

    version: int
    maskers: Maskers
    cutoff: datetime
    most: int
    clock: Literal["created_at", "mask_at"] = "created_at"
    name: str = REQUESTS

    def size(self, connection: Connection) -> int:
        return int(connection.execute(_DUE[self.clock], {"cutoff": self.cutoff}).scalar_one())

    def batch(self, connection: Connection, after: Any, limit: int) -> Batch:
        connection.execute(text("SELECT lock_legal_holds()"))
        values = {"cutoff": self.cutoff, "limit": limit, "at": after and after[0], "id": after and after[1]}
        requests = connection.execute(_TAKE[self.clock], values).all()
        if not requests:
            return Batch(0)
        free = [row for row in requests if not row.is_held]
        results = connection.execute(_TAKE_RESULTS, {"ids": [row.id for row in free]}).all()
        before = self.maskers.counts.copy()
        masker_of = {row.id: self.maskers.of(row.integration_id) for row in free}
        masked_results = [masked(masker_of[row.request_id], RESULTS, row) for row in results]
        masked_requests = [masked(masker_of[row.id], REQUESTS, row) for row in free]
        write(connection, _MASK_RESULTS, masked_results, self.version)
        write(connection, _MASK_REQUESTS, masked_requests, self.version)
        counts = {"masked": len(free), "results masked": len(results), "held": len(requests) - len(free)}
        return told(len(requests), counts, self.maskers.told(before), requests[-1], limit)


# An answer that others may still be answered with waits, where the policy is to mask what is over at once.
_IS_DUE = """
    contains_pii AND NOT pii_masked AND {clock} < :cutoff AND coalesce(mask_at <= now(), true)
    AND request_status IN ('completed', 'failed', 'timeout')
"""
_COUNT = f"SELECT count(*) FROM integration_request WHERE {_IS_DUE}"  # noqa: S608 - constants of this file
_NEXT = f"""
    WITH due AS MATERIALIZED (
        SELECT id, integration_id, {{clock}} AS at, request_headers::text, request_body::text, response_headers::text,
            response_body::text, error_message
        FROM integration_request
        WHERE {_IS_DUE}
          AND (CAST(:at AS timestamptz) IS NULL OR ({{clock}}, id) > (CAST(:at AS timestamptz), CAST(:id AS bigint)))
        ORDER BY {{clock}}, id LIMIT :limit FOR UPDATE SKIP LOCKED
    )
    SELECT *, id::text IN (SELECT held_ids('integration_request')) AS is_held FROM due ORDER BY at, id
"""  # noqa: S608 - constants of this file
_DUE, _TAKE = (
    {clock: text(statement.format(clock=clock)) for clock in ("created_at", "mask_at")} for statement in (_COUNT, _NEXT)
)
_TAKE_RESULTS = text(
    """
    SELECT id, request_id, verified_data::text, discrepancies::text FROM integration_verification_result
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
