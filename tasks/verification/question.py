"""What is asked: the rows of one request as plain data, and the body the provider expects."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any
from urllib.parse import urljoin, urlsplit

from worker.errors import Misconfigured

LONGEST_TIMEOUT_S = 90
"""More than any provider needs, and little enough for a run to hold a whole call."""


@dataclass(frozen=True, slots=True, repr=False)
class Subject:
    """The driver as the platform knows him. Prints as nothing: it is personal data throughout."""

    first_name: str
    last_name: str
    date_of_birth: date
    state_code: str


@dataclass(frozen=True, slots=True, repr=False)
class PostalAddress:
    street_1: str
    street_2: str | None
    city: str | None
    state: str | None
    zip_code: str | None


@dataclass(frozen=True, slots=True)
class Account:
    """How the provider is called on this request's behalf. Secrets in `auth_config` are ciphertext."""

    configuration_id: int
    integration_code: str
    auth_type: str
    auth_config: Mapping[str, Any]
    url: str
    timeout_s: int
    retry_attempts: int
    cache_ttl_hours: int


@dataclass(frozen=True, slots=True)
class Question:
    """One request with everything that its verification needs.

    `idempotency_key` is that of the next call, `retry_count` the retries spent by earlier runs, `body_sent` what they
    asked; `time_left_s` runs from the claim to the job's deadline.
    """

    request_id: int
    driver_id: int
    license_id: int
    address_id: int | None
    account: Account
    subject: Subject
    sealed_license_number: str
    address: PostalAddress | None
    correlation_id: str
    idempotency_key: str
    retry_count: int
    body_sent: dict[str, Any] | None
    time_left_s: float | None


def request_body(question: Question, license_number: str) -> dict[str, Any]:
    """The body of a household drivers search (version 2.7). Equal questions give equal bodies, byte for byte."""
    subject, address = question.subject, question.address
    search: dict[str, Any] = {
        "driver": {
            "client_ref": client_ref(question.driver_id),
            "first_name": subject.first_name,
            "last_name": subject.last_name,
            "date_of_birth": subject.date_of_birth.isoformat(),
            "license_number": license_number,
            "state_code": subject.state_code,
        }
    }
    if address is not None:
        search["address"] = {
            "street_1": address.street_1,
            "city": address.city,
            "state": address.state,
            "zip_code": address.zip_code,
        } | ({"street_2": address.street_2} if address.street_2 else {})
    return {
        "transaction_info": {"department_id": "1", "user_id": "svc", "user_name": "worker"},
        "search": search,
        "options": {"include_household": True, "include_criminal_history": False},
    }


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
