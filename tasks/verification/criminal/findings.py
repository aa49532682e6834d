"""What a criminal answer means: a result for a person to read, and nothing that decides by itself.

Records are matched by name and birth date only. What might be another's - several profiles, an alias, a name or birth
date that differs - is partial at best, and the driver's own row is left alone. The provider gives no score: ours is how
much of a single profile fits, and the configuration's thresholds can only lower what is said; of several profiles they
say nothing.
"""

from datetime import date
from typing import Any

from tasks.verification import grades
from tasks.verification.comparison import Grades, confidence, remarks
from tasks.verification.criminal.answer import CriminalAnswer, History, Profile
from tasks.verification.criminal.question import CriminalQuestion
from tasks.verification.identity import Identity, identify_person
from tasks.verification.question import client_ref
from tasks.verification.results import Discrepancy, Found, Result, note
from tasks.verification.scrutiny import Verdict
from worker.crypto import Keyring
from worker.values import value

PROFILES = "criminal_profiles"


def conclude(
    question: CriminalQuestion,
    answer: CriminalAnswer,
    _keyring: Keyring,
    *,
    is_cleaned: bool,
    document: dict[str, Any] | None = None,
    today: date = date.max,
) -> Found:
    """The one result of an answer. Field mappings have no say here: whose record it is, a person decides."""
    profiles = answer.criminal_profiles
    compared = [_compare(question, profile) for profile in profiles]
    status = capped = _status(compared)
    score = None
    if len(compared) == 1:
        score = confidence(compared[0].person)
        capped = question.scrutiny.capped(status, score)
    notes = [note("", "unstorable_characters_removed")] if is_cleaned else []
    if capped != status:
        notes.append(note("confidence_score", "below_threshold"))
    if len(profiles) > 1:
        notes.append(note(PROFILES, "several_profiles"))
    for nth, one in enumerate(compared):
        notes += _notes(f"{PROFILES}[{nth}]", one)
    # Another person's record is none of our driver's business, nor ours.
    data = None if capped in ("failed", "not_found") else {"profiles": [_facts(profile) for profile in profiles]}
    return Found((Result("criminal", "driver", question.driver_id, capped, score, data, tuple(notes)),))


def error_results(question: CriminalQuestion) -> tuple[Result, ...]:
    """The row of a search that ended without an answer."""
    return (Result("criminal", "driver", question.driver_id, "error"),)


@value
class _Compared:
    """A profile beside our driver; `histories` are the grades of each state's file, none for one found by an alias."""

    profile: Profile
    identity: Identity
    person: Grades
    histories: tuple[Grades, ...]

    @property
    def is_certain(self) -> bool:
        """Everything in it is about the person himself, under the name and birth date that we know."""
        files = zip(self.profile.histories, self.histories, strict=True)
        return self.identity is Identity.SAME and all(
            _is_own(history) and not {"partial", "mismatch"}.intersection(graded.values()) for history, graded in files
        )


def _compare(question: CriminalQuestion, profile: Profile) -> _Compared:
    subject, nicknames = question.subject, question.scrutiny.match_nicknames
    person: Grades = {
        "first_name": grades.of_first_name(subject.first_name, profile.first_name, None, nicknames=nicknames),
        "last_name": grades.of_name(subject.last_name, profile.last_name),
        "date_of_birth": grades.of_date(subject.date_of_birth, profile.date_of_birth),
    }

    def of_file(history: History) -> Grades:
        if not _is_own(history):
            return {}
        name = grades.of_whole_name(subject.first_name, subject.last_name, history.name, nicknames=nicknames)
        return {"name": name, "date_of_birth": grades.of_date(subject.date_of_birth, history.date_of_birth)}

    ref = client_ref(question.driver_id)
    identity = identify_person(subject, ref, profile.client_ref, profile, nicknames=nicknames)
    return _Compared(profile, identity, person, tuple(of_file(history) for history in profile.histories))


def _is_own(history: History) -> bool:
    """Found under the name that was asked, not an alias."""
    return history.search_source == "P"


def _status(compared: list[_Compared]) -> Verdict:
    if not compared:
        return "not_found"
    if len(compared) > 1:
        return "partial"
    if compared[0].identity is Identity.OTHER:
        return "failed"
    return "verified" if compared[0].is_certain else "partial"


def _notes(path: str, compared: _Compared) -> list[Discrepancy]:
    profile, notes = compared.profile, []
    if compared.identity is Identity.OTHER:
        notes.append(note(path, "other_person"))
    elif compared.identity is Identity.UNSURE:
        notes.append(note(path, "uncertain"))
    notes += remarks(path, compared.person)
    if profile.criminal_status == "records_found":
        notes.append(note(f"{path}.criminal_status", "records_found"))
    for nth, (history, graded) in enumerate(zip(profile.histories, compared.histories, strict=True)):
        if not _is_own(history):
            notes.append(note(f"{path}.histories[{nth}].search_source", "found_by_alias"))
        notes += remarks(f"{path}.histories[{nth}]", graded)
    return notes


def _facts(profile: Profile) -> dict[str, Any]:
    """Of a profile, without names: those are in the record of the call, for who may see it."""
    return {
        "criminal_status": profile.criminal_status,
        "histories": [
            history.model_dump(mode="json", include={"search_source", "total_offenses", "offenses"})
            for history in profile.histories
        ],
    }
