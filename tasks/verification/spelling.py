"""One spelling for what people write in many: names, numbers and streets, blind to case, accents and punctuation."""

import unicodedata

from tasks.verification.nicknames import FORMAL_NAMES
from tasks.verification.streets import STREET_WORDS

_SUFFIXES = frozenset(("jr", "sr", "ii", "iii", "iv"))


def name(text: str | None) -> str:
    """The letters of a person's name, without a suffix behind it."""
    plain = _plain(text)
    if plain.isalpha():
        return plain
    return "".join(name_words(text))


def name_words(text: str | None) -> list[str]:
    """The words of a name; hyphens part them, apostrophes and dots don't."""
    plain = _plain(text).replace("'", "").replace(".", "")
    words = "".join(c if c.isalpha() else " " for c in plain).split()
    return [word for position, word in enumerate(words) if position == 0 or word not in _SUFFIXES]


def first_names(first: str | None, middle: str | None) -> set[str]:
    """The ways to write a first name: "Mary Ann" may come as one name or as first and middle."""
    return {found for found in (name(first), name(f"{first or ''} {middle or ''}")) if found}


def formal(names: set[str]) -> set[str]:
    """The names together with those they are short for."""
    return names.union(*(FORMAL_NAMES.get(one, ()) for one in names))


def code(text: str | None) -> str:
    """Letters and digits only, for numbers and codes."""
    plain = _plain(text)
    return plain if plain.isalnum() else "".join(c for c in plain if c.isalnum())


def street(text: str | None) -> str:
    """A street as the Postal Service abbreviates it: "100 North Test Lane, Apt 2" is "100ntestlnunit2"."""
    spaced = "".join(c if c.isalnum() else " unit " if c == "#" else " " for c in _plain(text).replace("'", ""))
    words = [STREET_WORDS.get(word, word) for word in spaced.split()]
    # "Apt #2" names its unit twice.
    return "".join(word for position, word in enumerate(words) if words[position - 1 : position] != [word])


def is_same_street(one: str | None, other: str | None) -> bool:
    """Whether two streets differ in spelling only; where words are parted differently, letters and digits decide."""
    return code(one) == code(other) or street(one) == street(other)


def is_one_off(one: str, other: str) -> bool:
    """Whether a single letter is wrong, missing, too many, or swapped with its neighbour."""
    if abs(len(one) - len(other)) > 1 or one == other:
        return False
    shorter, longer = sorted((one, other), key=len)
    at = next((place for place, letter in enumerate(shorter) if letter != longer[place]), len(shorter))
    if len(shorter) < len(longer):
        return shorter[at:] == longer[at + 1 :]
    swapped = shorter[at : at + 2] == longer[at : at + 2][::-1] and shorter[at + 2 :] == longer[at + 2 :]
    return swapped or shorter[at + 1 :] == longer[at + 1 :]


def _plain(text: str | None) -> str:
    if text is None or text.isascii():
        return (text or "").lower()
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(c for c in decomposed if not unicodedata.combining(c)).casefold()
