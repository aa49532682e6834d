"""No connection leaves for an address that was not checked: names are looked up once, and their answers are held to."""

import asyncio
import socket
from collections.abc import Sequence

import aiohttp.abc
import httpx2
import pytest

from tasks.verification.address import AddressRules
from tasks.verification.classify import Trouble
from tasks.verification.client import Exchange
from tasks.verification.credentials import Signature
from tasks.verification.http_client import open_line
from tasks.verification.question import Account
from tasks.verification.task import verify
from tests.tasks.verification.factories import a_call, auth_config, make_account, make_question, provider
from worker.dev.sandbox.server import SandboxServer
from worker.outcomes import Done, GiveUp

KEY = Signature("X-API-Key", "key")
STRICT = AddressRules()


class Names(aiohttp.abc.AbstractResolver):
    """Gives one answer after the other, and counts the questions."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = list(answers)
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[aiohttp.abc.ResolveResult]:
        answer = self._answers[min(self.asked, len(self._answers) - 1)]
        self.asked += 1
        return [
            aiohttp.abc.ResolveResult(
                hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=socket.AI_NUMERICHOST
            )
            for address in answer
        ]

    async def close(self) -> None:
        pass


class Listener:
    """A server that remembers what reached it."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []

    async def __aenter__(self) -> "Listener":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.requests.append(await reader.read(65_536))
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()


def refused_by(names: Names, rules: AddressRules) -> tuple[BaseException | None, list[bytes]]:
    """What a POST to a name ends with, and what arrived on this machine."""

    async def posting() -> tuple[BaseException | None, list[bytes]]:
        async with Listener() as listener, open_line(4, rules, names=names) as line:
            try:
                await line.transport.handle_async_request(
                    httpx2.Request("POST", f"http://provider.example:{listener.port}/", content=b"secret")
                )
            except httpx2.TransportError as error:
                return error, listener.requests
            return None, listener.requests

    return asyncio.run(posting())


@pytest.mark.parametrize("answer", [["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["169.254.169.254"], ["::ffff:127.0.0.1"]])
def test_a_name_that_leads_inside_is_refused(answer: list[str]) -> None:
    names = Names(answer)
    error, arrived = refused_by(names, STRICT)
    assert error is not None
    assert arrived == []
    assert names.asked == 1


def test_the_connection_goes_to_the_address_that_was_checked_under_the_name_that_was_asked() -> None:
    names = Names(["127.0.0.1"], ["192.0.2.1"])  # a second look-up would lead to where nobody answers
    error, arrived = refused_by(names, AddressRules(is_private_allowed=True))
    assert error is None
    assert names.asked == 1
    assert arrived[0].lower().count(b"host: provider.example:") == 1


def test_an_address_in_the_url_passes_no_resolver_and_is_refused_all_the_same() -> None:
    async def posting() -> list[bytes]:
        async with Listener() as listener, open_line(4, STRICT) as line:
            with pytest.raises(httpx2.TransportError):
                await line.transport.handle_async_request(
                    httpx2.Request("POST", f"http://127.0.0.1:{listener.port}/", content=b"secret")
                )
            return listener.requests

    assert asyncio.run(posting()) == []


def call(url: str, *, is_sandbox: bool, allow_private_providers: bool) -> Exchange:
    async def calling() -> Exchange:
        async with provider(allow_private_providers=allow_private_providers) as opened:
            return await opened.call(a_call(url), KEY, 5, is_sandbox=is_sandbox)

    return asyncio.run(calling())


@pytest.mark.parametrize(("is_sandbox", "is_allowed"), [(True, False), (False, True), (False, False)])
def test_this_machine_is_called_for_sandboxes_only_and_only_if_the_process_may(
    sandbox: SandboxServer, is_sandbox: bool, is_allowed: bool
) -> None:
    exchange = call(sandbox.url, is_sandbox=is_sandbox, allow_private_providers=is_allowed)
    assert exchange.reading.event is Trouble.ADDRESS_REFUSED
    assert sandbox.journal() == []


def test_a_name_is_refused_when_it_leads_to_this_machine() -> None:
    """The system's own resolver, and a port that is allowed: only the answer gives it away."""
    exchange = call("https://localhost/", is_sandbox=False, allow_private_providers=True)
    assert exchange.reading.event is Trouble.ADDRESS_REFUSED
    assert exchange.reading.problem == "The host localhost may not be called."


@pytest.mark.parametrize(
    "account",
    [
        make_account("https://10.1.2.3", "api_key"),
        make_account("https://dcs.example", auth_config=auth_config("oauth2", "https://10.1.2.3")),
    ],
    ids=["endpoint", "token"],
)
def test_a_run_that_meets_a_refused_address_names_configuration_and_host_only(account: Account) -> None:
    async def running() -> object:
        async with provider(allow_private_providers=False) as opened:
            return await verify.act(make_question(account=account), opened)

    outcome = asyncio.run(running())
    assert isinstance(outcome, GiveUp)
    assert outcome.code == "address_refused"
    assert outcome.message == "The host 10.1.2.3 may not be called; look at configuration 1."


def test_a_sandbox_on_this_machine_is_called_where_the_process_may(sandbox: SandboxServer) -> None:
    async def running() -> object:
        async with provider() as opened:
            return await verify.act(make_question(account=make_account(sandbox.url)), opened)

    assert isinstance(asyncio.run(running()), Done)
