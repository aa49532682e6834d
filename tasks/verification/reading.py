"""An HTTP answer, understood as far as all APIs agree: a status, an error, a promise to answer later, or an answer."""

import re
from collections.abc import Callable
from typing import Any

import orjson
from pydantic import ValidationError

from tasks.verification import strict_json
from tasks.verification.classify import Event, Status, Trouble
from tasks.verification.contract import Part
from tasks.verification.pending import poll_url
from tasks.verification.question import Account, Question
from worker.values import value

BODY_LIMIT = 2 * 1024 * 1024
"""Bytes of a decoded body. The largest real answer, a hundred drivers, has about 150 KB."""

RAW_BYTES = 2048
"""So much of an answer that can't be parsed is kept for whoever has to find out why."""

_ERROR_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,49}")


@value(repr=False)
class Received:
    """An answer as it came; header names in lower case. Of an oversized body only what was read before the limit."""

    status: int
    headers: dict[str, str]
    body: bytes
    is_oversized: bool = False


@value
class Form:
    """How one API's answers are read. `parse` raises `ValidationError`; `nothing` is the answer of an empty body.

    `is_stripped`: of what arrives, nothing is kept but what `parse` knows. There is data that we must never have had.
    """

    parse: Callable[[dict[str, Any], Account], Part]
    nothing: Part
    is_stripped: bool


@value(repr=False)
class Reading:
    """`event` is what happened in the end, which a status inside the body can decide.

    `kept` is JSON text for the record of the call, `document` the same as values where the answer can be used; `answer`
    is there exactly if `event` is a 2xx status other than 202, and then of the API's own type; `poll_url` is where a
    promised answer will be; `problem` is a sentence without personal data about an answer that can't be used.
    """

    event: Event
    kept: str | None = None
    answer: Any = None
    problem: str = ""
    transaction_id: str | None = None
    is_cleaned: bool = False
    poll_url: str | None = None
    document: dict[str, Any] | None = None


def read(form: Form, question: Question, received: Received) -> Reading:
    """Understand an answer. Never raises, whatever was sent."""
    status, headers, body = received.status, received.headers, received.body
    retry_after = headers.get("retry-after")
    transaction_id = headers.get("x-transaction-id")
    if received.is_oversized:
        problem = f"The answer has more than {BODY_LIMIT} bytes."
        return Reading(Trouble.OVERSIZED, _raw(form, body), problem=problem, transaction_id=transaction_id)
    if status == 202:
        return _promise(question, headers, transaction_id)
    is_success = 200 <= status < 300
    if not body.strip():
        # Nothing at all is how a search without a hit can be answered.
        answer = form.nothing if is_success else None
        return Reading(Status(status, None, retry_after), None, answer, transaction_id=transaction_id)
    if is_success and "json" not in headers.get("content-type", "application/json").lower():
        problem = "The answer's content type is not JSON."
        return Reading(Trouble.UNREADABLE, _raw(form, body), problem=problem, transaction_id=transaction_id)
    try:
        document = strict_json.parse(body)
    except strict_json.Unreadable as error:
        event: Event = Trouble.UNREADABLE if is_success else Status(status, None, retry_after)
        problem = f"The answer can't be read: {error}."
        return Reading(event, _raw(form, body), problem=problem, transaction_id=transaction_id)

    said = document.value
    transaction_id = _text(said.get("transaction_id")) or transaction_id
    is_cleaned = document.is_cleaned
    inner = said.get("response_status_code")
    if is_success and type(inner) is int and 400 <= inner <= 999:
        status, is_success = inner, False
    if not is_success:
        error_code = said.get("error_code")
        known = error_code if isinstance(error_code, str) and _ERROR_CODE.fullmatch(error_code) else None
        kept = _json({"error_code": known}) if form.is_stripped else document.text
        return Reading(Status(status, known, retry_after), kept, None, "", transaction_id, is_cleaned)
    try:
        answer = form.parse(said, question.account)
    except ValidationError as error:
        kept_whole = None if form.is_stripped else document.text
        return Reading(Trouble.UNREADABLE, kept_whole, None, _where(error), transaction_id, is_cleaned)
    if not form.is_stripped:
        return Reading(Status(status), document.text, answer, "", transaction_id, is_cleaned, document=said)
    stripped = answer.model_dump(mode="json")
    return Reading(Status(status), _json(stripped), answer, "", transaction_id, is_cleaned, document=stripped)


def raw(body: bytes) -> str:
    """JSON text that holds the beginning of something that is no JSON itself."""
    return _json({"_raw": body[:RAW_BYTES].decode("utf-8", "replace").replace("\0", "")})


def _raw(form: Form, body: bytes) -> str | None:
    return None if form.is_stripped else raw(body)


def _promise(question: Question, headers: dict[str, str], transaction_id: str | None) -> Reading:
    """A 202. A poll that is answered so may leave out the address: it is the one that was asked."""
    known = question.pending.url if question.pending is not None else None
    location = headers.get("location")
    url = known if location is None else poll_url(question.account.url, location)
    if url is None:
        problem = "The answer is promised for later, without an address at this API."
        return Reading(Trouble.UNREADABLE, problem=problem, transaction_id=transaction_id)
    return Reading(Status(202, None, headers.get("retry-after")), transaction_id=transaction_id, poll_url=url)


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def _text(value: Any) -> str | None:
    return value[:100] if isinstance(value, str) and value else None


def _where(error: ValidationError) -> str:
    """The first node against the contract, by its path: names are ours, values are not repeated."""
    first = error.errors(include_input=False, include_context=False, include_url=False)[0]
    path = ".".join(str(part) for part in first["loc"]) or "driver_data"
    return f"The answer is against the contract at {path} ({first['type']})."
