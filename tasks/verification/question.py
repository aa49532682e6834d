"""What every question to the provider has: how it is called, under which keys, and whether it was asked before."""

import uuid
from collections.abc import Mapping
from dataclasses import field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urljoin, urlsplit
from uuid import UUID

from models.vocabularies import CallReason, Environment, ProviderApi
from tasks.verification.address import is_allowed_host
from tasks.verification.scrutiny import LENIENT, Scrutiny
from tasks.verification.tally import Tally, calls_left, first_reason
from worker.errors import Misconfigured
from worker.outcomes import GiveUp
from worker.values import value

KEY = "Idempotency-Key"
CORRELATION = "X-Correlation-Id"

LONGEST_TIMEOUT_S = 90
"""More than any provider needs, and little enough for a run to hold a whole call."""


@value(repr=False)
class Subject:
    """A person as the platform knows him. Prints as nothing: it is personal data throughout."""

    first_name: str
    last_name: str
    date_of_birth: date


@value(repr=False)
class PostalAddress:
    street_1: str | None
    street_2: str | None
    city: str | None
    state: str | None
    zip_code: str | None


@value
class Account:
    """How the provider is called on this request's behalf. Secrets in `auth_config` are ciphertext.

    The two limits count for everybody who calls with the same credentials; None is no limit.
    """

    configuration_id: int
    integration_code: str
    api: ProviderApi
    environment: Environment
    is_required: bool
    auth_type: str
    auth_config: Mapping[str, Any]
    url: str
    timeout_s: int
    retry_attempts: int
    cache_ttl_hours: int
    max_requests_per_second: float | None
    max_calls_in_flight: int | None
    keeps_owner_id: bool
    """The last four digits of a vehicle owner's number are kept; by default nothing of it is."""

    integration_id: int
    price: Decimal | None
    """Of one call, in US dollars; None is not known."""


@value
class Pending:
    """A search that was accepted `for_s` seconds ago and is answered at `url`."""

    url: str
    for_s: float


@value(repr=False)
class KnownAnswer:
    """The answer that request `request_id` got; `body` is JSON text, None where nothing was found.

    It may be used again until `until`.
    """

    request_id: int
    status_code: int
    body: str | None
    transaction_id: str | None
    until: datetime


@value(kw_only=True)
class Question:
    """One request; each API adds what it is about.

    `idempotency_key` is that of the next call, `retry_count` the retries spent by earlier runs, `body_sent` what they
    asked; `calls_made` counts the calls of earlier runs, but for looks at what was promised. `time_left_s` runs from
    the claim to the job's deadline. `text` is the same for all that ask the same, None for what is always asked; with a
    `known` answer there is no call.
    """

    request_id: int
    account: Account
    correlation_id: str
    idempotency_key: str
    retry_count: int
    body_sent: dict[str, Any] | None
    time_left_s: float | None
    calls_made: int = 0
    pending: Pending | None = None
    scrutiny: Scrutiny = LENIENT
    tenant: str = "system"
    text: str | None = None
    quote_id: UUID | None = None
    is_forced: bool = False
    known: KnownAnswer | None = None
    tally: Tally = field(default_factory=Tally)


Basics = dict[str, Any]
"""The fields of `Question`, for an API's own question to begin with."""


def basics(row: Any, time_left: timedelta | None, new_key: str, scrutiny: Scrutiny) -> Basics | GiveUp[Any]:
    """Of a row of `question_store.load`. `new_key` serves a request that was never sent."""
    if problem := _problem(row):
        return problem
    try:
        url = full_url(row.endpoint_url, row.base_url, row.configuration_id)
        _check_hosts(row, url)
    except Misconfigured as error:
        return GiveUp("configuration_error", str(error))
    return {
        "request_id": row.request_id,
        "account": Account(
            row.configuration_id,
            row.integration_code,
            row.api,
            row.environment,
            row.is_required,
            row.auth_type,
            row.auth_config,
            url,
            row.timeout_seconds,
            row.retry_attempts,
            row.cache_ttl_hours,
            None if row.max_requests_per_second is None else float(row.max_requests_per_second),
            row.max_calls_in_flight,
            row.keeps_owner_id,
            row.integration_id,
            row.price_per_call,
        ),
        "correlation_id": row.correlation_id,
        "idempotency_key": _key(row, new_key),
        "retry_count": row.retry_count,
        "calls_made": row.calls_made,
        "body_sent": row.request_body,
        "time_left_s": time_left.total_seconds() if time_left is not None else None,
        "pending": None if row.poll_url is None else Pending(row.poll_url, row.pending_for_s),
        "scrutiny": scrutiny,
        "tenant": row.tenant or "system",
        "text": row.text,
        "quote_id": row.quote_id,
        "is_forced": row.is_forced,
        "tally": Tally(calls_left(row.retry_attempts, row.retry_count), _first_reason(row)),
    }


