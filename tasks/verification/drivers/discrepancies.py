"""What in an answer does not fit the question or deserves a look: node paths and a word, never values.

A field that is equal to the letter is not listed; one that is spelled differently is, as `normalised`, so that whoever
reads the row sees what was compared and how well it matched.
"""

from collections.abc import Iterable, Iterator

from tasks.verification import grades
from tasks.verification.comparison import remarks
from tasks.verification.drivers.answer import Answer, DriverData
from tasks.verification.drivers.question import DriverQuestion
from tasks.verification.identity import Identity
from tasks.verification.question import PostalAddress
from tasks.verification.results import Discrepancy, note
from worker.configuration.field_mapping.compiled import Note

PERSON = "driver_data.personal_info"
LICENSE = "driver_data.license_info"
ADDRESS = "driver_data.address_info.current_address"


def discrepancies(
    question: DriverQuestion,
    license_number: str,
    answer: Answer,
    identity: Identity | None,
    *,
    is_capped: bool = False,
    is_cleaned: bool = False,
    notes: Iterable[Note] = (),
) -> tuple[Discrepancy, ...]:
    """The provider's own remarks first, then ours, then those of the field mappings: one a node.

    `is_capped`: the score was too low for the provider's verdict.
    """
    noted = [note(theirs.node_path[:200], theirs.match[:50], "provider") for theirs in answer.discrepancies]
    for ours in (
        _remarks(answer, identity, is_capped=is_capped, is_cleaned=is_cleaned),
        _grades(question, license_number, answer.driver_data),
        (note(one.path, one.word, "mapping") for one in notes),
    ):
        known = {remark["node_path"] for remark in noted}
        noted += [remark for remark in ours if remark["node_path"] not in known]
    return tuple(noted)


def _remarks(answer: Answer, identity: Identity | None, *, is_capped: bool, is_cleaned: bool) -> Iterator[Discrepancy]:
    if is_cleaned:
        yield note("", "unstorable_characters_removed")
    if is_capped:
        yield note("confidence_score", "below_threshold")
    if answer.truncated:
        yield note("household_members", "truncated")
    if (search := answer.address_search_status) and search != "FOUND":
        yield note("address_search_status", search[:50])
    if answer.driver_data is None:
        return
    if identity is Identity.OTHER:
        yield note(PERSON, "other_person")
    elif identity is Identity.UNSURE:
        yield note(PERSON, "uncertain")
    if info := answer.driver_data.license_info:
        if info.status and info.status.lower() != "valid":
            yield note(f"{LICENSE}.status", info.status[:50])
        if info.id_card:
            yield note(f"{LICENSE}.id_card", "identification_card")


def _grades(question: DriverQuestion, license_number: str, found: DriverData | None) -> Iterator[Discrepancy]:
    if found is None:
        return
    subject, person, info = question.subject, found.personal_info, found.license_info
    nicknames = question.scrutiny.match_nicknames
    of_person = {
        "first_name": grades.of_first_name(
            subject.first_name, person.first_name, person.middle_name, nicknames=nicknames
        ),
        "last_name": grades.of_name(subject.last_name, person.last_name),
        "date_of_birth": grades.of_date(subject.date_of_birth, person.date_of_birth),
    }
    of_license = {
        "license_number": grades.of_number(license_number, info.license_number if info else None),
        "state_code": grades.of_code(question.state_code, info.state_code if info else None),
    }
    yield from (*remarks(PERSON, of_person), *remarks(LICENSE, of_license))
    if question.address is not None:
        yield from _address(question.address, found)


def _address(ours: PostalAddress, found: DriverData) -> Iterator[Discrepancy]:
    theirs = found.address_info.current_address if found.address_info else None
    if theirs is None:
        yield note(ADDRESS, "missing")
        return
    compared = {
        "street_1": grades.of_street(ours.street_1, theirs.street_1),
        "street_2": grades.of_street(ours.street_2, theirs.street_2),
        "city": grades.of_city(ours.city, theirs.city),
        "state": grades.of_code(ours.state, theirs.state),
        "zip_code": grades.of_zip(ours.zip_code, theirs.zip_code),
    }
    yield from remarks(ADDRESS, compared)
