"""Scenarios that refuse, throttle, spoil the answer or abuse the line, as a client meets them."""

import gzip
import io
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2
import pytest

from worker.dev.sandbox.personas import PERSONAS
from worker.dev.sandbox.server import SandboxServer
from worker.dev.sandbox.wire import BOMB_BYTES, HUGE_BYTES

DRIVERS = "/v2.7/household-drivers"
NUMBERS = {persona.scenario: persona.license_number for persona in PERSONAS if persona.api == "drivers"}
BASIC = "Basic c2FuZGJveDpzdmM6c2FuZGJveC1wYXNzd29yZA=="


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxServer]:
    with SandboxServer() as server:
        yield server


@pytest.fixture
def client(sandbox: SandboxServer) -> Iterator[httpx2.Client]:
    sandbox.reset()
    with httpx2.Client(base_url=sandbox.url, headers={"Authorization": BASIC}, trust_env=False) as client:
        yield client


def search(scenario: str) -> dict[str, Any]:
    driver = {
        "first_name": "Tess",
        "last_name": "Test",
        "date_of_birth": "1980-05-15",
        "license_number": NUMBERS[scenario],
        "state_code": "TX",
    }
    address = {"street_1": "100 Test Ln", "city": "Austin", "state": "TX", "zip_code": "78701"}
    return {"search": {"driver": driver, "address": address}}


def ask(client: httpx2.Client, scenario: str, correlation_id: str = "c-1") -> httpx2.Response:
    return client.post(DRIVERS, json=search(scenario), headers={"X-Correlation-Id": correlation_id})


@pytest.mark.parametrize(
    ("scenario", "statuses"),
    [
        ("500", [500, 500, 500]),
        ("500_twice", [500, 500, 200]),
        ("429", [429, 429]),
        ("429_then_ok", [429, 200]),
        ("429_date", [429, 429]),
        ("503_retry_after_3600", [503, 503]),
        ("504", [504, 504]),
        ("588", [588, 588]),
        ("418", [418, 418]),
        ("token_expired", [401, 200]),
        ("token_always_rejected", [401, 401]),
        ("redirect", [302, 302]),
    ],
)
def test_the_statuses_of_repeated_calls(client: httpx2.Client, scenario: str, statuses: list[int]) -> None:
    assert [ask(client, scenario).status_code for _ in statuses] == statuses


def test_counting_is_separate_for_each_correlation_id(client: httpx2.Client) -> None:
    statuses = [ask(client, "500_twice", correlation_id).status_code for correlation_id in "aabbab"]
    assert statuses == [500, 500, 500, 500, 200, 200]


@pytest.mark.parametrize(
    ("scenario", "code"),
    [
        ("500", "INTERNAL_ERROR"),
        ("429", "RATE_LIMIT_EXCEEDED"),
        ("503_retry_after_3600", "SERVICE_UNAVAILABLE"),
        ("504", "UPSTREAM_TIMEOUT"),
        ("token_expired", "TOKEN_EXPIRED"),
        ("token_always_rejected", "UNAUTHORIZED"),
    ],
)
def test_an_error_carries_its_code(client: httpx2.Client, scenario: str, code: str) -> None:
    assert ask(client, scenario).json()["error_code"] == code


def test_retry_after_comes_in_seconds_as_a_date_and_not_at_all(client: httpx2.Client) -> None:
    assert ask(client, "429").headers["Retry-After"] == "2"
    assert ask(client, "503_retry_after_3600").headers["Retry-After"] == "3600"
    assert "Retry-After" not in ask(client, "429_then_ok").headers
    dated = ask(client, "429_date").headers
    wait = parsedate_to_datetime(dated["Retry-After"]) - parsedate_to_datetime(dated["Date"])
    assert 1 <= wait.total_seconds() <= 3


def test_the_redirect_points_where_no_caller_should_go(client: httpx2.Client) -> None:
    assert ask(client, "redirect").headers["Location"] == "http://169.254.169.254/"


def test_no_hit_may_be_an_empty_body(client: httpx2.Client) -> None:
    response = ask(client, "no_body")
    assert (response.status_code, response.content) == (200, b"")


def test_malformed_json_is_labelled_json(client: httpx2.Client) -> None:
    response = ask(client, "malformed_json")
    assert response.headers["Content-Type"] == "application/json"
    with pytest.raises(json.JSONDecodeError):
        json.loads(response.content)


def test_html_comes_with_status_200(client: httpx2.Client) -> None:
    response = ask(client, "html_200")
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/html")


def test_the_wrong_charset_is_not_the_one_it_says(client: httpx2.Client) -> None:
    response = ask(client, "wrong_charset")
    assert "utf-8" in response.headers["Content-Type"]
    with pytest.raises(UnicodeDecodeError):
        response.content.decode("utf-8")


def test_the_nul_character_is_legal_json_in_a_mapped_field(client: httpx2.Client) -> None:
    response = ask(client, "nul_char")
    assert b"\\u0000" in response.content
    address = response.json()["driver_data"]["address_info"]["current_address"]
    assert address["city"] == "Austin\x00"


