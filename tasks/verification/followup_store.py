"""Quotes follow what a verification changed: where a rating input has another value than before, a recalculation is
asked for in the same transaction, once for each quote. A quote without an up-to-date premium is asked for anyhow: it
may have lacked nothing but this answer.

The rows are locked before they are looked at. Otherwise a value that two transactions change to and fro could end as
it began for the later one, while the quote was rated in between.
"""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass

import orjson
from sqlalchemy import Connection, text

Row = str
"""`driver 7` or `vehicle 7`: a row that is about to change."""

Inputs = dict[Row, str]
"""What quotes were rated by, as a digest for each row. It is never stored."""


def read_inputs(connection: Connection, rows: Collection[Row]) -> Inputs:
    """Lock the rows in the order in which they are written, and see what quotes have of them now."""
    connection.execute(_LOCK, _ids(rows))
    return {row.name: row.digest for row in connection.execute(_INPUTS, _ids(rows))}


@dataclass(frozen=True, slots=True)
class Asker:
    """In whose name, and in which trace, a quote is asked for."""

    tenant: str
    trace: str | None = None


def follow_up(connection: Connection, before: Inputs, askers: Mapping[Row, Asker]) -> None:
    """Ask, in the name of the rows' askers, for the quotes whose inputs have changed since."""
    changed = {
        str(row.quote_id): askers[row.name]
        for row in connection.execute(_INPUTS, _ids(askers))
        if row.has_problem or before.get(row.name) != row.digest
    }
    asked = [{"quote": quote, **asdict(asker)} for quote, asker in sorted(changed.items())]
    if asked:
        connection.execute(_RECALCULATE, {"rows": orjson.dumps(asked).decode()})
    if any(asker.trace for asker in changed.values()):
        connection.execute(_CONTINUE_TRACES, {"rows": orjson.dumps(asked).decode()})


def _ids(rows: Collection[Row]) -> dict[str, list[int]]:
    named = [row.split(" ") for row in rows]
    return {f"{kind}s": sorted(int(id_) for name, id_ in named if name == kind) for kind in ("driver", "vehicle")}


_LOCK = text(
    """
    WITH drivers AS (
        SELECT id FROM driver WHERE id = ANY(CAST(:drivers AS bigint[])) ORDER BY id FOR NO KEY UPDATE
    ), vehicles AS (
        SELECT id FROM vehicle WHERE id = ANY(CAST(:vehicles AS bigint[])) ORDER BY id FOR NO KEY UPDATE
    )
    SELECT (SELECT count(*) FROM drivers), (SELECT count(*) FROM vehicles)
    """
)

# What `quote_rating_inputs` reads of rows that an answer may change, and the address, which decides the territory.
_INPUTS = text(
    """
    SELECT 'driver ' || driver.id AS name, driver.quote_id, quotes.rating_problem IS NOT NULL AS has_problem, md5(ROW(
        driver.date_of_birth, driver.external_verification_status, license.license_type, license.state_code,
        license.issue_date, license.external_license_status, address.state, address.zip_code)::text) AS digest
    FROM driver JOIN quotes ON quotes.id = driver.quote_id
    LEFT JOIN license ON license.id = driver.license_id LEFT JOIN address ON address.id = driver.address_id
    WHERE driver.id = ANY(CAST(:drivers AS bigint[]))
    UNION ALL
    SELECT 'vehicle ' || vehicle.id, vehicle.quote_id, quotes.rating_problem IS NOT NULL, md5(ROW(
        model_year, make, model, external_verification_status, title_flags)::text)
    FROM vehicle JOIN quotes ON quotes.id = vehicle.quote_id WHERE vehicle.id = ANY(CAST(:vehicles AS bigint[]))
    """
)

_RECALCULATE = text("SELECT recalculate_changed_quotes(CAST(:rows AS jsonb))")

# Of jobs that this transaction has made: one that waited already belongs to whoever asked for it first.
_CONTINUE_TRACES = text(
    """
    UPDATE job SET trace_context = given.trace
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS given (quote text, trace text)
    WHERE job.state = 'ready' AND job.kind = 'rating.recalculate' AND job.args ->> 'quote_id' = given.quote
      AND job.created_at = now()
    """
)
