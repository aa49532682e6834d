"""What the provider said, as frozen values: the household drivers answer of version 2.7, read strictly.

Tolerated is only what the real service is known to do: dates as `MM/DD/YYYY`, a date of eight zeros for none, flags as
1 and 0, and three misspelt names. Anything else that is not in the contract's form makes the answer unusable.
"""

import re
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal

import orjson
from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from tasks.verification import strict_json
from tasks.verification.classify import Event, Status, Trouble

RAW_BYTES = 2048
"""So much of an answer that can't be parsed is kept for whoever has to find out why."""

_ISO_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_AMERICAN_DATE = re.compile(r"([0-9]{2})/([0-9]{2})/([0-9]{4})")
_ERROR_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,49}")


def _date(value: Any) -> Any:
    if not isinstance(value, str) or value == "00000000":
        return None if value == "00000000" else value
    if american := _AMERICAN_DATE.fullmatch(value):
        month, day, year = american.groups()
        return date(int(year), int(month), int(day))
    if _ISO_DATE.fullmatch(value):
        return date.fromisoformat(value)
    return value


def _flag(value: Any) -> Any:
    return bool(value) if type(value) is int and value in (0, 1) else value


def _decimal(value: Any) -> Any:
    return Decimal(value) if type(value) is int else value


def _none_as_empty(value: Any) -> Any:
    return () if value is None else tuple(value) if isinstance(value, list) else value


ProviderStatus = Literal["verified", "partial", "failed", "not_found"]
Date = Annotated[date | None, BeforeValidator(_date)]
Flag = Annotated[bool, BeforeValidator(_flag)]
Score = Annotated[Decimal, BeforeValidator(_decimal), Field(ge=0, le=100, max_digits=5, decimal_places=2)]


class _Part(BaseModel):
    # Inputs stay out of error texts: they are personal data.
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", hide_input_in_errors=True)


class PersonalInfo(_Part):
    first_name: str | None = None
    middle_name: str | None = None
    last_name: str | None = None
    suffix: str | None = None
    date_of_birth: Date = None
    gender: str | None = None


class LicenseInfo(_Part):
    license_number: str | None = None
    state_code: str | None = None
    license_type: str | None = None
    status: str | None = None
    issue_date: Date = None
    expiration_date: Date = None
    last_transaction_date: Date = Field(
        None, validation_alias=AliasChoices("last_transaction_date", "last_transacton_date")
    )
    id_card: Flag = False
    restrictions: Annotated[tuple[Any, ...], BeforeValidator(_none_as_empty)] = Field(
        (), validation_alias=AliasChoices("restrictions", "restrictons")
    )
    endorsements: Annotated[tuple[Any, ...], BeforeValidator(_none_as_empty)] = ()


class CurrentAddress(_Part):
    street_1: str | None = None
    street_2: str | None = None
    city: str | None = None
    state: str | None = None
    zip_code: str | None = None
    zip_4: str | None = None
    delivery_point_validation: Literal["valid", "invalid", "unknown"] | None = None


class AddressInfo(_Part):
    current_address: CurrentAddress | None = None


class DriverData(_Part):
    driver_id: str | None = None
    client_ref: str | None = None
    personal_info: PersonalInfo
    license_info: LicenseInfo | None = None
    address_info: AddressInfo | None = None
    associated_licenses: Annotated[tuple[Any, ...], BeforeValidator(_none_as_empty)] = Field(
        (), validation_alias=AliasChoices("associated_licenses", "asociated_licenses")
    )


class Member(_Part):
    relationship: str | None = None
    driver_data: DriverData


class Difference(_Part):
    """A node that the provider itself found to differ from the question."""

    node_path: str
    match: str


class Answer(_Part):
    transaction_id: str | None = None
    verification_status: ProviderStatus
    confidence_score: Score | None = None
    address_search_status: str | None = None
    drivers_found: int | None = None
    records_returned: int | None = None
    truncated: Flag = False
    driver_data: DriverData | None = None
    household_members: Annotated[tuple[Member, ...], BeforeValidator(_none_as_empty)] = ()
    discrepancies: Annotated[tuple[Difference, ...], BeforeValidator(_none_as_empty)] = ()

    @model_validator(mode="after")
    def _is_about_somebody(self) -> "Answer":
        if self.verification_status in ("verified", "partial") and self.driver_data is None:
            raise ValueError("driver_data is missing")
        return self


NOTHING_FOUND = Answer(verification_status="not_found")


@dataclass(frozen=True, slots=True, repr=False)
class Reading:
    """An HTTP answer, understood. `event` is what happened in the end, which a status inside the body can decide.

    `kept` is JSON text for the record of the call; `answer` is there exactly if `event` is a 2xx status; `problem` is a
    sentence without personal data about an answer that can't be used.
    """

    event: Event
    kept: str | None = None
    answer: Answer | None = None
    problem: str = ""
    transaction_id: str | None = None
    is_cleaned: bool = False


def read(status: int, headers: dict[str, str], body: bytes) -> Reading:
    """Understand an answer. `headers` have lower-case names. Never raises, whatever was sent."""
    retry_after = headers.get("retry-after")
    transaction_id = headers.get("x-transaction-id")
    is_success = 200 <= status < 300
    if not body.strip():
        # Nothing at all is how a search without a hit can be answered.
        answer = NOTHING_FOUND if is_success else None
        return Reading(Status(status, None, retry_after), None, answer, transaction_id=transaction_id)
    if is_success and "json" not in headers.get("content-type", "application/json").lower():
        problem = "The answer's content type is not JSON."
        return Reading(Trouble.UNREADABLE, raw(body), problem=problem, transaction_id=transaction_id)
    try:
        document = strict_json.parse(body)
    except strict_json.Unreadable as error:
        event: Event = Trouble.UNREADABLE if is_success else Status(status, None, retry_after)
        return Reading(event, raw(body), problem=f"The answer can't be read: {error}.", transaction_id=transaction_id)

    said = document.value
    transaction_id = _text(said.get("transaction_id")) or transaction_id
    kept, is_cleaned = document.text, document.is_cleaned
    inner = said.get("response_status_code")
    if is_success and type(inner) is int and 400 <= inner <= 999:
        status, is_success = inner, False
    if not is_success:
        error_code = said.get("error_code")
        known = error_code if isinstance(error_code, str) and _ERROR_CODE.fullmatch(error_code) else None
        return Reading(Status(status, known, retry_after), kept, None, "", transaction_id, is_cleaned)
    try:
        answer = Answer.model_validate(said)
    except ValidationError as error:
        return Reading(Trouble.UNREADABLE, kept, None, _where(error), transaction_id, is_cleaned)
    return Reading(Status(status), kept, answer, "", transaction_id, is_cleaned)


def raw(body: bytes) -> str:
    """JSON text that holds the beginning of something that is no JSON itself."""
    return orjson.dumps({"_raw": body[:RAW_BYTES].decode("utf-8", "replace").replace("\0", "")}).decode()


def _text(value: Any) -> str | None:
    return value[:100] if isinstance(value, str) and value else None


def _where(error: ValidationError) -> str:
    """The first node against the contract, by its path: names are ours, values are not repeated."""
    first = error.errors(include_input=False, include_context=False, include_url=False)[0]
    path = ".".join(str(part) for part in first["loc"]) or "driver_data"
    return f"The answer is against the contract at {path} ({first['type']})."
