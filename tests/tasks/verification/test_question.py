"""Rows become questions, or a sentence about what is missing."""

from datetime import date, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import orjson
import pytest

from tasks.verification.apis import question
from tasks.verification.drivers.question import DriverQuestion, request_body
from tasks.verification.question import Question, checked_url, full_url, next_key
from tests.tasks.verification.factories import make_question
from worker.errors import Misconfigured
from worker.outcomes import GiveUp

ROW: dict[str, Any] = {
    "request_id": 7,
    "request_headers": None,
    "request_body": None,
    "response_status_code": None,
    "retry_count": 0,
    "calls_made": 0,
    "correlation_id": "c-1",
    "configuration_id": 3,
    "is_enabled": True,
    "endpoint_url": "https://dcs.example/v2.7/household-drivers",
    "auth_config": {},
    "timeout_seconds": 30,
    "retry_attempts": 3,
    "cache_ttl_hours": 24,
    "environment": "sandbox",
    "is_required": False,
    "max_requests_per_second": None,
    "max_calls_in_flight": None,
    "price_per_call": None,
    "request_status": "pending",
    "tenant": None,
    "is_forced": False,
    "text": "1 x 42.1",
    "integration_id": 1,
    "allowed_hosts": None,
    "integration_code": "DCS_HOUSEHOLD_DRIVERS",
    "is_active": True,
    "api": "drivers",
    "keeps_owner_id": False,
    "poll_url": None,
    "quote_id": None,
    "mates": None,
    "auth_type": "oauth2",
    "base_url": None,
    "driver_id": 42,
    "first_name": "Vera",
    "last_name": "Valid",
    "date_of_birth": date(1980, 5, 15),
    "license_id": 43,
    "license_number": "enc:v1:k1:x",
    "state_code": "TX",
    "address_id": 44,
    "street_1": "100 Test Ln",
    "street_2": None,
    "city": "Austin",
    "state": "TX",
    "zip_code": "78701",
}


def asked(**changes: Any) -> Question | GiveUp[Any]:
    return question(SimpleNamespace(**(ROW | changes)), None, "new-key")


def test_the_body_is_the_contracts() -> None:
    assert request_body(make_question(), "TX00000001") == {
        "transaction_info": {"department_id": "1", "user_id": "svc", "user_name": "worker"},
        "search": {
            "driver": {
                "client_ref": "driver:42",
                "first_name": "Vera",
                "last_name": "Valid",
                "date_of_birth": "1980-05-15",
                "license_number": "TX00000001",
                "state_code": "TX",
            },
            "address": {"street_1": "101 Test Ln", "city": "Austin", "state": "TX", "zip_code": "78701"},
        },
        "options": {"include_household": True, "include_criminal_history": False},
    }


def test_equal_questions_give_equal_bytes() -> None:
    bodies = {orjson.dumps(request_body(make_question(), "TX1")) for _ in range(3)}
    assert len(bodies) == 1


@pytest.mark.parametrize("street_1", [None, ""])
def test_without_a_street_no_address_is_searched(street_1: str | None) -> None:
    made = asked(street_1=street_1)
    assert isinstance(made, DriverQuestion)
    assert (made.address, made.address_id) == (None, None)
    assert "address" not in request_body(made, "TX1")["search"]


@pytest.mark.parametrize(
    ("changes", "code", "named"),
    [
        ({"is_active": False}, "integration_disabled", "DCS_HOUSEHOLD_DRIVERS"),
        ({"is_enabled": False}, "integration_disabled", "onfiguration 3"),
        ({"driver_id": None}, "unknown_driver", "equest 7"),
        ({"license_id": None}, "unknown_license", "river 42"),
        ({"first_name": None}, "incomplete_driver", "first_name"),
        ({"last_name": None}, "incomplete_driver", "last_name"),
        ({"date_of_birth": None}, "incomplete_driver", "date_of_birth"),
        ({"license_number": None}, "incomplete_license", "license_number"),
        ({"state_code": None}, "incomplete_license", "state_code"),
        ({"timeout_seconds": 91}, "configuration_error", "timeout_seconds of configuration 3"),
        ({"endpoint_url": "v2.7/drivers"}, "configuration_error", "endpoint_url of configuration 3"),
    ],
)
def test_what_cannot_be_asked_is_given_up_with_a_sentence(changes: dict[str, Any], code: str, named: str) -> None:
    outcome = asked(**changes)
    assert isinstance(outcome, GiveUp)
    assert outcome.code == code
    assert named in outcome.message
    assert "Vera" not in outcome.message


@pytest.mark.parametrize(
    ("endpoint", "base", "url"),
    [
        ("https://a.example/x", None, "https://a.example/x"),
        ("https://a.example/x", "https://b.example", "https://a.example/x"),
        ("/v2.7/drivers", "https://b.example/api/", "https://b.example/api/v2.7/drivers"),
        ("v2.7/drivers", "https://b.example/api", "https://b.example/api/v2.7/drivers"),
    ],
)
def test_a_relative_endpoint_hangs_on_the_integrations_base(endpoint: str, base: str | None, url: str) -> None:
    assert full_url(endpoint, base, 3) == url


@pytest.mark.parametrize("url", ["", "ftp://a.example", "https://", "//a.example", "https://a:99999/", "https://[::1"])
def test_a_url_that_is_none_is_named_not_repeated(url: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        checked_url(url, "token_url of configuration 3")
    assert str(caught.value) == "The token_url of configuration 3 is not an http or https URL."


def test_a_key_is_repeated_only_while_its_answer_is_unknown() -> None:
    def key(**changes: Any) -> str:
        made = asked(**changes)
        assert isinstance(made, Question)
        return made.idempotency_key

    used = {"Idempotency-Key": "used"}
    assert key() == "new-key"
    assert key(request_headers={}) == "new-key"
    assert key(request_headers=used) == "used"
    assert key(request_headers=used, response_status_code=500) == next_key("used")


def test_keys_follow_from_each_other() -> None:
    """So that a run repeated after a crash uses the keys of the run that crashed."""
    first = str(uuid4())
    chain = [first, next_key(first), next_key(next_key(first))]
    assert len(set(chain)) == 3
    assert next_key(first) == chain[1]


def test_a_question_prints_no_personal_data() -> None:
    made = asked()
    assert isinstance(made, Question)
    assert not any(word in repr(made) for word in ("Vera", "Valid", "1980", "Test Ln"))


def test_the_time_left_is_carried_in_seconds() -> None:
    made = question(SimpleNamespace(**ROW), timedelta(minutes=2), "k")
    assert isinstance(made, Question)
    assert made.time_left_s == 120
