"""Calls over real sockets: against the sandbox, and against a server that does worse than the sandbox."""

import asyncio
import socket
import struct
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import orjson
import pytest

from tasks.verification.classify import Event, Status, Trouble
from tasks.verification.client import Exchange
from tasks.verification.credentials import Signature, read_credentials
from tasks.verification.drivers.question import request_body
from tasks.verification.reading import BODY_LIMIT
from tests.tasks.verification.factories import KEYRING, a_call, make_account, make_question, provider
from worker.crypto import Place
from worker.dev.sandbox.personas import PERSONAS, Persona
from worker.dev.sandbox.server import SandboxServer

PERSONA = {persona.scenario: persona for persona in PERSONAS if persona.api == "drivers"}
GRACE_S = 0.25
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def call(url: str, persona: Persona, *, auth_type: str = "oauth2", timeout_s: float = 10) -> Exchange:
    """One call about a persona, in a loop of its own."""

    async def calling() -> Exchange:
        question = make_question(persona, make_account(url, auth_type))
        credentials = read_credentials(question.account, KEYRING)
        number = KEYRING.decrypt(
            question.sealed_license_number, Place("license", "license_number", str(question.license_id))
        )
        body = orjson.dumps(request_body(question, number))
        headers = {"Idempotency-Key": question.idempotency_key, "X-Correlation-Id": question.correlation_id}
        async with provider() as opened:
            return await opened.call(
                a_call(question.account.url, body, headers), credentials, timeout_s, is_sandbox=True
            )

    return asyncio.run(calling())


@pytest.mark.parametrize("auth_type", ["oauth2", "basic", "api_key"])
def test_a_call_is_signed_and_answered(sandbox: SandboxServer, auth_type: str) -> None:
    exchange = call(sandbox.url, PERSONA["ok"], auth_type=auth_type)
    assert exchange.reading.event == Status(200)
    assert exchange.reading.answer is not None
    assert exchange.status_code == 200
    assert exchange.time_ms is not None
    assert exchange.headers is not None
    assert exchange.headers["x-transaction-id"].startswith("dcs_")
    assert [entry["status"] for entry in sandbox.journal() if entry["path"] != "/oauth2/token"] == [200]


def test_a_wrong_bearer_token_is_not_renewed(sandbox: SandboxServer) -> None:
    exchange = call(sandbox.url, PERSONA["ok"], auth_type="bearer")
    assert exchange.reading.event == Status(401, "UNAUTHORIZED")
    assert len(sandbox.journal()) == 1


@pytest.mark.parametrize("scenario", ["timeout", "drip_body", "drip_headers"])
def test_the_deadline_holds_however_slowly_the_answer_comes(sandbox: SandboxServer, scenario: str) -> None:
    timeout_s = 1.2  # more than the time between two bytes

    async def measured() -> tuple[Exchange, float]:
        question = make_question(PERSONA[scenario], make_account(sandbox.url, "basic"))
        credentials = read_credentials(question.account, KEYRING)
        number = PERSONA[scenario].license_number
        assert number is not None
        body = orjson.dumps(request_body(question, number))
        async with provider() as opened:
            started = time.monotonic()
            exchange = await opened.call(a_call(question.account.url, body), credentials, timeout_s, is_sandbox=True)
            return exchange, time.monotonic() - started

    exchange, took_s = asyncio.run(measured())
    assert exchange.reading.event is Trouble.TIMED_OUT
    assert timeout_s <= took_s < timeout_s + GRACE_S
    assert exchange.time_ms is not None
    assert abs(exchange.time_ms - took_s * 1000) < GRACE_S * 1000


def test_a_token_endpoint_that_is_silent_counts_towards_the_deadline() -> None:
    async def measured() -> tuple[Exchange, float]:
        async with serving(_silent) as url, provider() as opened:
            account = make_account(url)
            started = time.monotonic()
            exchange = await opened.call(a_call(account.url), read_credentials(account, KEYRING), 0.3, is_sandbox=True)
            return exchange, time.monotonic() - started

    exchange, took_s = asyncio.run(measured())
    assert exchange.reading.event is Trouble.TIMED_OUT
    assert took_s < 0.3 + GRACE_S


