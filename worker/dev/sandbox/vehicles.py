"""Household Vehicles 2.3: vehicles by exactly one of address, VINs or tags, with title, registration and lien."""

import re
from typing import Any

from .fields import check_address
from .message import Call, Refusal, envelope
from .personas import BY_STREET, BY_VIN

PATH = "/v2.3/household-vehicles"
VERSION = "2.3"
MOST_VEHICLES = 100
Json = dict[str, Any]

SCENARIOS = frozenset(("ok", "vehicle_stolen", "vehicle_flood", "vehicle_ssn"))
FLAGS = (
    "stolen",
    "flood",
    "junk",
    "lemon_law",
    "bonded",
    "reconditioned",
    "reconstructed",
    "title_revoked",
    "exported",
    "government_owned",
    "hot_check",
    "obsolete",
)
OWNER = "OWNER, OLIVE"
OWNER_ID = "987654321"
"""987-65-4320 to 987-65-4329 were set aside for advertising: nobody has this number."""

TITLE_NUMBER = "99000000000000001"
_VIN = re.compile(r"[A-Z0-9]{17}")


def check(payload: Json) -> Refusal | None:
    search = payload.get("search")
    given = [by for by in ("address", "vins", "tags") if isinstance(search, dict) and search.get(by)]
    if not isinstance(search, dict) or len(given) != 1:
        return Refusal(422, "INVALID_REQUEST", "search takes exactly one of address, vins, tags", "search")
    by = given[0]
    if by == "address":
        return check_address(search["address"], "search.address")
    if not isinstance(search[by], list) or len(search[by]) > MOST_VEHICLES:
        return Refusal(422, "INVALID_REQUEST", f"not a list of at most {MOST_VEHICLES}", f"search.{by}")
    for value in search[by]:
        if not isinstance(value, str) or (by == "vins" and not _VIN.fullmatch(value)):
            return Refusal(403, "MALFORMED_DATA", "not the form of one", f"search.{by}")
    return None


def scenario_of(payload: Json) -> str:
    search = payload["search"]
    if search.get("address"):
        persona = BY_STREET.get(search["address"]["street_1"].upper())
    else:
        persona = BY_VIN.get((search.get("vins") or [""])[0])
    return persona.scenario if persona else "ok"


def content(payload: Json, scenario: str, call: Call) -> Json:
    """The whole 200 answer. Of several VINs each has its own scenario; a single vehicle takes the request's."""
    search = payload["search"]
    if address := search.get("address"):
        found = [_vehicle(f"1SANDBX000000000{nth}", f"SBX000{nth}", scenario, address) for nth in (1, 2)]
    elif vins := search.get("vins"):
        found = [
            _vehicle(vin, f"SBX{nth:04d}", scenario if len(vins) == 1 else _scenario_of_vin(vin), None)
            for nth, vin in enumerate(vins, 1)
        ]
    else:
        found = [_vehicle(f"1SANDBX{nth:010d}", tag, scenario, None) for nth, tag in enumerate(search["tags"], 1)]
    return envelope(call, VERSION) | {"vehicles": found}


def _scenario_of_vin(vin: str) -> str:
    persona = BY_VIN.get(vin)
    return persona.scenario if persona else "ok"


def _vehicle(vin: str, tag: str, scenario: str, address: Json | None) -> Json:
    place = address or {"street_1": "100 Test Ln", "city": "Austin", "state": "TX", "zip_code": "78701"}
    raised = scenario.removeprefix("vehicle_")
    return {
        "vehicle_search_status": "FOUND",
        "vehicle_data": {
            "vin": vin,
            "model_year": 2019,
            "make": "SANDBOX",
            "model": "ROADSTER",
            "body_type": "4D",
            "odometer_reading": 41250,
            "vin_error": False,
        },
        "title_info": {
            "title_number": TITLE_NUMBER,
            "title_date": "2019-08-01",
            "owner_name_1": OWNER,
            "owner_name_2": None,
            "owner_id": OWNER_ID if scenario == "vehicle_ssn" else None,
            "owner_address": place,
            "previous_owner_name": None,
            "privacy_opt_out_code": 3 if scenario == "vehicle_ssn" else 0,
            "flags": {flag: flag == raised for flag in FLAGS},
        },
        "registration_info": {
            "tag": tag,
            "expiration_year": 2030,
            "expiration_month": 8,
            "effective_date": "2025-09-01",
            "invalid": False,
        },
        "lien_info": {"lienholder_name": None, "lienholder_address": None, "lien_date": None},
    }
