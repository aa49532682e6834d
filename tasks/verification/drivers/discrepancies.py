"""What in an answer does not fit the question or deserves a look: node paths and a word, never values."""

from tasks.verification.drivers.answer import Answer
from tasks.verification.identity import Identity
from tasks.verification.results import Discrepancy, note

PERSON = "driver_data.personal_info"
LICENSE = "driver_data.license_info"


def discrepancies(
    answer: Answer, identity: Identity | None, *, has_license: bool, is_cleaned: bool
) -> tuple[Discrepancy, ...]:
    """The provider's own remarks first, then ours."""
    noted = [note(theirs.node_path[:200], theirs.match[:50], "provider") for theirs in answer.discrepancies]
    known = {remark["node_path"] for remark in noted}
    ours = _ours(answer, identity, has_license=has_license, is_cleaned=is_cleaned)
    return (*noted, *(remark for remark in ours if remark["node_path"] not in known))


def _ours(answer: Answer, identity: Identity | None, *, has_license: bool, is_cleaned: bool) -> list[Discrepancy]:
    notes = []
    if is_cleaned:
        notes.append(note("", "unstorable_characters_removed"))
    if answer.truncated:
        notes.append(note("household_members", "truncated"))
    if (search := answer.address_search_status) and search != "FOUND":
        notes.append(note("address_search_status", search[:50]))
    if answer.driver_data is None:
        return notes
    if identity is Identity.OTHER:
        notes.append(note(PERSON, "other_person"))
    elif identity is Identity.UNSURE:
        notes.append(note(PERSON, "uncertain"))
    if not has_license:
        notes.append(note(f"{LICENSE}.license_number", "mismatch"))
    if info := answer.driver_data.license_info:
        if info.status and info.status.lower() != "valid":
            notes.append(note(f"{LICENSE}.status", info.status[:50]))
        if info.id_card:
            notes.append(note(f"{LICENSE}.id_card", "identification_card"))
    return notes
