"""What can go wrong above the line, for any of the three APIs: refusals, throttling, and answers that are not
what they should be. `wire.py` has what goes wrong on the line itself.
"""

from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import orjson

from .logins import TOKEN_EXPIRED, UNAUTHORIZED
from .message import Call, Refusal, Reply, json_reply, refuse, transaction

Json = dict[str, Any]
Header = tuple[str, str]

THROTTLED = Refusal(429, "RATE_LIMIT_EXCEEDED", "too many requests")
BROKEN = Refusal(500, "INTERNAL_ERROR", "the sandbox was told to fail")
UNAVAILABLE = Refusal(503, "SERVICE_UNAVAILABLE", "closed for an hour")
UPSTREAM_TIMEOUT = Refusal(504, "UPSTREAM_TIMEOUT", "a source did not answer in time")


def _always(refusal: Refusal, *headers: Header) -> Callable[[Call], Reply | None]:
    return lambda call: refuse(refusal, call.transaction_id, *headers)


def _first(times: int, refusal: Refusal) -> Callable[[Call], Reply | None]:
    return lambda call: refuse(refusal, call.transaction_id) if call.nth <= times else None


def _throttled_until_a_date(call: Call) -> Reply:
    return refuse(THROTTLED, call.transaction_id, ("Retry-After", formatdate(call.now + 2, usegmt=True)))


# The answer instead of the real one, or None for the real one.
REFUSALS: dict[str, Callable[[Call], Reply | None]] = {
    "500": _always(BROKEN),
    "500_twice": _first(2, BROKEN),
    "429": _always(THROTTLED, ("Retry-After", "2")),
    "429_then_ok": _first(1, THROTTLED),
    "429_date": _throttled_until_a_date,
    "503_retry_after_3600": _always(UNAVAILABLE, ("Retry-After", "3600")),
    "504": _always(UPSTREAM_TIMEOUT),
    "588": _always(Refusal(588, "INTERNAL_ERROR", "a status nobody has heard of")),
    "418": _always(Refusal(418, "INVALID_REQUEST", "a teapot")),
    "token_expired": _first(1, TOKEN_EXPIRED),
    "token_always_rejected": _always(UNAUTHORIZED),
    # The address that hands out credentials in a cloud: a caller that follows redirects would read it.
    "redirect": lambda call: Reply(
        302, b"", (("Location", "http://169.254.169.254/"), transaction(call.transaction_id))
    ),
}


def _malformed_json(answer: Json) -> Reply:
    whole = json_reply(200, answer)
    return Reply(200, whole.body[: len(whole.body) // 2], whole.headers)


def _html(_answer: Json) -> Reply:
    page = b"<!doctype html><title>Maintenance</title><p>We will be back soon."
    return Reply(200, page, (("Content-Type", "text/html; charset=utf-8"),))


def _wrong_charset(answer: Json) -> Reply:
    """Says UTF-8, is Latin-1."""
    answer["response_status_message"] = "Données trouvées"
    body = orjson.dumps(answer).decode().encode("latin-1", errors="replace")
    return Reply(200, body, (("Content-Type", "application/json; charset=utf-8"),))


def _nul_char(answer: Json) -> Reply:
    """Legal JSON that a PostgreSQL text or jsonb column refuses, in the raw answer and in a field that is mapped."""
    answer["response_status_message"] = "OK\x00"
    if (driver_data := answer.get("driver_data")) and (address := driver_data["address_info"]["current_address"]):
        address["city"] = f"{address['city'] or ''}\x00"
    return json_reply(200, answer)


def _body_status_500(answer: Json) -> Reply:
    """The status that counts is in the body, and what should be there besides is not."""
    head = ("transaction_id", "api_version", "timestamp")
    failed = {"response_status_code": 500, "response_status_message": "Internal error"}
    return json_reply(200, {name: answer[name] for name in head} | failed)


# What becomes of the real answer.
GARBLED: dict[str, Callable[[Json], Reply]] = {
    "no_body": lambda _answer: Reply(200),
    "malformed_json": _malformed_json,
    "html_200": _html,
    "wrong_charset": _wrong_charset,
    "nul_char": _nul_char,
    "body_status_500": _body_status_500,
}
