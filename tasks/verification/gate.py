"""Whether a call may be made now, and what its end says about the provider: the words, numbers and rules of the gate.

Before a call the gate asks the breaker of the host and the limits of the account; after it, the breaker, the budget of
retries and the account's learnt rate hear how it went. `gate_store.py` keeps all of that in Redis for all processes.
"""

from collections.abc import Mapping
from enum import StrEnum

from tasks.verification.classify import Event, Meaning, Status, Trouble, Verdict
from worker.values import value


@value
class Rules:
    """The numbers. Times are seconds.

    A breaker opens when in its window `failures` first calls failed, and they are `failed_share` of those begun. It
    rests for `rest_s`, twice as long after each probe that fails, at most `longest_rest_s`.

    The retry budget is that of gRPC (proposal A6): a failure costs one token, a success gives `refund`; with half of
    them or fewer left, retries wait for a turn of their own, `held_back_per_s` of them a second from the whole fleet.
    """

    failures: int = 5
    failed_share: float = 0.5
    window_s: float = 60.0
    rest_s: float = 30.0
    longest_rest_s: float = 300.0
    probing_s: float = 5.0
    """While a probe is out, the others ask again after this long; most probes are over by then."""

    tokens: float = 10.0
    refund: float = 0.1
    held_back_per_s: float = 10.0

    longest_closed_s: float = 3600.0
    """A provider that asks for more is asked again after an hour: one answer must not stop an account for a day."""

    doubles_in_s: float = 60.0
    """A rate that was halved is back after so long; without a configured one it is forgotten after four times that."""

    lowest_rate: float = 0.5
    """Calls a second below which no 429 presses the learnt rate."""

    near_s: float = 0.5
    """A tenant that has a turn at the account to come takes another one only within so many seconds. However many calls
    of one tenant wait, the first one of another finds a turn soon."""

    asks_again_s: float = 0.5
    """A tenant that found all places taken and was not heard of for so long waits no more."""

    lease_margin_s: float = 5.0
    """How much longer than its call may take a process owns its place in flight, or its probe."""


RULES = Rules()


@value
class Visit:
    """A call that asks to be let in. `provider` is integration and environment; `account` names whose limits count.

    `is_first`: no retry. Only such calls are the breaker's sample: four tries of one bad request are one piece of
    evidence, and a handful of bad requests must not look like an outage.
    """

    provider: str
    host: str
    account: str
    calls_per_second: float | None
    calls_in_flight: int | None
    timeout_s: float
    is_first: bool


@value
class Pass:
    """Leave to make one call. `begun_ms` is Redis' time, 0 without Redis; `id` names the place in flight."""

    id: str
    begun_ms: float
    is_probe: bool


@value
class Closed:
    """No call now; ask again after `wait_s`. `is_breaker`: the provider is down, not the account busy."""

    wait_s: float
    is_breaker: bool


class Ending(StrEnum):
    """How a call went, for the gate."""

    ANSWERED = "answered"
    FAILED = "failed"
    THROTTLED = "throttled"
    SILENT = "silent"  # says nothing about the provider: the request never left for a reason of ours


@value
class Aftermath:
    """What the gate says after a call. Seconds; None where nothing is to be minded.

    `open_for_s`: the breaker is open, so the failure was the provider's and no retry of this request is spent.
    `held_back_s`: the budget is low, and the next retry's turn comes after so long.
    """

    open_for_s: float | None = None
    held_back_s: float | None = None


def ending_of(event: Event, verdict: Verdict) -> Ending:
    """Every answer that is no server error counts as a sign of life, whatever it says about the request."""
    match verdict.meaning:
        case Meaning.TRANSIENT:
            return Ending.FAILED
        case Meaning.THROTTLED:
            return Ending.THROTTLED
    if event in (Trouble.BAD_ADDRESS, Trouble.BAD_CERTIFICATE, Trouble.ADDRESS_REFUSED):
        return Ending.SILENT
    if isinstance(event, Status) and event.endpoint == "token":
        return Ending.SILENT  # the login was refused, perhaps long ago and from memory
    return Ending.ANSWERED


def is_about_account(headers: Mapping[str, str] | None) -> bool:
    """Whether a refusal for asking too much counts for all calls of the account, or for this one only.

    A provider that says in the same breath how much of the allowance remains (draft-ietf-httpapi-ratelimit-headers),
    and that it is not used up, has refused the request for a reason of its own.
    """
    return not _count(headers, "ratelimit-remaining")


def remaining(headers: Mapping[str, str] | None) -> int | None:
    """How many more calls the provider says its account may make for now; None if it doesn't."""
    standard = _count(headers, "ratelimit-remaining")
    return standard if standard is not None else _count(headers, "x-ratelimit-remaining")


def _count(headers: Mapping[str, str] | None, name: str) -> int | None:
    said = (headers or {}).get(name, "").strip()
    return int(said[:10]) if said.isascii() and said.isdigit() else None
