"""What criminal records is asked: about one driver, by name and birth date."""

from typing import Any

from tasks.verification.question import TRANSACTION, Basics, Question, Subject, client_ref, person
from worker.outcomes import GiveUp
from worker.values import value


@value(kw_only=True)
class CriminalQuestion(Question):
    driver_id: int
    subject: Subject


def criminal_question(row: Any, basics: Basics) -> CriminalQuestion | GiveUp[Any]:
    """Of a row of `question_store.load`, or why it can't be asked."""
    subject = person(row)
    if isinstance(subject, GiveUp):
        return subject
    return CriminalQuestion(**basics, driver_id=row.driver_id, subject=subject)


def criminal_body(question: CriminalQuestion) -> dict[str, Any]:
    """The body of a search. Equal questions give equal bodies, byte for byte."""
    subject = question.subject
    asked = {
        "client_ref": client_ref(question.driver_id),
        "first_name": subject.first_name,
        "last_name": subject.last_name,
        "date_of_birth": subject.date_of_birth.isoformat(),
    }
    return {"transaction_info": TRANSACTION, "persons": [asked], "options": {"search_aliases": True}}
