"""What an event at the provider means: one function over everything that can happen to a call."""

from enum import Enum, StrEnum, auto
from typing import Literal

from worker.values import value


class Trouble(StrEnum):
    """A call that ended without an answer, or with one that can't be used."""

    NOT_CONNECTED = "not_connected"  # name not found, refused, handshake broken: the request did not leave
    BAD_CERTIFICATE = "bad_certificate"
    BAD_ADDRESS = "bad_address"  # no connection is possible to such a URL
    ADDRESS_REFUSED = "address_refused"  # a place that configured URLs must not lead to: nothing was sent
    TIMED_OUT = "timed_out"
    CONNECTION_LOST = "connection_lost"
    CUT_SHORT = "cut_short"  # the body ended before its announced length
    OVERSIZED = "oversized"
    UNREADABLE = "unreadable"


NEVER_SENT = frozenset((Trouble.NOT_CONNECTED, Trouble.BAD_CERTIFICATE, Trouble.BAD_ADDRESS, Trouble.ADDRESS_REFUSED))
"""Troubles of which it is certain that the question did not leave."""


@value
class Status:
    """An HTTP status, or the status inside a body that replaces it. `retry_after` is the header as it came."""

    code: int
    error_code: str | None = None
    retry_after: str | None = None
    endpoint: Literal["api", "token"] = "api"

    def __str__(self) -> str:
        who = "The provider's token endpoint" if self.endpoint == "token" else "The provider"
        return f"{who} answered {self.code}{f' {self.error_code}' if self.error_code else ''}"


Event = Status | Trouble


class Meaning(Enum):
    ANSWER = auto()
    PENDING = auto()  # accepted, and answered later at an address that came with it
    TRANSIENT = auto()
    THROTTLED = auto()  # the provider is well and asks for less: a breaker must not count it
    UNAUTHORIZED = auto()  # renew the token once; if that was done, the configuration is wrong
    UNUSABLE = auto()  # an answer against the protocol: once more, then no more
    PERMANENT = auto()


@value
class Verdict:
    """`was_answered`: the provider has handled this call, so that the next one is a new question to it."""

    meaning: Meaning
    code: str
    was_answered: bool
    is_timeout: bool = False


_TROUBLES = {
    Trouble.NOT_CONNECTED: Verdict(Meaning.TRANSIENT, "provider_unreachable", was_answered=False),
    Trouble.BAD_CERTIFICATE: Verdict(Meaning.PERMANENT, "bad_certificate", was_answered=False),
    Trouble.BAD_ADDRESS: Verdict(Meaning.PERMANENT, "configuration_error", was_answered=False),
    Trouble.ADDRESS_REFUSED: Verdict(Meaning.PERMANENT, "address_refused", was_answered=False),
    Trouble.TIMED_OUT: Verdict(Meaning.TRANSIENT, "provider_timeout", was_answered=False, is_timeout=True),
    Trouble.CONNECTION_LOST: Verdict(Meaning.TRANSIENT, "connection_lost", was_answered=False),
    Trouble.CUT_SHORT: Verdict(Meaning.TRANSIENT, "connection_lost", was_answered=False),
    Trouble.OVERSIZED: Verdict(Meaning.UNUSABLE, "oversized_answer", was_answered=True),
    Trouble.UNREADABLE: Verdict(Meaning.UNUSABLE, "unreadable_answer", was_answered=True),
}


def classify(event: Event) -> Verdict:
    """Every status from 100 to 599 and beyond has a meaning; the unheard-of 5xx are errors that may pass."""
    if isinstance(event, Trouble):
        return _TROUBLES[event]
    if event.endpoint == "token":
        return _at_token_endpoint(event)
    if event.code == 202:
        return Verdict(Meaning.PENDING, "answer_pending", was_answered=True)
    if 200 <= event.code < 300:
        return Verdict(Meaning.ANSWER, "answered", was_answered=True)
    if event.code == 401:
        return Verdict(Meaning.UNAUTHORIZED, "configuration_error", was_answered=True)
    return _refusal(event, was_answered=True)


def _at_token_endpoint(event: Status) -> Verdict:
    # Trying the same credentials again locks accounts: what a person has to correct is never retried.
    if event.code in (400, 401, 403):
        return Verdict(Meaning.PERMANENT, "configuration_error", was_answered=False)
    return _refusal(event, was_answered=False)


def _refusal(event: Status, *, was_answered: bool) -> Verdict:
    match event.code:
        case 429:
            return Verdict(Meaning.THROTTLED, "rate_limited", was_answered)
        case 503 if event.retry_after:
            return Verdict(Meaning.THROTTLED, "provider_unavailable", was_answered)
        case 504:
            return Verdict(Meaning.TRANSIENT, "provider_timeout", was_answered, is_timeout=True)
        case 501 | 505:
            return Verdict(Meaning.PERMANENT, "provider_error", was_answered)
        case 408 | 425:
            return Verdict(Meaning.TRANSIENT, "provider_error", was_answered)
        case 409:
            return Verdict(Meaning.PERMANENT, "idempotency_conflict", was_answered)
        case code if 300 <= code < 400:
            return Verdict(Meaning.PERMANENT, "redirected", was_answered)
        case code if code >= 500:
            return Verdict(Meaning.TRANSIENT, "provider_error", was_answered)
    return Verdict(Meaning.PERMANENT, "request_refused", was_answered)
