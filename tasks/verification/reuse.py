"""An answer that is here already, put to a request that asks the same: everything is done but the call."""

from datetime import date

from tasks.verification.apis import APIS
from tasks.verification.question import KnownAnswer, Question
from tasks.verification.reading import Received, read
from tasks.verification.results import Found
from worker.crypto import Keyring
from worker.values import value


@value(repr=False)
class Reused:
    """What becomes of a request that needed no call."""

    known: KnownAnswer
    findings: Found


def reuse(question: Question, keyring: Keyring, known: KnownAnswer, today: date) -> Reused | None:
    """What the answer means for this request; None if the present rules can't read what those of then could.

    Raises `Undecipherable`.
    """
    api = APIS[question.account.api]
    reading = read(api.form, question, Received(known.status_code, {}, (known.body or "").encode()))
    if reading.answer is None:
        return None
    found = api.conclude(
        question,
        reading.answer,
        keyring,
        is_cleaned=reading.is_cleaned,
        document=reading.document,
        today=today,
    )
    return Reused(known, found)
