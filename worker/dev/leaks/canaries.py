"""Invented values that exist nowhere else, and how to find them in whatever form they come."""

import base64
import secrets
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import re2

from worker.dev.sandbox import criminal, drivers, vehicles
from worker.dev.sandbox.personas import PERSONAS, Address, Persona

_LETTERS = "abcdefghjkmnpqrstuvwxyz"


def word(length: int = 12) -> str:
    """Letters only: the same in JSON, in a URL and in a log."""
    return "".join(secrets.choice(_LETTERS) for _ in range(length)).capitalize()


def disguised(persona: Persona) -> Persona:
    """The same persona to the sandbox, under names and an address of this run only.

    What the sandbox knows a persona by stays: the licence, the last name where records are searched by it, the VIN.
    """
    # A year in which nothing of ours was born.
    born = f"190{secrets.randbelow(10)}-{secrets.randbelow(12) + 1:02d}-{secrets.randbelow(28) + 1:02d}"
    one = replace(
        persona, first_name=word(), last_name=word(), date_of_birth=born, address=Address(f"{word()} Ln", city=word())
    )
    if persona.api == "criminal":
        return replace(one, last_name=persona.last_name, license_number=_license_number())
    return one


def strangers() -> list[Persona]:
    """People whom the sandbox does not know: of them the numbers are secrets too, and it says `ok` to all."""
    by_api = {persona.api: persona for persona in reversed(PERSONAS)}
    driver, suspect, owner = (disguised(by_api[api]) for api in ("drivers", "criminal", "vehicles"))
    return [
        replace(driver, scenario="ok", license_number=_license_number()),
        replace(driver, scenario="ok", first_name=word(), license_number=_license_number()),
        replace(suspect, last_name=word()),
        replace(owner, vin=f"1CANARY{secrets.randbelow(10**10):010d}"),
    ]


def values_of(persona: Persona) -> dict[str, str]:
    """What must not be found, by what it is. Numbers of the sandbox's own people are left out: others use them too."""
    year, month, day = persona.date_of_birth.split("-")
    found = {
        "first name": persona.first_name,
        "last name": persona.last_name,
        "birth date": persona.date_of_birth,
        "American birth date": f"{month}/{day}/{year}",
        "street": persona.address.street_1.split()[0],
        "city": persona.address.city,
        "licence number": persona.license_number,
        "VIN": persona.vin,
    }
    if persona.api == "vehicles":  # of which only the number is sent
        found = {"VIN": persona.vin}
    known = {value for one in PERSONAS for value in (one.license_number, one.last_name, one.vin)}
    return {what: value for what, value in found.items() if value is not None and value not in known}


FROM_THE_SANDBOX = {
    "owner": vehicles.OWNER,
    "owner's number": vehicles.OWNER_ID,
    "title number": vehicles.TITLE_NUMBER,
    "alias": criminal.ALIAS,
    "offence": criminal.OFFENSE,
} | {f"household member of {nth}": drivers.member_name(nth) for nth in range(1, 5)}
"""What it says of itself about everybody, and nobody else does."""


def _license_number() -> str:
    return f"TX8{secrets.randbelow(10**12):012d}"


class Search:
    """Finds canaries in bytes: as they are in any case of letters, percent-encoded, and inside of base64.

    All at once, by an automaton: it takes as long for one canary as for a thousand.
    """

    def __init__(self, canaries: Mapping[str, str]) -> None:
        self._kinds: defaultdict[bytes, set[str]] = defaultdict(set)
        for name, value in canaries.items():
            for form in {value, quote(value, safe="")}:
                self._kinds[form.lower().encode()].add(name.split(" of ")[0])
        self._plain = _any_of([_expression(form) for form in self._kinds], is_case_sensitive=False)
        encoded = {form for value in canaries.values() for form in _in_base64(value.encode())}
        self._encoded = _any_of([re2.escape(form) for form in encoded], is_case_sensitive=True)

    def __call__(self, data: bytes) -> set[str]:
        """What kinds of canaries are in `data`; never which."""
        found: set[str] = set()
        for match in self._plain.finditer(data):
            found |= self._kinds[match[0].lower()]
        if self._encoded.search(data):
            found.add("something in base64")
        return found


def _expression(form: bytes) -> bytes:
    # A number of digits only may be a part of any longer one.
    return rb"\b" + form + rb"\b" if form.isdigit() else re2.escape(form)


def _any_of(expressions: list[bytes], *, is_case_sensitive: bool) -> Any:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1  # bytes are searched, whatever they are
    options.case_sensitive = is_case_sensitive
    options.max_mem = 64 << 20
    return re2.compile(b"|".join(sorted(expressions)), options)


def _in_base64(value: bytes) -> list[bytes]:
    """The middle of the value's base64, for each of the three places at which it may begin."""
    forms = []
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + value)
        first, last = -(-before * 8 // 6), (before + len(value)) * 8 // 6
        forms.append(encoded[first:last])
    return forms