@pytest.mark.parametrize(
    ("scenario", "event"),
    [
        ("connect_reset", Trouble.CONNECTION_LOST),
        ("reset_mid_body", Trouble.CUT_SHORT),
        ("truncated_body", Trouble.CUT_SHORT),
        ("malformed_json", Trouble.UNREADABLE),
        ("html_200", Trouble.UNREADABLE),
        ("wrong_charset", Trouble.UNREADABLE),
        ("huge", Trouble.OVERSIZED),
        ("gzip_bomb", Trouble.OVERSIZED),
        ("500", Status(500, "INTERNAL_ERROR")),
        ("body_status_500", Status(500)),
        ("588", Status(588, "INTERNAL_ERROR")),
        ("418", Status(418, "INVALID_REQUEST")),
        ("429", Status(429, "RATE_LIMIT_EXCEEDED", "2")),
        ("503_retry_after_3600", Status(503, "SERVICE_UNAVAILABLE", "3600")),
        ("redirect", Status(302)),
        ("no_body", Status(200)),
    ],
)
def test_what_went_wrong_comes_back_as_a_value(sandbox: SandboxServer, scenario: str, event: Event) -> None:
    exchange = call(sandbox.url, PERSONA[scenario])
    assert exchange.reading.event == event
    calls = [entry for entry in sandbox.journal() if entry["path"] != "/oauth2/token"]
    assert len(calls) == 1  # no redirect was followed, nothing was repeated


@pytest.mark.parametrize("scenario", ["huge", "gzip_bomb"])
def test_an_oversized_answer_does_not_fill_the_memory(sandbox: SandboxServer, scenario: str) -> None:
    call(sandbox.url, PERSONA["ok"])  # what is built once is not counted
    tracemalloc.start()
    try:
        exchange = call(sandbox.url, PERSONA[scenario])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert exchange.reading.event is Trouble.OVERSIZED
    assert exchange.reading.answer is None
    assert len(exchange.reading.kept or "") < 10_000
    # The sandbox itself runs in this process and holds the bomb of one megabyte.
    assert peak < 8 * BODY_LIMIT


async def _silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


def answering(head: bytes, body: bytes = b"") -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head + b"\r\n\r\n" + body)
        await writer.drain()

    return serve


async def _reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[str]:
    """A raw server that does one thing to each connection."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.close()


async def exchange_with(serve: Serve) -> Exchange:
    async with serving(serve) as url, provider() as opened:
        return await opened.call(a_call(url), Signature("X-API-Key", "key"), 5, is_sandbox=True)


@pytest.mark.parametrize(
    ("serve", "event"),
    [
        (_reset, Trouble.CONNECTION_LOST),
        (_hang_up, Trouble.CONNECTION_LOST),
        (answering(b"SSH-2.0-OpenSSH_9.6"), Trouble.UNREADABLE),
        (answering(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 100_000), Trouble.UNREADABLE),
        (answering(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Encoding: gzip", b"plain"), Trouble.UNREADABLE),
        (answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", b"zz\r\n"), Trouble.UNREADABLE),
        (answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", b"5\r\nab"), Trouble.CUT_SHORT),
        (answering(b"HTTP/1.1 200 OK\r\nContent-Length: 99", b"{"), Trouble.CUT_SHORT),
        (answering(b"HTTP/1.1 204 No Content"), Status(204)),
        (answering(b"HTTP/1.1 307 Moved\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0"), Status(307)),
    ],
    ids=[
        "rst",
        "hang up",
        "not http",
        "endless header",
        "not gzip",
        "bad chunk",
        "half a chunk",
        "short",
        "204",
        "redirect",
    ],
)
def test_a_server_that_misbehaves_is_an_event(serve: Serve, event: Event) -> None:
    assert asyncio.run(exchange_with(serve)).reading.event == event


@pytest.mark.parametrize(
    ("url", "event"),
    [
        ("http://127.0.0.1:1/", Trouble.NOT_CONNECTED),
        ("http://nowhere.invalid/", Trouble.NOT_CONNECTED),
    ],
)
def test_a_server_that_is_not_there_is_an_event(url: str, event: Event) -> None:
    async def calling() -> Exchange:
        async with provider() as opened:
            return await opened.call(a_call(url), Signature("X-API-Key", "key"), 5, is_sandbox=True)

    assert asyncio.run(calling()).reading.event is event


def test_no_cookie_and_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    received: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nSet-Cookie: tenant=a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()

    async def twice() -> None:
        async with serving(serve) as url, provider() as opened:
            by_name = url.replace("127.0.0.1", "localhost")  # aiohttp keeps no cookies of bare addresses anyway
            for _ in range(2):
                await opened.call(a_call(by_name), Signature("X-API-Key", "key"), 5, is_sandbox=True)

    asyncio.run(twice())
    assert len(received) == 2
    assert not any(b"cookie" in request.lower() for request in received)
    assert all(b"accept-encoding: identity" in request.lower() for request in received)


def test_hundreds_of_calls_are_in_flight_at_once() -> None:
    """None waits for a connection: the server answers only when all of them are there."""
    at_once = 128
    everybody = asyncio.Barrier(at_once)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await everybody.wait()
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()

    async def all_of_them() -> list[Exchange]:
        async with serving(serve) as url, provider() as opened:
            calls = (
                opened.call(a_call(url), Signature("X-API-Key", "key"), 20, is_sandbox=True) for _ in range(at_once)
            )
            return await asyncio.gather(*calls)

    assert {exchange.status_code for exchange in asyncio.run(all_of_them())} == {204}
