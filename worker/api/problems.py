"""Errors as problem details (RFC 9457): one shape for every answer that is not a success.

`type` stays `about:blank`, which the RFC reads as "the status code says it all"; `code` is for programs. `detail` never
repeats what an exception or a caller says, because that may hold a value or a secret.
"""

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from starlette.exceptions import HTTPException

from worker.database import is_outage
from worker.errors import BadRequest

MEDIA_TYPE = "application/problem+json"
CORRELATION = "X-Correlation-Id"


class FieldError(BaseModel):
    field: str
    message: str


class Problem(BaseModel):
    """An error, as RFC 9457 has it; `errors` names the fields that are wrong."""

    model_config = ConfigDict(extra="allow")

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str | None = None
    errors: list[FieldError] | None = None


def documented(description: str) -> dict[str, Any]:
    """An answer's entry in the OpenAPI document."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": description, "content": {MEDIA_TYPE: {"schema": schema}}}


NOT_VALID = documented("Something is missing or has a wrong form; `errors` names the fields.")
TOO_LARGE = documented("The body is too large.")
TOO_MANY = documented("The client has asked too often; Retry-After says for how many seconds it must wait.")
AWAY = documented("The database does not answer; ask again, with the same Idempotency-Key.")
NOT_FOUND = documented("There is no such thing, or it is another tenant's.")
EVERYWHERE: dict[int | str, dict[str, Any]] = {
    401: documented("An access token is missing, unknown, expired or revoked."),
    403: documented("The access token lacks the scope."),
    413: TOO_LARGE,
    422: NOT_VALID,
    429: TOO_MANY,
    503: AWAY,
}
"""What every route behind a token may answer."""

REASONS: dict[str, tuple[int, str | None, str]] = {
    "unknown_integration": (404, "integration", "there is no such integration"),
    "unsupported_integration": (409, "integration", "it names no API that is known here"),
    "no_driver": (422, "driver_id", "this integration asks about a driver: name one"),
    "no_vehicle": (422, "vehicle_id", "this integration asks about a vehicle or an address: name one"),
    "wrong_subject": (422, "integration", "it asks about something else than what is given, or about one thing only"),
    "bad_search_by": (422, "search_by", "it says how a vehicle is searched: by vin or by plate"),
    "unknown_driver": (404, "driver_id", "there is no such driver"),
    "unknown_vehicle": (404, "vehicle_id", "there is no such vehicle"),
    "unknown_address": (404, "address_id", "there is no such address"),
    "incomplete_vehicle": (409, "vehicle_id", "it lacks what it is to be searched by"),
    "incomplete_address": (409, "address_id", "it has no street or no state"),
    "unknown_quote": (404, "quote_id", "there is no such quote"),
    "unknown_producer": (404, "producer", "there is no such producer"),
    "unknown_program": (404, "program", "there is no such program"),
    "unknown_tenant": (404, "tenant", "there is no such tenant"),
    "no_tenant": (422, "tenant", "name the tenant or the producer: this client works for several"),
    "no_configuration": (409, "integration", "it is not configured for this producer, program and environment"),
    "integration_disabled": (409, "integration", "it is switched off"),
    "configuration_error": (409, "integration", "its configuration is not usable; an operator has to mend it"),
    "idempotency_conflict": (409, "Idempotency-Key", "it was used for another request within the last day"),
    "bad_priority": (422, "priority", "it must lie between 0 and 9"),
    "bad_deadline": (422, "deadline_s", "it must be at least one second"),
    "bad_correlation_id": (422, "X-Correlation-Id", "it has at most 100 characters"),
    "quote_closed": (409, "quote_id", "it is bound, expired or declined and keeps its premium"),
    "forbidden": (403, None, "the right to do this is missing for this integration"),
    "bad_cursor": (422, "cursor", "it was not given out by this list"),
    "unknown_job": (404, None, "there is no such job"),
    "unknown_verification": (404, None, "there is no such verification"),
    "already_over": (409, None, "the job is over already"),
    "already_done": (409, None, "the job is done: there is nothing to retry, ask for a new one"),
    "quarantined": (409, None, "the job is in quarantine: its workers died, and an operator has to look at it"),
    "not_over": (409, None, "the job is not over: only what has ended can be retried"),
}
"""Status, field and sentence for each code of `BadRequest`. Its own sentence may repeat what the caller sent."""


def problem(status: int, detail: str, **extensions: Any) -> JSONResponse:
    """An answer in the RFC's form; `extensions` are further members, for programs."""
    content = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return JSONResponse({**content, **extensions}, status, media_type=MEDIA_TYPE)