def _first_reason(row: Any) -> CallReason:
    is_repeated = row.request_body is not None or row.retry_count > 0
    return first_reason(
        is_unsettled=row.request_status == "sent", is_promised=row.poll_url is not None, is_repeated=is_repeated
    )


def _check_hosts(row: Any, url: str) -> None:
    """Raises `Misconfigured` for a host that the integration may not be called at, also to fetch a token."""
    for name, address in (("endpoint_url", url), ("token_url", (row.auth_config or {}).get("token_url"))):
        if isinstance(address, str) and not is_allowed_host(address, row.allowed_hosts):
            raise Misconfigured(
                f"The host of {name} of configuration {row.configuration_id} is not among the allowed_hosts of its"
                " integration."
            )


def _problem(row: Any) -> GiveUp[Any] | None:
    if not row.is_active:
        return GiveUp("integration_disabled", f"Integration {row.integration_code} is switched off.")
    if not row.is_enabled:
        return GiveUp("integration_disabled", f"Configuration {row.configuration_id} is switched off.")
    if row.timeout_seconds > LONGEST_TIMEOUT_S:
        return GiveUp(
            "configuration_error",
            f"The timeout_seconds of configuration {row.configuration_id} is above {LONGEST_TIMEOUT_S}.",
        )
    if row.api is None:
        return GiveUp("configuration_error", f"Integration {row.integration_code} names no API.")
    return None


def person(row: Any) -> Subject | GiveUp[Any]:
    """The driver a row is about; all three are needed to tell him from others."""
    if row.driver_id is None:
        return GiveUp("unknown_driver", f"Request {row.request_id} names no driver.")
    for name in ("first_name", "last_name", "date_of_birth"):
        if not getattr(row, name):
            return GiveUp("incomplete_driver", f"Driver {row.driver_id} has no {name}.")
    return Subject(row.first_name, row.last_name, row.date_of_birth)


def postal_address(row: Any) -> PostalAddress | None:
    """The address a row is about; without a street there is none."""
    if not row.street_1:
        return None
    return PostalAddress(row.street_1, row.street_2, row.city, row.state, row.zip_code)


def _key(row: Any, new_key: str) -> str:
    """The key of the next call: a new one after an answer, else that of the call whose answer never came."""
    used: str | None = (row.request_headers or {}).get(KEY)
    if used is None:
        return new_key
    if row.response_status_code is None or row.poll_url is not None:
        return used  # a look for a promised answer takes no key: the last one stays that of the search
    return next_key(used)


TRANSACTION = {"department_id": "1", "user_id": "svc", "user_name": "worker"}
"""Who asks, in every body."""


def searched(address: PostalAddress) -> dict[str, Any]:
    """An address as a search takes it."""
    place = {"street_1": address.street_1, "city": address.city, "state": address.state, "zip_code": address.zip_code}
    return place | ({"street_2": address.street_2} if address.street_2 else {})


def headers(question: Question, idempotency_key: str) -> dict[str, str]:
    """The headers of a call that may be stored: whoever signs it adds the others."""
    return {KEY: idempotency_key, CORRELATION: question.correlation_id}


def client_ref(driver_id: int) -> str:
    """Our name for the driver, which the provider repeats in its answer."""
    return f"driver:{driver_id}"


def next_key(idempotency_key: str) -> str:
    """The key of the call after an answered one.

    Derived, not drawn: a run that is repeated after a crash finds the answers its forerunner got, each under its own
    key, and comes to the same next one. Nothing has to be stored in between.
    """
    return str(uuid.uuid5(uuid.NAMESPACE_OID, idempotency_key))


def full_url(endpoint_url: str, base_url: str | None, configuration_id: int) -> str:
    """The address of the product, absolute. Raises `Misconfigured`."""
    if base_url and "://" not in endpoint_url:
        endpoint_url = urljoin(f"{base_url.rstrip('/')}/", endpoint_url.lstrip("/"))
    return checked_url(endpoint_url, f"endpoint_url of configuration {configuration_id}")


def checked_url(url: str, name: str) -> str:
    """The URL, if it is an absolute one of the web. Raises `Misconfigured`."""
    try:
        parts = urlsplit(url)
        is_web = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_web = False
    if not is_web:
        raise Misconfigured(f"The {name} is not an http or https URL.")
    return url
