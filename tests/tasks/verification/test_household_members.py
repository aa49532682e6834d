"""Who else lives there: known members get results, unknown ones are offered, and a person decides."""

from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from tests.tasks.verification.factories import insert_quote
from tests.tasks.verification.system import BY_SCENARIO, DRIVERS, System, matches
from tests.waiting import in_thread, until
from worker.crypto import Place
from worker.errors import BadRequest
from worker.operating.household import accept_household_member, decline_household_member


def test_a_household_has_a_result_a_member_and_offers_the_unknown_ones(system: System) -> None:
    persona = BY_SCENARIO["household"]
    hank = system.driver(persona)
    spouse = system.driver(replace(persona, first_name="Member01", date_of_birth="1951-07-02"))
    with system.db.transaction() as connection:
        quote = insert_quote(connection)
    system.change("UPDATE driver SET quote_id = :quote", quote=quote)
    for _ in range(2):
        request = system.verify(hank.driver_id, DRIVERS)
        households = [r for r in system.results(request) if r["verification_type"] == "household"]
        assert [(r["target_entity_id"], r["verification_status"]) for r in households] == [
            (hank.driver_id, "verified"),
            (spouse.driver_id, "verified"),
        ]
        assert "unknown_members" in matches(households[0])
        offers = system.rows("SELECT * FROM household_member_offer ORDER BY first_name")
        assert [(offer["first_name"], offer["relationship"]) for offer in offers] == [
            ("Member02", "child"),
            ("Member03", "child"),
            ("Member04", "parent"),
        ]
    assert [offer["license_number"] is not None for offer in offers] == [False, True, False]
    number = system.keyring.decrypt(
        offers[1]["license_number"], Place("household_member_offer", "license_number", str(offers[1]["id"]))
    )
    assert number == "TX90000003"
    assert len(system.rows("SELECT id FROM driver")) == 2, "nobody is created"


def test_an_accepted_member_becomes_a_driver_once_and_is_known_from_then_on(system: System) -> None:
    hank = system.driver(BY_SCENARIO["household"])
    with system.db.transaction() as connection:
        quote = insert_quote(connection)
    system.change("UPDATE driver SET quote_id = :quote", quote=quote)
    system.verify(hank.driver_id, DRIVERS)
    offered = {offer["first_name"]: offer["id"] for offer in system.rows("SELECT * FROM household_member_offer")}
    with system.db.transaction() as connection:
        accepted = accept_household_member(connection, system.keyring, offered["Member03"])
        assert accept_household_member(connection, system.keyring, offered["Member03"]) == accepted
        decline_household_member(connection, offered["Member02"])
    driver = system.row("driver", accepted)
    assert (driver["first_name"], driver["quote_id"], driver["address_id"]) == ("Member03", quote, hank.address_id)
    assert driver["external_verification_status"] == "not_verified"
    license_ = system.row("license", driver["license_id"])
    place = Place("license", "license_number", str(license_["id"]))
    assert system.keyring.decrypt(license_["license_number"], place) == "TX90000003"
    assert license_["license_number_bidx"] == system.keyring.blind_index("license|TX", "TX90000003")
    (result,) = system.rows("SELECT * FROM integration_verification_result WHERE target_entity_id = :id", id=accepted)
    assert (result["verification_type"], result["verification_status"]) == ("household", "verified")

    request = system.verify(hank.driver_id, DRIVERS)
    members = [r["target_entity_id"] for r in system.results(request) if r["verification_type"] == "household"]
    assert members == [hank.driver_id, accepted]
    decisions = system.rows("SELECT first_name, decision FROM household_member_offer ORDER BY first_name")
    assert {offer["first_name"]: offer["decision"] for offer in decisions} == {
        "Member01": "open",
        "Member02": "declined",
        "Member03": "accepted",
        "Member04": "open",
    }
    with system.db.transaction() as connection:
        with pytest.raises(BadRequest, match="declined"):
            accept_household_member(connection, system.keyring, offered["Member02"])
        with pytest.raises(BadRequest, match="accepted"):
            decline_household_member(connection, offered["Member03"])
        with pytest.raises(BadRequest, match="no offer"):
            decline_household_member(connection, uuid4())


def test_two_who_accept_at_once_make_one_driver(system: System) -> None:
    hank = system.driver(BY_SCENARIO["household"])
    system.verify(hank.driver_id, DRIVERS)
    (offer, *_) = [found["id"] for found in system.rows("SELECT id FROM household_member_offer")]
    with system.db.transaction() as connection:
        first = accept_household_member(connection, system.keyring, offer)
        second = in_thread(lambda: _accept(system, offer))
        until(lambda: bool(system.rows("SELECT FROM pg_locks WHERE NOT granted")))
    assert second() == first
    assert len(system.rows("SELECT id FROM driver")) == 2


def _accept(system: System, offer: UUID) -> int:
    with system.db.transaction() as connection:
        return accept_household_member(connection, system.keyring, offer)
