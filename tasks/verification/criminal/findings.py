"""What a criminal answer means: a result for a person to read, and nothing that decides by itself.

Records are matched by name and birth date only. What might be another's - several profiles, an alias, a name that
differs - is partial at best, and the driver's own row is left alone.
"""

from datetime import date
from typing import Any

from models.vocabularies import VerificationStatus
from tasks.verification.criminal.answer import CriminalAnswer, Profile
from tasks.verification.criminal.question import CriminalQuestion
from tasks.verification.identity import Identity, identify_person
from tasks.verification.question import client_ref
from tasks.verification.results import Discrepancy, Found, Result, note
from worker.crypto import Keyring

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
    notes = [note("", "unstorable_characters_removed")] if is_cleaned else []
    if len(profiles) > 1:
        notes.append(note(PROFILES, "several_profiles"))
    worst = Identity.SAME
    for nth, profile in enumerate(profiles):
        identity = identify_person(
            question.subject,
            client_ref(question.driver_id),
            profile.client_ref,
            profile,
            nicknames=question.scrutiny.match_nicknames,
        )
        worst = max(worst, identity, key=_ORDER.index)
        notes += _notes(f"{PROFILES}[{nth}]", profile, identity)
    status = _status(profiles, worst)
    # Another person's record is none of our driver's business, nor ours.
    data = None if status in ("failed", "not_found") else {"profiles": [_facts(profile) for profile in profiles]}
    result = Result("criminal", "driver", question.driver_id, status, None, data, tuple(notes))
    return Found((result,))


def error_results(question: CriminalQuestion) -> tuple[Result, ...]:
    """The row of a search that ended without an answer."""
    return (Result("criminal", "driver", question.driver_id, "error"),)


_ORDER = (Identity.SAME, Identity.UNSURE, Identity.OTHER)


def _status(profiles: tuple[Profile, ...], worst: Identity) -> VerificationStatus:
    if not profiles:
        return "not_found"
    if len(profiles) > 1:
        return "partial"
    if worst is Identity.OTHER:
        return "failed"
    by_alias = any(history.search_source != "P" for history in profiles[0].histories)
    return "partial" if by_alias or worst is Identity.UNSURE else "verified"


def _notes(path: str, profile: Profile, identity: Identity) -> list[Discrepancy]:
    notes = []
    if identity is Identity.OTHER:
        notes.append(note(path, "other_person"))
    elif identity is Identity.UNSURE:
        notes.append(note(path, "uncertain"))
    if profile.criminal_status == "records_found":
        notes.append(note(f"{path}.criminal_status", "records_found"))
    for nth, history in enumerate(profile.histories):
        if history.search_source != "P":
            notes.append(note(f"{path}.histories[{nth}].search_source", "found_by_alias"))
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
