"""Invented values that exist nowhere else, and how to find them in whatever form they come."""

import base64
import re
import secrets
from collections.abc import Mapping
from dataclasses import replace

from worker.dev.sandbox.personas import Address, Persona

_LETTERS = "abcdefghjkmnpqrstuvwxyz"


def word(length: int = 12) -> str:
    """Letters only: the same in JSON, in a URL and in a log."""
    return "".join(secrets.choice(_LETTERS) for _ in range(length)).capitalize()


def disguised(persona: Persona) -> Persona:
    """The same persona to the sandbox, which knows it by its licence, under a name and address of this run only."""
    # A year in which nothing of ours was born.
    born = f"190{secrets.randbelow(10)}-{secrets.randbelow(12) + 1:02d}-{secrets.randbelow(28) + 1:02d}"
    return replace(
        persona, first_name=word(), last_name=word(), date_of_birth=born, address=Address(f"{word()} Ln", city=word())
    )


def values_of(persona: Persona) -> dict[str, str]:
    """What must not be found, by what it is."""
    found = {
        "first name": persona.first_name,
        "last name": persona.last_name,
        "birth date": persona.date_of_birth,
        "street": persona.address.street_1.split()[0],
        "city": persona.address.city,
    }
    return found | ({"licence number": persona.license_number} if persona.license_number else {})


class Search:
    """Finds canaries in bytes, as they are in any case of letters, and inside of base64."""

    def __init__(self, canaries: Mapping[str, str]) -> None:
        self._names = dict(canaries)
        plain = {name: re.escape(value.encode()) for name, value in canaries.items()}
        self._plain = re.compile(b"|".join(plain.values()), re.IGNORECASE)
        encoded = sorted({form for value in canaries.values() for form in _in_base64(value.encode())})
        self._encoded = re.compile(b"|".join(map(re.escape, encoded)))

    def __call__(self, data: bytes) -> set[str]:
        """What kinds of canaries are in `data`; never which."""
        found: set[str] = set()
        for match in self._plain.finditer(data):
            said = match[0].decode(errors="replace").lower()
            found |= {name.split(" of ")[0] for name, value in self._names.items() if value.lower() == said}
        if self._encoded.search(data):
            found.add("something in base64")
        return found


def _in_base64(value: bytes) -> list[bytes]:
    """The middle of the value's base64, for each of the three places at which it may begin."""
    forms = []
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + value)
        first, last = -(-before * 8 // 6), (before + len(value)) * 8 // 6
        forms.append(encoded[first:last])
    return forms
