"""The provider's APIs by the word of `third_party_integration.api`: what each is asked, and what its answers mean."""

from collections.abc import Callable, Mapping
from datetime import date, timedelta
from typing import Any, Protocol

from models.vocabularies import ProviderApi
from tasks.verification.criminal import answer as criminal_answer
from tasks.verification.criminal import findings as criminal
from tasks.verification.criminal.question import criminal_body, criminal_question
from tasks.verification.drivers import answer as drivers_answer
from tasks.verification.drivers import findings as drivers
from tasks.verification.drivers.question import driver_question, license_number, request_body
from tasks.verification.question import Basics, Question, basics
from tasks.verification.reading import Form
from tasks.verification.results import Found, Result
from tasks.verification.scrutiny import LENIENT, Scrutiny
from tasks.verification.vehicles import answer as vehicles_answer
from tasks.verification.vehicles import findings as vehicles
from tasks.verification.vehicles.question import vehicle_body, vehicle_question
from worker.crypto import Keyring
from worker.outcomes import GiveUp
from worker.values import value


class Conclude(Protocol):
    """What an answer to a question means. Raises `Undecipherable`.

    `is_cleaned`: characters that can't be stored were taken out of it. `document` is the answer as it is kept, for the
    field mappings; `today` is the day on which they check dates.
    """

    def __call__(
        self,
        question: Any,
        answer: Any,
        keyring: Keyring,
        /,
        *,
        is_cleaned: bool,
        document: dict[str, Any] | None,
        today: date,
    ) -> Found: ...


@value
class Api:
    """Questions and answers are of the API's own types: what is given to one function came from another of them."""

    question: Callable[[Any, Basics], Question | GiveUp[Any]]
    body: Callable[[Any, Keyring], dict[str, Any]]
    """Raises `Undecipherable`."""

    form: Form
    conclude: Conclude
    error_results: Callable[[Any], tuple[Result, ...]]
    is_reusable: bool
    """Whether its answers may be kept for later questions, as long as the configuration says."""

    mapped_from: str = ""
    """The list whose items are the documents of its field mappings; the answer itself where there is none."""


APIS: Mapping[ProviderApi, Api] = {
    "drivers": Api(
        driver_question,
        lambda question, keyring: request_body(question, license_number(question, keyring)),
        drivers_answer.FORM,
        drivers.conclude,
        drivers.error_results,
        is_reusable=True,
    ),
    "criminal": Api(
        criminal_question,
        lambda question, _keyring: criminal_body(question),
        criminal_answer.FORM,
        criminal.conclude,
        criminal.error_results,
        is_reusable=False,
    ),
    "vehicles": Api(
        vehicle_question,
        lambda question, _keyring: vehicle_body(question),
        vehicles_answer.FORM,
        vehicles.conclude,
        vehicles.error_results,
        is_reusable=True,
        mapped_from="vehicles[]",
    ),
}


def question(
    row: Any, time_left: timedelta | None, new_key: str, scrutiny: Scrutiny = LENIENT
) -> Question | GiveUp[Any]:
    """The question a row of `question_store.load` asks. `new_key` serves a request that was never sent."""
    common = basics(row, time_left, new_key, scrutiny)
    return common if isinstance(common, GiveUp) else APIS[row.api].question(row, common)
