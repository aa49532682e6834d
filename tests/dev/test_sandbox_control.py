"""The journal, faults and latency on demand, many clients at once, and how the server starts and refuses to."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx2
import pytest

from worker.dev.sandbox.chance import draw
from worker.dev.sandbox.faults import parse_faults
from worker.dev.sandbox.latency import Latency
from worker.dev.sandbox.server import SandboxServer, require_loopback, serve
from worker.dev.sandbox.settings import API_KEY, SandboxSettings
from worker.errors import Misconfigured

DRIVERS = "/v2.7/household-drivers"
KEY = {"X-API-Key": API_KEY}
PAYLOAD: dict[str, Any] = {
    "search": {
        "driver": {
            "first_name": "Vera",
            "last_name": "Valid",
            "date_of_birth": "1980-05-15",
            "license_number": "TX77000001",
            "state_code": "TX",
        }
    }
}


@pytest.fixture
def sandbox() -> Iterator[SandboxServer]:
    with SandboxServer() as server:
        yield server


@pytest.fixture
def client(sandbox: SandboxServer) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=sandbox.url, headers=KEY, trust_env=False) as client:
        yield client


def statuses(client: httpx2.Client, correlation_ids: list[str]) -> list[int]:
    return [
        client.post(DRIVERS, json=PAYLOAD, headers={"X-Correlation-Id": name}).status_code for name in correlation_ids
    ]


def test_the_journal_has_one_entry_a_call_and_no_credentials(client: httpx2.Client, sandbox: SandboxServer) -> None:
    headers = {"X-Correlation-Id": "c-1", "Idempotency-Key": "k-1"}
    client.post(f"{DRIVERS}?first_name=Vera", json=PAYLOAD, headers=headers)
    client.post(DRIVERS, json=PAYLOAD, headers={"X-API-Key": "wrong"})
    report = client.get("/_sandbox/journal")
    assert report.json()["received"] == 2
    first, second = report.json()["entries"]
    assert first.pop("time") <= second["time"]
    assert first == {
        "method": "POST",
        "path": DRIVERS,
        "correlation_id": "c-1",
        "idempotency_key": "k-1",
        "scenario": "ok",
        "status": 200,
        "replayed": False,
        "client_gone": False,
    }
    assert second["status"] == 401
    assert API_KEY not in report.text
    assert "Vera" not in report.text
    client.post("/_sandbox/reset")
    assert sandbox.journal() == []


def test_without_control_there_is_no_control_api() -> None:
    with SandboxServer(SandboxSettings()) as sandbox:
        assert httpx2.get(f"{sandbox.url}/_sandbox/journal", trust_env=False).status_code == 404
        assert len(sandbox.journal()) == 1


def test_faults_hit_the_same_calls_for_the_same_seed_in_any_order(client: httpx2.Client) -> None:
    names = [f"c-{nth}" for nth in range(100)]
    faults = {"rate_500": 0.2, "seed": 7}
    client.post("/_sandbox/faults", json=faults)
    first = dict(zip(names, statuses(client, names), strict=True))
    client.post("/_sandbox/faults", json=faults)
    again = dict(zip(reversed(names), statuses(client, names[::-1]), strict=True))
    assert first == again
    assert 10 <= list(first.values()).count(500) <= 30
    client.post("/_sandbox/faults", json=faults | {"seed": 8})
    assert dict(zip(names, statuses(client, names), strict=True)) != first
    client.post("/_sandbox/reset")
    assert set(statuses(client, names)) == {200}


def test_repeated_calls_of_one_correlation_id_draw_anew(client: httpx2.Client, sandbox: SandboxServer) -> None:
    sandbox.faults(rate_500=0.5, seed=1)
    assert set(statuses(client, ["c-1"] * 30)) == {200, 500}


@pytest.mark.parametrize(
    ("faults", "sentence"),
    [
        ({"rate_500": 2}, "rate_500 is a share"),
        ({"rate_500": "many"}, "rate_500 is a share"),
        ({"seed": "x"}, "seed is a whole number"),
        ({"rate_600": 1}, "no field 'rate_600'"),
        ({"latency": "soon"}, "latency 'soon'"),
        ([], "a JSON object"),
    ],
)
def test_unreadable_faults_are_refused_in_a_sentence(faults: object, sentence: str) -> None:
    with pytest.raises(Misconfigured, match=sentence):
        parse_faults(faults, seed=0, latency="0")


def test_refused_faults_answer_400_and_change_nothing(client: httpx2.Client) -> None:
    refused = client.post("/_sandbox/faults", json={"rate_500": -1})
    assert refused.status_code == 400
    assert "rate_500" in refused.json()["error"]
    assert statuses(client, ["c"]) == [200]


@pytest.mark.parametrize("text", ["50ms", "0.05", "0.05s", "drivers=50ms", "criminal=1s, drivers=50ms"])
def test_one_duration_is_the_median_of_a_spread(text: str) -> None:
    delay = Latency.parse(text).delays["drivers"]
    assert delay.at(0.5) == pytest.approx(0.05)
    assert delay.at(0.0) < 0.05 < delay.at(0.95) < 0.1


def test_a_range_is_even_and_an_api_not_named_answers_at_once() -> None:
    latency = Latency.parse("vehicles=50ms-200ms")
    assert latency.delays["vehicles"].at(0.5) == pytest.approx(0.125)
    assert "drivers" not in latency.delays
    assert Latency.parse("0").delays == {}


@pytest.mark.parametrize("text", ["", "fast", "-5ms", "5m", "200ms-50ms", "rates=5s", "drivers="])
def test_an_unreadable_latency_is_refused(text: str) -> None:
    with pytest.raises(Misconfigured, match="latency"):
        Latency.parse(text)


def test_draws_are_repeatable_and_evenly_spread() -> None:
    draws = [draw(7, "x", nth) for nth in range(2000)]
    assert draws == [draw(7, "x", nth) for nth in range(2000)]
    assert sum(draws) / len(draws) == pytest.approx(0.5, abs=0.03)
    assert all(0 <= number < 1 for number in draws)


def test_a_client_that_gives_up_waiting_is_noted_and_not_billed_twice(
    client: httpx2.Client, sandbox: SandboxServer
) -> None:
    sandbox.faults(latency="30s")
    key = {"Idempotency-Key": "k-1"}
    with pytest.raises(httpx2.ReadTimeout):
        client.post(DRIVERS, json=PAYLOAD, headers=key, timeout=0.2)
    assert client.post(DRIVERS, json=PAYLOAD, headers=key).headers["Idempotent-Replay"] == "true"
    first, second = sandbox.journal()
    assert (first["status"], first["client_gone"]) == ("never", True)
    assert (second["status"], second["replayed"]) == (200, True)


def connect(url: str) -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def test_a_hundred_clients_are_served_while_a_hundred_wait_in_vain(sandbox: SandboxServer) -> None:
    async def ask_all() -> list[str]:
        limits = httpx2.Limits(max_connections=None)
        async with httpx2.AsyncClient(base_url=sandbox.url, headers=KEY, limits=limits, trust_env=False) as client:
            calls = (client.post(DRIVERS, json=PAYLOAD, headers={"X-Correlation-Id": f"c-{nth}"}) for nth in range(100))
            return [answer.headers["X-Correlation-Id"] for answer in await asyncio.gather(*calls)]

    body = json.dumps(PAYLOAD)
    head = f"POST {DRIVERS} HTTP/1.1\r\nHost: x\r\nX-API-Key: {API_KEY}\r\nX-Sandbox-Scenario: timeout\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with ExitStack() as lines:
        for _ in range(100):
            lines.enter_context(connect(sandbox.url)).sendall((head + body).encode())
        assert asyncio.run(ask_all()) == [f"c-{nth}" for nth in range(100)]
        entries = sandbox.journal()
    assert [entry["status"] for entry in entries if entry["scenario"] == "ok"] == [200] * 100
    assert [entry["status"] for entry in entries if entry["scenario"] == "timeout"] == ["never"] * 100
    assert not any(entry["client_gone"] for entry in entries)


def read_until(line: socket.socket, ending: bytes) -> bytes:
    data = b""
    while not data.endswith(ending):
        chunk = line.recv(10_000)
        assert chunk, data
        data += chunk
    return data


def test_one_connection_serves_call_after_call_also_when_sent_ahead(sandbox: SandboxServer) -> None:
    request = b"GET /_sandbox/nothing%d HTTP/1.1\r\nHost: sandbox\r\n\r\n"
    with connect(sandbox.url) as line:
        for nth in range(3):
            line.sendall(request % nth)
            assert read_until(line, b"}").startswith(b"HTTP/1.1 404")
        line.sendall(request % 3 + request % 4)
        data = read_until(line, b"}")
        while data.count(b"HTTP/1.1 404") < 2:
            data += read_until(line, b"}")
        line.sendall(b"GET / HTTP/1.1\r\nHost: sandbox\r\nConnection: close\r\n\r\n")
        while line.recv(10_000):
            pass


def test_odd_but_legal_http_is_served(sandbox: SandboxServer) -> None:
    with connect(sandbox.url) as line:
        line.sendall(f"HEAD {DRIVERS} HTTP/1.1\r\nHost: sandbox\r\n\r\n".encode())
        head = read_until(line, b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 405")
        line.sendall(f"POST {DRIVERS} HTTP/1.1\r\nHost: x\r\nX-Correlation-Id: \xe9\r\n".encode("latin-1"))
        line.sendall(b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n")
        answer = read_until(line, b"}")
        assert answer.startswith(b"HTTP/1.1 401")
        assert b"X-Correlation-Id: \xe9\r\n" in answer


def test_what_is_not_http_is_answered_400_and_hung_up_on(sandbox: SandboxServer) -> None:
    with connect(sandbox.url) as line:
        line.sendall(b"hello\r\n\r\n")
        assert line.recv(100).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])  # noqa: S104 - to be refused
def test_an_address_others_can_reach_is_refused(host: str) -> None:
    with pytest.raises(Misconfigured, match="loopback"):
        serve(host)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1", "localhost"])
def test_loopback_addresses_are_accepted(host: str) -> None:
    require_loopback(host)


def start(*options: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "worker.dev.sandbox", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": ""},
    )


def test_a_process_prints_its_url_and_stops_when_told() -> None:
    with start("--control", "--seed", "3", "--latency", "1ms") as process:
        assert process.stdout
        url = process.stdout.readline().strip()
        answer = httpx2.post(f"{url}{DRIVERS}", json=PAYLOAD, headers=KEY, trust_env=False)
        assert answer.json()["verification_status"] == "verified"
        with start("--port", url.rsplit(":", 1)[1]) as second:
            _, complaint = second.communicate(timeout=10)
        assert second.returncode == 1
        assert "can't listen on 127.0.0.1" in complaint
        process.send_signal(signal.SIGTERM)
        rest, errors = process.communicate(timeout=10)
    assert (process.returncode, rest, errors) == (0, "", "")


def test_two_runs_with_one_seed_answer_alike() -> None:
    def run() -> list[tuple[str, int]]:
        settings = SandboxSettings(seed=11, now=lambda: 1_800_000_000.0)
        with SandboxServer(settings) as sandbox, httpx2.Client(base_url=sandbox.url, trust_env=False) as client:
            sandbox.faults(rate_500=0.3)
            answers = [client.post(DRIVERS, json=PAYLOAD, headers=KEY) for _ in range(20)]
            return [(answer.text, answer.status_code) for answer in answers]

    assert run() == run()
