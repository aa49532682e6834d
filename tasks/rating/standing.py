"""Where a quote stands before it is rated: whether there is anything to do, and by which plan."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from uuid import UUID

from tasks.rating.inputs import read_inputs
from tasks.rating.plan import Plan
from tasks.rating.premium import Rated, rate
from tasks.rating.refusal import Refused


@dataclass(frozen=True, slots=True)
class QuoteRow:
    """A quote as it was read. `day` is the one its rates are taken from; `token` changes with every change of the row.

    `open_request` is a required verification that has not succeeded, with its status.
    """

    id: UUID
    status: str
    is_closed: bool
    state: str
    product_type: str
    day: date
    premium: Decimal | None
    plan_version: str | None
    input_hash: str | None
    problem: str | None
    inputs: str
    token: str
    open_request: int | None
    open_status: str | None


@dataclass(frozen=True, slots=True)
class Closed:
    """Bound, expired or declined: never touched."""


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The premium is that of these inputs and this plan already."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A required verification is open, or has failed, which a person has to settle."""

    reason: str
    has_failed: bool


@dataclass(frozen=True, slots=True)
class ToRate:
    """Everything a run needs of one quote."""

    quote: QuoteRow
    input_hash: str
    plan: Plan


@dataclass(frozen=True, slots=True)
class Result:
    """What came of rating it."""

    work: ToRate
    rated: Rated | Refused


Standing = Closed | Unchanged | Waiting | Refused | ToRate


def standing(quote: QuoteRow, plan_on: Callable[[date], Plan]) -> Standing:
    """What is to be done about a quote. `plan_on` raises `Refused` where there is no plan."""
    if quote.is_closed:
        return Closed()
    if quote.open_request is not None:
        has_failed = quote.open_status in ("failed", "timeout")
        fate = f"ended as {quote.open_status}" if has_failed else "is still open"
        return Waiting(f"the required verification of request {quote.open_request} {fate}", has_failed)
    try:
        plan = plan_on(quote.day)
    except Refused as refused:
        return refused
    input_hash = hashlib.sha256(quote.inputs.encode()).hexdigest()
    is_rated = quote.status == "quoted" and quote.problem is None and quote.premium is not None
    if is_rated and (quote.input_hash, quote.plan_version) == (input_hash, plan.version):
        return Unchanged()
    return ToRate(quote, input_hash, plan)


def rate_one(work: ToRate) -> Result:
    """Rate it; a refusal is a result too."""
    try:
        return Result(work, rate(read_inputs(work.quote.inputs), work.plan))
    except Refused as refused:
        return Result(work, refused)