def of_fields(status: int, code: str, wrong: Sequence[FieldError]) -> JSONResponse:
    """An answer about fields that are wrong."""
    detail = "; ".join(f"{error.field}: {error.message}" for error in wrong)
    return problem(status, detail, code=code, errors=[error.model_dump() for error in wrong])


def refused(code: str) -> JSONResponse:
    """The answer for a code of `BadRequest`. KeyError for one that no request over HTTP can bring about."""
    status, field, sentence = REASONS[code]
    if field is not None:
        return of_fields(status, code, [FieldError(field=field, message=sentence)])
    return problem(status, sentence, code=code)


def install(app: FastAPI) -> None:
    """Answer every error of `app` as a problem."""
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(BadRequest, _bad_request)
    app.add_exception_handler(RequestValidationError, _not_valid)
    app.add_exception_handler(SQLAlchemyError, _database_trouble)
    app.add_exception_handler(Exception, _broken)


async def _refused(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == HTTPStatus.BAD_REQUEST:  # FastAPI's word for a body that is not even text
        return of_fields(422, "not_valid", [FieldError(field="body", message=_MESSAGES["json_invalid"])])
    response = problem(error.status_code, f"{request.method} {request.url.path}: {error.detail}")
    response.headers.update(error.headers or {})  # such as Allow with 405
    return response


async def _bad_request(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, BadRequest):
        raise error
    return refused(error.code)


async def _not_valid(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    return of_fields(422, "not_valid", wrong_fields(error.errors()))


def wrong_fields(errors: Sequence[Any]) -> list[FieldError]:
    """Pydantic's errors without the values. Each field once, and no more than twenty of them."""
    named: dict[str, str] = {}
    for error in errors:
        named.setdefault(_field(error["loc"]), _MESSAGES.get(error["type"], error["msg"]))
    return [FieldError(field=field, message=message) for field, message in list(named.items())[:20]]


_MESSAGES = {
    "json_invalid": "it is not JSON",
    "extra_forbidden": "there is no such field",
    "string_pattern_mismatch": "it contains characters that are not allowed",
    "uuid_parsing": "it must be a UUID",
    "model_attributes_type": "it must be a JSON object, sent as application/json",
}

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}|\d{1,4}")


def _field(location: Sequence[int | str]) -> str:
    """`body.driver_id` as `driver_id`, a header as people write it.

    What a caller calls a field may be anything: only a plain name is repeated.
    """
    parts = [str(part) for part in location[1:]]
    if location and location[0] == "header":
        return "-".join(word.capitalize() for word in parts[0].split("-"))
    return ".".join(part if _NAME.fullmatch(part) else "?" for part in parts) or "body"


async def _database_trouble(request: Request, error: Exception) -> JSONResponse:
    """Being away for a moment is told as such; anything else is a failure of ours, and loud."""
    if not isinstance(error, NoConnectionFree) and not is_outage(error):
        raise error
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        request.state.database.engine.dispose()  # the pool's other connections are as dead
    response = problem(503, "the database does not answer; nothing is lost by asking again", code="database_away")
    response.headers["Retry-After"] = "1"
    return response


async def _broken(request: Request, error: Exception) -> JSONResponse:
    response = problem(500, f"{request.method} {request.url.path} failed; the log says why")
    response.headers[CORRELATION] = request.state.correlation_id  # this answer passes by our own middleware
    return response
