"""What every API asks of its input: present, well formed, about a place that is served."""

import re
from datetime import date
from typing import Any

from .message import Refusal

# fmt: off
STATES = frozenset((
    "AL", "AK", "AZ", "AR", "CA", "CO", "CT", "DE", "DC", "FL", "GA", "HI", "ID", "IL", "IN", "IA", "KS",
    "KY", "LA", "ME", "MD", "MA", "MI", "MN", "MS", "MO", "MT", "NE", "NV", "NH", "NJ", "NM", "NY", "NC",
    "ND", "OH", "OK", "OR", "PA", "RI", "SC", "SD", "TN", "TX", "UT", "VT", "VA", "WA", "WV", "WI", "WY",
))
# fmt: on
_LICENSE_NUMBER = re.compile(r"[A-Z0-9-]{4,20}")


def check_person(person: Any, path: str) -> Refusal | None:
    """Names and a birth date, as each search for a person needs them."""
    if not isinstance(person, dict):
        return Refusal(400, "INSUFFICIENT_DATA", "who is searched for is missing", path)
    for name in ("first_name", "last_name", "date_of_birth"):
        if not isinstance(person.get(name), str) or not person[name].strip():
            return Refusal(400, "INSUFFICIENT_DATA", f"{name} is missing", f"{path}.{name}")
    if not _is_date(person["date_of_birth"]):
        return Refusal(403, "MALFORMED_DATA", "not a date of the form YYYY-MM-DD", f"{path}.date_of_birth")
    return None


def _is_date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text  # ISO 8601 has other forms; this API has one
    except ValueError:
        return False


def check_license(person: dict[str, Any], path: str) -> Refusal | None:
    number = person.get("license_number")
    if not number:
        return Refusal(400, "INSUFFICIENT_DATA", "license_number is missing", f"{path}.license_number")
    if not isinstance(number, str) or not _LICENSE_NUMBER.fullmatch(number):
        return Refusal(400, "INVALID_LICENSE_NUMBER", "not the form of a licence number", f"{path}.license_number")
    return check_state(person, f"{path}.state_code", "state_code")


def check_state(holder: dict[str, Any], path: str, name: str) -> Refusal | None:
    state = holder.get(name)
    if not isinstance(state, str) or state not in STATES:
        return Refusal(400, "STATE_NOT_SUPPORTED", "not a state that is served", path)
    return None


def check_address(address: Any, path: str) -> Refusal | None:
    if not isinstance(address, dict) or not isinstance(address.get("street_1"), str):
        return Refusal(400, "INSUFFICIENT_DATA", "street_1 is missing", f"{path}.street_1")
    return check_state(address, f"{path}.state", "state")
