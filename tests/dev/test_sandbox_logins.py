"""Tokens, the other two ways to sign a call, lockout, allowance and idempotency keys, with a clock set by hand."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from worker.dev.sandbox.server import SandboxServer
from worker.dev.sandbox.settings import API_KEY, CLIENT_ID, CLIENT_SECRET, SandboxSettings

DRIVERS, CRIMINAL = "/v2.7/household-drivers", "/v1.0/criminal"
CREDENTIALS = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}


@dataclass
class Clock:
    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sandbox(clock: Clock) -> Iterator[SandboxServer]:
    with SandboxServer(SandboxSettings(now=clock)) as server:
        yield server


@pytest.fixture
def client(sandbox: SandboxServer) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=sandbox.url, trust_env=False) as client:
        yield client


def log_in(client: httpx2.Client, **form: str) -> httpx2.Response:
    return client.post("/oauth2/token", data={"grant_type": "client_credentials"} | CREDENTIALS | form)


def bearer(client: httpx2.Client, **form: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {log_in(client, **form).json()['access_token']}"}


def search(license_number: str = "TX00000001") -> dict[str, Any]:
    driver = {
        "first_name": "Vera",
        "last_name": "Valid",
        "date_of_birth": "1980-05-15",
        "license_number": license_number,
        "state_code": "TX",
    }
    return {"search": {"driver": driver}}


def ask(
    client: httpx2.Client, headers: dict[str, str], license_number: str = "TX00000001", **more: str
) -> httpx2.Response:
    return client.post(DRIVERS, json=search(license_number), headers=headers | more)


def keyed(client: httpx2.Client, key: str, license_number: str = "TX00000001") -> httpx2.Response:
    return ask(client, {"X-API-Key": API_KEY, "Idempotency-Key": key, "X-Correlation-Id": "c"}, license_number)


def error_code(response: httpx2.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error_code"]


def test_a_token_comes_for_credentials_in_the_body_or_in_basic(client: httpx2.Client) -> None:
    in_body = log_in(client, scope="drivers criminal vehicles")
    in_basic = client.post("/oauth2/token", data={"grant_type": "client_credentials"}, auth=(CLIENT_ID, CLIENT_SECRET))
    for response in (in_body, in_basic):
        token = response.json()
        assert response.headers["Cache-Control"] == "no-store"
        assert (token["token_type"], token["expires_in"]) == ("Bearer", 300)
        assert token["scope"] == "drivers criminal vehicles"
        assert ask(client, {"Authorization": f"Bearer {token['access_token']}"}).status_code == 200


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"scope": "drivers rates"}, 400, "invalid_scope"),
    ],
)
def test_the_token_endpoint_refuses_in_the_words_of_the_rfc(
    client: httpx2.Client, form: dict[str, str], status: int, error: str
) -> None:
    response = log_in(client, **form)
    assert (response.status_code, response.json()["error"]) == (status, error)


def test_a_token_lives_three_hundred_seconds(client: httpx2.Client, clock: Clock) -> None:
    token = bearer(client)
    clock.now += 299
    assert ask(client, token).status_code == 200
    clock.now += 1
    assert error_code(ask(client, token)) == (401, "TOKEN_EXPIRED")


def test_a_token_opens_only_the_apis_of_its_scope(client: httpx2.Client) -> None:
    token = bearer(client, scope="criminal")
    assert error_code(ask(client, token)) == (403, "FORBIDDEN_SCOPE")
    persons = [{"first_name": "Al", "last_name": "Clear", "date_of_birth": "1981-01-01"}]
    assert client.post(CRIMINAL, json={"persons": persons}, headers=token).status_code == 200


def test_basic_and_api_key_sign_a_call_too(client: httpx2.Client) -> None:
    basic = client.post(DRIVERS, json=search(), auth=("sandbox", "svc:sandbox-password"))
    assert basic.status_code == 200
    assert ask(client, {"X-API-Key": API_KEY}).status_code == 200
    assert error_code(ask(client, {"X-API-Key": "wrong"})) == (401, "INVALID_API_KEY")
    wrong = client.post(DRIVERS, json=search(), auth=("sandbox", "svc:wrong"))
    assert error_code(wrong) == (401, "UNAUTHORIZED")
    assert error_code(ask(client, {"Authorization": "Basic %%%"})) == (401, "UNAUTHORIZED")
    assert error_code(ask(client, {"Authorization": "Bearer unknown"})) == (401, "UNAUTHORIZED")
    assert error_code(ask(client, {})) == (401, "UNAUTHORIZED")


def test_five_bad_logins_lock_the_client_for_the_rest_of_two_minutes(client: httpx2.Client, clock: Clock) -> None:
    for _ in range(5):
        assert log_in(client, client_secret="wrong").status_code == 401
        clock.now += 10
    locked = log_in(client)
    assert locked.status_code == 429
    assert int(locked.headers["Retry-After"]) == 70
    assert log_in(client, client_id="another").status_code == 401
    clock.now += 70
    assert log_in(client).status_code == 200


def test_a_reset_forgives_bad_logins_and_keeps_tokens(client: httpx2.Client, sandbox: SandboxServer) -> None:
    token = bearer(client)
    for _ in range(6):
        log_in(client, client_secret="wrong")
    sandbox.reset()
    assert log_in(client).status_code == 200
    assert ask(client, token).status_code == 200


def test_calls_beyond_the_allowance_are_throttled_until_the_window_ends(clock: Clock) -> None:
    clock.now -= clock.now % 60
    settings = SandboxSettings(now=clock, calls_per_minute=2)
    with SandboxServer(settings) as sandbox, httpx2.Client(base_url=sandbox.url, trust_env=False) as client:
        key = {"X-API-Key": API_KEY}
        assert [ask(client, key).headers["RateLimit-Remaining"] for _ in range(2)] == ["1", "0"]
        clock.now += 15
        throttled = ask(client, key)
        assert error_code(throttled) == (429, "RATE_LIMIT_EXCEEDED")
        assert throttled.headers["Retry-After"] == throttled.headers["RateLimit-Reset"] == "45"
        clock.now += 45
        assert ask(client, key).status_code == 200


def test_the_same_key_gives_the_same_answer_and_says_so(client: httpx2.Client, sandbox: SandboxServer) -> None:
    first, second = keyed(client, "k-1"), keyed(client, "k-1")
    assert "Idempotent-Replay" not in first.headers
    assert second.headers["Idempotent-Replay"] == "true"
    assert second.content == first.content
    assert second.headers["X-Transaction-Id"] == first.headers["X-Transaction-Id"]
    assert [entry["replayed"] for entry in sandbox.journal()] == [False, True]
    assert keyed(client, "k-2").content != first.content


def test_the_same_key_with_another_body_is_a_conflict(client: httpx2.Client) -> None:
    keyed(client, "k-1")
    conflict = keyed(client, "k-1", "TX00000002")
    assert error_code(conflict) == (409, "IDEMPOTENCY_CONFLICT")
    assert keyed(client, "k-1").headers["Idempotent-Replay"] == "true"


def test_a_key_is_kept_for_a_day(client: httpx2.Client, clock: Clock) -> None:
    first = keyed(client, "k-1")
    clock.now += 24 * 3600 - 1
    assert keyed(client, "k-1").content == first.content
    clock.now += 1
    assert keyed(client, "k-1").content != first.content
    clock.now += 24 * 3600
    assert keyed(client, "k-1", "TX00000002").status_code == 200


@pytest.mark.parametrize("license_number", ["TX00000151", "TX00000054"])
def test_neither_429_nor_401_is_kept(client: httpx2.Client, license_number: str) -> None:
    refused, answered = keyed(client, "k-1", license_number), keyed(client, "k-1", license_number)
    assert refused.status_code in (401, 429)
    assert answered.status_code == 200
    assert "Idempotent-Replay" not in answered.headers


def test_an_error_of_the_provider_is_kept_and_a_new_key_asks_anew(client: httpx2.Client) -> None:
    twice = "TX00000150"
    assert [keyed(client, "k-1", twice).status_code for _ in range(4)] == [500] * 4
    assert [keyed(client, key, twice).status_code for key in ("k-2", "k-3")] == [500, 200]
