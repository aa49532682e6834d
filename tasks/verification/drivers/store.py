"""Driver, licence and address after an answer.

Rows that other runs may want too are locked in the order of their ids, table by table in one order, so that two
transactions never wait for each other in a circle.
"""

from collections.abc import Iterator, Sequence

from sqlalchemy import Connection

from tasks.verification.drivers.findings import Findings
from tasks.verification.drivers.question import DriverQuestion
from tasks.verification.mapped_store import save_mapped
from tasks.verification.rows_store import Change, Rows

Answered = Sequence[tuple[DriverQuestion, Findings]]


def driver_changes(answered: Answered) -> Iterator[tuple[Change, Rows]]:
    """Bring the rows that the questions were about up to date with what was found."""
    source = {asked.request_id: asked.account.integration_code for asked, _ in answered}
    # Two requests about one driver in one transaction: the later one counts, an UPDATE would take either.
    drivers = {
        asked.driver_id: {
            "id": asked.driver_id,
            "source": source[asked.request_id],
            "status": found.driver.status,
            "confidence": found.driver.confidence,
            "external_id": found.driver.external_id,
        }
        for asked, found in answered
    }
    licenses = {
        asked.license_id: {
            "id": asked.license_id,
            "source": source[asked.request_id],
            "status": found.license.status,
            "external_status": found.license.external_status,
            "notes": found.license.notes,
        }
        for asked, found in answered
    }
    addresses = {
        asked.address_id: {
            "id": asked.address_id,
            "source": source[asked.request_id],
            "confidence": found.address.confidence,
            "validation": found.address.delivery_point_validation,
        }
        for asked, found in answered
        if found.address is not None
    }
    offers = {
        offer.id: {
            "id": offer.id,
            "driver_id": asked.driver_id,
            "request_id": asked.request_id,
            "relationship": offer.relationship,
            "first_name": offer.first_name,
            "middle_name": offer.middle_name,
            "last_name": offer.last_name,
            "date_of_birth": offer.date_of_birth,
            "license_number": offer.sealed_license_number,
            "license_number_bidx": offer.license_index,
            "license_state": offer.license_state,
            "license_type": offer.license_type,
            "license_status": offer.license_status,
        }
        for asked, found in answered
        for offer in found.offers
    }
    yield _DRIVERS, drivers.values()
    yield _LICENSES, licenses.values()
    yield _ADDRESSES, addresses.values()
    yield _OFFERS, [offers[id_] for id_ in sorted(offers, key=str)]


def save_mapped_drivers(connection: Connection, answered: Answered) -> None:
    """Write what field mappings took from the answers into the same rows."""
    mapped = [(asked, found.mapped) for asked, found in answered if found.mapped]
    if mapped:
        save_mapped(connection, "driver", {asked.driver_id: found.get("driver", {}) for asked, found in mapped})
        save_mapped(connection, "license", {asked.license_id: found.get("license", {}) for asked, found in mapped})
        save_mapped(
            connection,
            "address",
            {asked.address_id: found["address"] for asked, found in mapped if asked.address_id and "address" in found},
        )


_DRIVERS = Change(
    "drivers",
    """
    WITH given AS (
        SELECT * FROM jsonb_to_recordset(CAST(:drivers AS jsonb))
            AS given (id bigint, source text, status text, confidence numeric, external_id text)
    ), locked AS (
        SELECT id FROM driver WHERE id = ANY(ARRAY(SELECT id FROM given)) AND {turn} ORDER BY id FOR NO KEY UPDATE
    )
    UPDATE driver SET
        external_verification_status = given.status, last_verification_date = now(),
        verification_source = given.source, verification_confidence = given.confidence,
        external_driver_id = coalesce(given.external_id, external_driver_id), updated_by = :user
    FROM given WHERE driver.id = given.id AND driver.id = ANY(ARRAY(SELECT id FROM locked))
    """,
)

_LICENSES = Change(
    "licenses",
    """
    WITH given AS (
        SELECT * FROM jsonb_to_recordset(CAST(:licenses AS jsonb))
            AS given (id bigint, source text, status text, external_status text, notes text)
    ), locked AS (
        SELECT id FROM license WHERE id = ANY(ARRAY(SELECT id FROM given)) AND {turn} ORDER BY id FOR NO KEY UPDATE
    )
    UPDATE license SET
        external_verification_status = given.status, last_verification_date = now(),
        verification_source = given.source, external_license_status = given.external_status,
        verification_notes = given.notes, updated_by = :user
    FROM given WHERE license.id = given.id AND license.id = ANY(ARRAY(SELECT id FROM locked))
    """,
)

_ADDRESSES = Change(
    "addresses",
    """
    WITH given AS (
        SELECT * FROM jsonb_to_recordset(CAST(:addresses AS jsonb))
            AS given (id bigint, source text, confidence numeric, validation text)
    ), locked AS (
        SELECT id FROM address WHERE id = ANY(ARRAY(SELECT id FROM given)) AND {turn} ORDER BY id FOR NO KEY UPDATE
    )
    UPDATE address SET
        standardized_by_source = given.source, standardization_confidence = given.confidence,
        delivery_point_validation = given.validation, last_standardization_date = now(), updated_by = :user
    FROM given WHERE address.id = given.id AND address.id = ANY(ARRAY(SELECT id FROM locked))
    """,
)

# An offer that was decided on stays so; one that is open becomes as the newest answer has it.
_OFFERS = Change(
    "offers",
    """
    INSERT INTO household_member_offer AS offer (
        id, driver_id, request_id, relationship, first_name, middle_name, last_name, date_of_birth, license_number,
        license_number_bidx, license_state, license_type, external_license_status, status_id, created_by
    )
    SELECT id, driver_id, request_id, relationship, first_name, middle_name, last_name, date_of_birth, license_number,
        license_number_bidx, license_state, license_type, license_status,
        (SELECT id FROM status WHERE code = 'ACTIVE'), :user
    FROM jsonb_to_recordset(CAST(:offers AS jsonb)) AS given (
        id uuid, driver_id bigint, request_id bigint, relationship text, first_name text, middle_name text,
        last_name text, date_of_birth date, license_number text, license_number_bidx text, license_state text,
        license_type text, license_status text
    )
    WHERE {turn}
    ON CONFLICT (id) DO UPDATE SET
        request_id = excluded.request_id, relationship = excluded.relationship, first_name = excluded.first_name,
        middle_name = excluded.middle_name, last_name = excluded.last_name, date_of_birth = excluded.date_of_birth,
        license_number = excluded.license_number, license_number_bidx = excluded.license_number_bidx,
        license_state = excluded.license_state, license_type = excluded.license_type,
        external_license_status = excluded.external_license_status, updated_by = :user
    WHERE offer.decision = 'open'
    """,
)
