"""Vehicles after an answer. Rows are locked in the order of their ids, as everywhere in this job."""

from collections.abc import Sequence

from sqlalchemy import Connection

from tasks.verification.mapped_store import save_mapped
from tasks.verification.rows_store import Change, Rows
from tasks.verification.vehicles.findings import VehicleFindings
from tasks.verification.vehicles.question import VehicleQuestion

Answered = Sequence[tuple[VehicleQuestion, VehicleFindings]]


def vehicle_changes(answered: Answered) -> tuple[Change, Rows]:
    """Bring the vehicles that the answers are about up to date. Of two answers about one the later counts."""
    rows = {
        change.vehicle_id: {
            "id": change.vehicle_id,
            "source": asked.account.integration_code,
            "status": change.status,
            "flags": change.title_flags,
            "vin": change.vin,
            "model_year": change.model_year,
            "make": change.make,
            "model": change.model,
        }
        for asked, found in answered
        for change in found.changes
    }
    return _VEHICLES, rows.values()


def save_mapped_vehicles(connection: Connection, answered: Answered) -> None:
    """Write what field mappings took from the answers into the same rows."""
    mapped = {change.vehicle_id: change.mapped for _, found in answered for change in found.changes if change.mapped}
    save_mapped(connection, "vehicle", mapped)


# An answer without a title says nothing about flags; JSON's null would be stored as such.
_VEHICLES = Change(
    "vehicles",
    """
    WITH given AS (
        SELECT * FROM jsonb_to_recordset(CAST(:vehicles AS jsonb)) AS given (
            id bigint, source text, status text, flags jsonb, vin text, model_year integer, make text, model text)
    ), locked AS (
        SELECT id FROM vehicle WHERE id = ANY(ARRAY(SELECT id FROM given)) AND {turn} ORDER BY id FOR NO KEY UPDATE
    )
    UPDATE vehicle SET
        external_verification_status = given.status, last_verification_date = now(),
        verification_source = given.source, title_flags = coalesce(nullif(given.flags, 'null'), title_flags),
        vin = coalesce(vehicle.vin, given.vin), model_year = coalesce(vehicle.model_year, given.model_year),
        make = coalesce(vehicle.make, given.make), model = coalesce(vehicle.model, given.model), updated_by = :user
    FROM given WHERE vehicle.id = given.id AND vehicle.id = ANY(ARRAY(SELECT id FROM locked))
    """,
)