def test_a_status_in_the_body_contradicts_the_one_outside(client: httpx2.Client) -> None:
    response = ask(client, "body_status_500")
    assert (response.status_code, response.json()["response_status_code"]) == (200, 500)


@contextmanager
def asked(sandbox: SandboxServer, scenario: str) -> Iterator[socket.socket]:
    """A plain socket on which the question has just been sent."""
    sandbox.reset()
    body = json.dumps(search(scenario)).encode()
    head = f"POST {DRIVERS} HTTP/1.1\r\nHost: sandbox\r\nAuthorization: {BASIC}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    host, port = sandbox.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as line:
        line.sendall(head.encode() + body)
        yield line


def read_into(data: io.BytesIO, line: socket.socket) -> None:
    while chunk := line.recv(1 << 20):
        data.write(chunk)


def read_all(line: socket.socket) -> bytes:
    data = io.BytesIO()
    read_into(data, line)
    return data.getvalue()


def parts(answer: bytes) -> tuple[dict[str, str], bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")[1:]
    return dict(line.lower().split(": ", 1) for line in lines), body


def journal_once(sandbox: SandboxServer, **wanted: object) -> None:
    """Wait until there is one journal entry, and it has these values."""
    deadline = time.monotonic() + 10
    while True:
        seen = [{name: entry[name] for name in wanted} for entry in sandbox.journal()]
        if seen == [wanted]:
            return
        assert time.monotonic() < deadline, seen


def test_timeout_takes_the_question_and_stays_silent(sandbox: SandboxServer) -> None:
    with asked(sandbox, "timeout") as line:
        journal_once(sandbox, scenario="timeout", status="never", client_gone=False)
        line.settimeout(0.3)
        with pytest.raises(TimeoutError):
            line.recv(1)
    journal_once(sandbox, status="never", client_gone=True)


def test_drip_headers_leaves_even_the_status_line_unfinished(sandbox: SandboxServer) -> None:
    with asked(sandbox, "drip_headers") as line:
        received = [line.recv(100) for _ in range(4)]
    assert b"HTTP/1.1 200 OK".startswith(b"".join(received))
    journal_once(sandbox, status="never", client_gone=True)


def test_drip_body_sends_the_headers_at_once_and_then_single_bytes(sandbox: SandboxServer) -> None:
    with asked(sandbox, "drip_body") as line:
        received = line.recv(10_000)
        while b"\r\n\r\n" not in received:
            received += line.recv(10_000)
        headers, begun = parts(received)
        begun += line.recv(100) + line.recv(100)
    assert len(begun) < 10 < int(headers["content-length"])
    journal_once(sandbox, status="never", client_gone=True)


def test_connect_reset_ends_before_the_first_byte(sandbox: SandboxServer) -> None:
    with asked(sandbox, "connect_reset") as line, pytest.raises(ConnectionResetError):
        line.recv(1)
    journal_once(sandbox, status="reset", client_gone=False)


def test_reset_mid_body_ends_in_a_reset_after_a_part(sandbox: SandboxServer) -> None:
    received = io.BytesIO()
    with asked(sandbox, "reset_mid_body") as line, pytest.raises(ConnectionResetError):
        read_into(received, line)
    headers, body = parts(received.getvalue())
    assert 0 < len(body) < int(headers["content-length"])
    journal_once(sandbox, status="reset", client_gone=False)


def test_a_truncated_body_ends_in_order_but_too_early(sandbox: SandboxServer) -> None:
    with asked(sandbox, "truncated_body") as line:
        headers, body = parts(read_all(line))
    assert len(body) < int(headers["content-length"])
    journal_once(sandbox, status=200)


def test_huge_is_fifty_megabytes_of_good_json(sandbox: SandboxServer) -> None:
    with asked(sandbox, "huge") as line:
        headers, body = parts(read_all(line))
    assert len(body) == int(headers["content-length"]) > HUGE_BYTES
    assert body[HUGE_BYTES:].startswith(b"{")
    journal_once(sandbox, status=200, client_gone=False)


def test_a_client_that_leaves_the_flood_is_noted(sandbox: SandboxServer) -> None:
    with asked(sandbox, "huge") as line:
        line.recv(1000)
    journal_once(sandbox, status="never", client_gone=True)


def test_the_gzip_bomb_is_a_megabyte_that_inflates_to_a_gigabyte(sandbox: SandboxServer) -> None:
    with asked(sandbox, "gzip_bomb") as line:
        headers, body = parts(read_all(line))
    assert headers["content-encoding"] == "gzip"
    assert len(body) < 2_000_000
    inflated = 0
    with gzip.GzipFile(fileobj=io.BytesIO(body)) as unzipped:  # checks length and checksum at the end
        while chunk := unzipped.read(1 << 22):
            inflated += len(chunk)
    assert inflated == BOMB_BYTES
