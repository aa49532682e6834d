"""People whom a provider named at a driver's address: they are in `household_member_offer`, and a person decides.

Nothing here calls anybody. Accepting makes a driver with a licence on the same quote, who is not verified yet; it
happens once, however often and from how many places it is asked for.
"""

from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Connection, Row, text

from worker.crypto import Keyring, Place
from worker.errors import BadRequest

SYSTEM_USER_ID = UUID("00000000-0000-0000-0000-000000000001")

Decision = Literal["open", "accepted", "declined"]


@dataclass(frozen=True, slots=True)
class Offer:
    """Without names: `relationship` is the provider's word, `accepted_driver_id` the driver that was made."""

    id: UUID
    relationship: str | None
    decision: Decision
    accepted_driver_id: int | None


def household_member_offers(connection: Connection, driver_id: int) -> list[Offer]:
    """Whom verifications of this driver named."""
    return [Offer(**row._mapping) for row in connection.execute(_OFFERS, {"driver_id": driver_id})]


def accept_household_member(
    connection: Connection, keyring: Keyring, offer_id: UUID, *, user_id: UUID = SYSTEM_USER_ID
) -> int:
    """Make a driver of the person, in the caller's transaction; gives the driver's id, also if it was done before.

    Raises `BadRequest` with code unknown_offer, already_declined or offer_masked, and `Undecipherable` if the licence
    number can't be read with the keys at hand.
    """
    offer = _locked(connection, offer_id)
    if offer.decision == "declined":
        raise BadRequest("already_declined", f"offer {offer_id} was declined")
    if offer.accepted_driver_id is not None:
        accepted: int = offer.accepted_driver_id
        return accepted
    if offer.pii_rule_version is not None:
        raise BadRequest("offer_masked", f"who offer {offer_id} is about was masked: it is too old to be accepted")
    ids = connection.execute(_NEW_IDS).one()
    values = {**offer._mapping, "offer": offer_id, "driver": ids.driver, "license": ids.license, "user": user_id}
    connection.execute(_ADD_DRIVER, values)
    if offer.license_number is not None:
        # A ciphertext is bound to its row, so the licence gets one of its own.
        number = keyring.decrypt(offer.license_number, Place("household_member_offer", "license_number", str(offer_id)))
        sealed = keyring.encrypt(number, Place("license", "license_number", str(ids.license)))
        connection.execute(_ADD_LICENSE, values | {"sealed": sealed})
        connection.execute(_CURRENT_LICENSE, values)
    if offer.request_id is not None:
        connection.execute(_ADD_RESULT, values)
    connection.execute(_ACCEPT, values)
    return int(ids.driver)


def decline_household_member(connection: Connection, offer_id: UUID, *, user_id: UUID = SYSTEM_USER_ID) -> None:
    """Say that no driver shall be made of the person; later answers don't open the offer again.

    Raises `BadRequest` with code unknown_offer or already_accepted.
    """
    offer = _locked(connection, offer_id)
    if offer.decision == "accepted":
        raise BadRequest("already_accepted", f"offer {offer_id} was accepted")
    connection.execute(_DECLINE, {"offer": offer_id, "user": user_id})


def _locked(connection: Connection, offer_id: UUID) -> Row[Any]:
    offer = connection.execute(_OFFER, {"offer": offer_id}).one_or_none()
    if offer is None:
        raise BadRequest("unknown_offer", f"there is no offer {offer_id}")
    return offer


_OFFERS = text(
    """
    SELECT id, relationship, decision, accepted_driver_id FROM household_member_offer
    WHERE driver_id = :driver_id ORDER BY created_at, id
    """
)

_OFFER = text(
    """
    SELECT offer.driver_id, offer.request_id, offer.relationship, offer.first_name, offer.last_name,
        offer.date_of_birth, offer.license_number, offer.license_number_bidx, offer.license_state, offer.license_type,
        offer.external_license_status, offer.decision,
        offer.accepted_driver_id, offer.pii_rule_version
    FROM household_member_offer AS offer WHERE offer.id = :offer FOR UPDATE
    """
)

_NEW_IDS = text(
    """
    SELECT nextval(pg_get_serial_sequence('driver', 'id')) AS driver,
        nextval(pg_get_serial_sequence('license', 'id')) AS license
    """
)

_ADD_DRIVER = text(
    """
    INSERT INTO driver (id, quote_id, first_name, last_name, date_of_birth, address_id, status_id, created_by)
    SELECT :driver, named_by.quote_id, :first_name, :last_name, :date_of_birth, named_by.address_id,
        (SELECT id FROM status WHERE code = 'ACTIVE'), :user
    FROM driver AS named_by WHERE named_by.id = :driver_id
    """
)

_ADD_LICENSE = text(
    """
    INSERT INTO license (
        id, driver_id, license_number, license_number_bidx, state_code, license_type, external_license_status,
        status_id, created_by
    ) VALUES (
        :license, :driver, :sealed, :license_number_bidx, :license_state, :license_type, :external_license_status,
        (SELECT id FROM status WHERE code = 'ACTIVE'), :user
    )
    """
)

_CURRENT_LICENSE = text("UPDATE driver SET license_id = :license WHERE id = :driver")

_ADD_RESULT = text(
    """
    INSERT INTO integration_verification_result (
        request_id, verification_type, target_entity_type, target_entity_id, verification_status, verified_data,
        external_verification_id, status_id, created_by
    )
    SELECT request.id, 'household', 'driver', :driver, 'verified',
        jsonb_build_object('relationship', CAST(:relationship AS text)), request.external_transaction_id,
        (SELECT id FROM status WHERE code = 'ACTIVE'), :user
    FROM integration_request AS request WHERE request.id = :request_id
    """
)

_ACCEPT = text(
    """
    UPDATE household_member_offer
    SET decision = 'accepted', decided_at = now(), accepted_driver_id = :driver, updated_by = :user WHERE id = :offer
    """
)

_DECLINE = text(
    """
    UPDATE household_member_offer SET decision = 'declined', decided_at = now(), updated_by = :user WHERE id = :offer
    """
)
