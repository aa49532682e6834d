"""What goes in and out of the sandbox: a request as received, a reply as data, the two forms of a JSON answer."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson

JSON = ("Content-Type", "application/json")


@dataclass(frozen=True, slots=True)
class Request:
    """One received request. Header names are lower case; `body` is cut at the size limit if `oversized`."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    oversized: bool = False

    def header(self, name: str) -> str:
        return self.headers.get(name, "")


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer without its framing: whoever sends it adds Content-Length and Date."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()

    def adding(self, *headers: tuple[str, str]) -> "Reply":
        return Reply(self.status, self.body, self.headers + headers)


class Refusal(NamedTuple):
    """Why a request is not served. `field` names the offending part of it, never its value."""

    status: int
    code: str
    message: str
    field: str | None = None


class Call(NamedTuple):
    """What the answer to a request may depend on besides its payload.

    `nth` counts from 1 the calls of one correlation id that met one scenario; `now` is seconds since 1970.
    """

    transaction_id: str
    nth: int
    now: float


def json_reply(status: int, payload: object, *headers: tuple[str, str]) -> Reply:
    return Reply(status, orjson.dumps(payload), (JSON, *headers))


def transaction(transaction_id: str) -> tuple[str, str]:
    return "X-Transaction-Id", transaction_id


def refuse(refusal: Refusal, transaction_id: str, *headers: tuple[str, str]) -> Reply:
    """The provider's error form."""
    payload = {
        "status": "error",
        "error_code": refusal.code,
        "error_message": refusal.message,
        "details": {"field": refusal.field},
        "transaction_id": transaction_id,
    }
    return json_reply(refusal.status, payload, transaction(transaction_id), *headers)


def envelope(call: Call, api_version: str) -> dict[str, Any]:
    """The head that every successful answer of the three APIs begins with."""
    return {
        "transaction_id": call.transaction_id,
        "api_version": api_version,
        "timestamp": datetime.fromtimestamp(int(call.now), UTC).isoformat().replace("+00:00", "Z"),
        "response_status_code": 200,
        "response_status_message": "OK",
    }
