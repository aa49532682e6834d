"""Household Drivers 2.7: a driver, the licence, the address and the people living there.

The answer echoes the driver asked about; a scenario changes what the contract says it changes, no more.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from .fields import check_address, check_license, check_person
from .message import Call, Refusal, envelope
from .personas import BY_LICENSE

PATH = "/v2.7/household-drivers"
VERSION = "2.7"
Json = dict[str, Any]

HOUSEHOLD_SIZE = {"ok": 2, "household": 4, "truncated": 99}
RELATIONSHIPS = ("spouse", "child", "child", "parent")


def check(payload: Json) -> Refusal | None:
    search = payload.get("search")
    if not isinstance(search, dict) or not isinstance(driver := search.get("driver"), dict):
        return Refusal(400, "INSUFFICIENT_DATA", "no driver is given", "search.driver")
    refusal = check_person(driver, "search.driver") or check_license(driver, "search.driver")
    if refusal is None and search.get("address") is not None:
        refusal = check_address(search["address"], "search.address")
    return refusal


def scenario_of(payload: Json) -> str:
    persona = BY_LICENSE.get(payload["search"]["driver"]["license_number"])
    return persona.scenario if persona else "ok"


def content(payload: Json, scenario: str, call: Call) -> Json:
    """The whole 200 answer to a checked payload."""
    driver, address = payload["search"]["driver"], payload["search"].get("address")
    members: list[Json] = []
    if _option(payload, "include_household", default=True):
        size = _household_size(scenario, driver["license_number"])
        members = [_member(nth, driver, address, scenario, call.now) for nth in range(1, size + 1)]
    answer = envelope(call, VERSION) | {
        "verification_status": "verified",
        "confidence_score": 95,
        "address_search_status": "FOUND",
        "drivers_found": len(members) + 1,
        "records_returned": len(members) + 1,
        "truncated": False,
        "driver_data": _driver_data(driver, address, "dcs_driver_001"),
        "household_members": members,
        "discrepancies": [],
    }
    if change := CHANGES.get(scenario):
        change(answer)
    return answer


def _option(payload: Json, name: str, *, default: bool) -> bool:
    options = payload.get("options")
    return bool(options.get(name, default)) if isinstance(options, dict) else default


def _household_size(scenario: str, license_number: str) -> int:
    if scenario == "ok" and license_number not in BY_LICENSE:
        return 0
    return HOUSEHOLD_SIZE.get(scenario, 0)


def _driver_data(person: Json, address: Json | None, driver_id: str) -> Json:
    current = None
    if address:
        current = {
            "street_1": address["street_1"],
            "street_2": address.get("street_2"),
            "city": address.get("city"),
            "state": address.get("state"),
            "zip_code": address.get("zip_code"),
            "zip_4": "0001",
            "delivery_point_validation": "valid",
        }
    return {
        "driver_id": driver_id,
        "client_ref": person.get("client_ref"),
        "personal_info": {
            "first_name": person["first_name"],
            "middle_name": None,
            "last_name": person["last_name"],
            "suffix": None,
            "date_of_birth": person["date_of_birth"],
            "gender": "F",
        },
        "license_info": {
            "license_number": person.get("license_number"),
            "state_code": person.get("state_code"),
            "license_type": "DL",
            "status": "valid",
            "issue_date": None,
            "expiration_date": "2030-05-15",
            "last_transaction_date": "2022-12-12",
            "id_card": False,
            "restrictions": [],
            "endorsements": [],
        },
        "address_info": {"current_address": current, "previous_addresses": []},
        "associated_licenses": [],
        "prior_names": [],
    }


def member_name(nth: int) -> str:
    """The first name of the nth other person at an address."""
    return f"Member{nth:02d}"


def _member(nth: int, driver: Json, address: Json | None, scenario: str, now: float) -> Json:
    """The nth other person at the address, the same one for the same driver each time."""
    without_license = scenario == "household" and nth in (2, 4)
    this_year = datetime.fromtimestamp(now, UTC).year
    person = {
        "first_name": member_name(nth),
        "last_name": driver["last_name"],
        # The second one is a teenager, whenever the sandbox runs.
        "date_of_birth": f"{this_year - 16}-03-09" if nth == 2 else f"{1950 + nth % 40}-07-{nth % 28 + 1:02d}",
        "license_number": None if without_license else f"TX9{nth:07d}",
        "state_code": None if without_license else driver["state_code"],
    }
    data = _driver_data(person, address, f"dcs_driver_{nth + 1:03d}")
    if without_license:
        data["license_info"] |= {"license_type": None, "status": None, "expiration_date": None}
    relationship = RELATIONSHIPS[nth - 1] if nth <= len(RELATIONSHIPS) else "other"
    return {"relationship": relationship, "requested": False, "driver_data": data}


def _status(status: str) -> Callable[[Json], None]:
    def change(answer: Json) -> None:
        answer["confidence_score"] = 90
        answer["driver_data"]["license_info"]["status"] = status
        if status == "expired":
            answer["driver_data"]["license_info"]["expiration_date"] = "2021-05-15"

    return change


def _address_status(status: str) -> Callable[[Json], None]:
    """The household search found no such address; the licence record is there all the same."""

    def change(answer: Json) -> None:
        answer["address_search_status"] = status

    return change


def _truncated(answer: Json) -> None:
    answer |= {"drivers_found": 137, "truncated": True}


def _id_card(answer: Json) -> None:
    answer["driver_data"]["license_info"] |= {"license_type": "ID", "id_card": True}


def _partial(answer: Json) -> None:
    answer |= {"verification_status": "partial", "confidence_score": 61}
    data = answer["driver_data"]
    data["license_info"] |= {"license_number": None, "status": None, "expiration_date": None}
    data["address_info"]["current_address"] = None
    answer["discrepancies"] = [
        {"node_path": f"driver_data.{path}", "match": "mismatch"}
        for path in ("license_info.license_number", "address_info.current_address.street_1")
    ]


def _not_found(answer: Json) -> None:
    answer |= {
        "verification_status": "not_found",
        "confidence_score": 0,
        "drivers_found": 0,
        "records_returned": 0,
        "driver_data": None,
        "household_members": [],
    }


def _wrong_person(answer: Json) -> None:
    """The provider is sure of itself, and wrong: only comparing names and dates shows it."""
    answer["driver_data"]["personal_info"] |= {
        "first_name": "Olga",
        "last_name": "Other",
        "date_of_birth": "1951-01-02",
    }


def _quirks(answer: Json) -> None:
    """Dates, flags and spelling as the real service has them; the nodes a mapping needs keep their names."""
    data = answer["driver_data"]
    person, license_info = data["personal_info"], data["license_info"]
    year, month, day = person["date_of_birth"].split("-")
    person["date_of_birth"] = f"{month}/{day}/{year}"
    del license_info["last_transaction_date"], license_info["restrictions"]
    license_info |= {
        "issue_date": "00000000",
        "expiration_date": "05/15/2030",
        "last_transacton_date": "00000000",
        "restrictons": [],
        "id_card": 0,
    }
    data["asociated_licenses"] = data.pop("associated_licenses")
    answer["truncated"] = 0


CHANGES: dict[str, Callable[[Json], None]] = {
    "truncated": _truncated,
    "expired": _status("expired"),
    "suspended": _status("suspended"),
    "revoked": _status("revoked"),
    "id_card": _id_card,
    "partial": _partial,
    "not_found": _not_found,
    "address_annf": _address_status("ANNF"),
    "address_anns": _address_status("ANNS"),
    "address_hnnf": _address_status("HNNF"),
    "address_snnf": _address_status("SNNF"),
    "wrong_person": _wrong_person,
    "quirks": _quirks,
}
SCENARIOS = frozenset(CHANGES) | {"ok", "household"}
