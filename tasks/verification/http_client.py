"""HTTP to strangers: one request and its answer within what we are ready to read, or the kind of failure.

The only importer of the HTTP libraries: httpx2 for its interface, on aiohttp's connections, which cost a fraction of
the CPU. A host is resolved once, checked, and the connection goes to what was checked.
"""

import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager
from types import MappingProxyType, SimpleNamespace
from typing import Any, ClassVar, Literal

import aiohttp
import aiohttp.abc
import httpx2
from httpx_aiohttp.httpx2 import AiohttpTransport

from tasks.verification.address import AddressRefused, AddressRules, check_addresses, check_url
from tasks.verification.classify import Trouble
from tasks.verification.reading import BODY_LIMIT, Received
from worker.values import value

KEEP_ALIVE_S = 15
DNS_S = 30

HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "integration-worker"}

Method = Literal["GET", "POST"]


@value
class Line:
    """Connections under one set of rules. The rules are not a call's own: it might be given another's connection.

    The transport is used without a client around it, whose cookies, redirects and logins no call of ours may have:
    passing each call through them costs more CPU than sending it.
    """

    transport: AiohttpTransport
    rules: AddressRules

    async def send(
        self, method: Method, url: str, *, headers: dict[str, str], content: bytes = b""
    ) -> Received | Trouble:
        """Send and receive; of a body beyond the limit only its beginning."""
        try:
            check_url(url, self.rules)
            request: Any = _Request(method, url, HEADERS | headers, content)
            async with aclosing(await self.transport.handle_async_request(request)) as response:
                headers_received = dict(response.headers.items())
                body = await _beginning(response, is_encoded="content-encoding" in headers_received)
                return Received(response.status_code, headers_received, body, len(body) > BODY_LIMIT)
        except TimeoutError:
            raise  # the system's own patience with a silent peer; the caller takes it for the deadline's
        except (httpx2.HTTPError, httpx2.InvalidURL, aiohttp.ClientError, OSError) as error:
            return _trouble(error)


@value(repr=False)
class _Request:
    """What the transport reads of a request. Of `act`'s CPU, a fourteenth went into httpx2's own, which copies and
    decodes the headers several times over."""

    method: Method
    url: str
    headers: dict[str, str]
    content: bytes
    extensions: ClassVar[Mapping[str, Any]] = MappingProxyType({})


async def _beginning(response: httpx2.Response, *, is_encoded: bool) -> bytes:
    """The decoded body, as far as we are ready to read it: if it is longer than the limit, so is what is given."""
    # Where nothing is to be decoded the transport's own generator, without the four that httpx puts around it.
    plain: Any = response.stream
    chunks, size = [], 0
    async with aclosing(response.aiter_bytes() if is_encoded else aiter(plain)) as body:
        async for chunk in body:
            size += len(chunk)
            chunks.append(chunk)
            if size > BODY_LIMIT:
                break
    return b"".join(chunks)


@asynccontextmanager
async def open_line(
    connections: int,
    rules: AddressRules,
    connected: Callable[[float], None] = lambda _: None,
    *,
    names: aiohttp.abc.AbstractResolver | None = None,
) -> AsyncIterator[Line]:
    """A pool of connections that reach no address but those the rules allow. `names` is by default the system's.

    `connected` hears of each new connection how many seconds it took, from the look at its name to the end of TLS.
    """
    context = httpx2.create_ssl_context(trust_env=False)
    connector = aiohttp.TCPConnector(
        limit=connections,
        keepalive_timeout=KEEP_ALIVE_S,
        ttl_dns_cache=DNS_S,
        ssl=context,
        resolver=GuardedResolver(names or aiohttp.ThreadedResolver(), rules),
        socket_factory=_guarded_socket(rules),
    )
    # No cookie is kept: it would travel from one tenant's call to the next.
    session = aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trace_configs=[_stopwatch(connected)]
    )
    async with AiohttpTransport(verify=context, trust_env=False, client=session) as transport:
        yield Line(transport, rules)


class GuardedResolver(aiohttp.abc.AbstractResolver):
    """Looks a name up once and gives its addresses only if every one of them may be called."""

    def __init__(self, names: aiohttp.abc.AbstractResolver, rules: AddressRules) -> None:
        self._names = names
        self._rules = rules

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[aiohttp.abc.ResolveResult]:
        found = await self._names.resolve(host, port, family)
        check_addresses([answer["host"] for answer in found], self._rules)
        return found

    async def close(self) -> None:
        await self._names.close()


def _stopwatch(connected: Callable[[float], None]) -> aiohttp.TraceConfig:
    """Times the making of connections."""

    async def begin(_: aiohttp.ClientSession, watch: SimpleNamespace, __: Any) -> None:
        watch.began = time.monotonic()

    async def end(_: aiohttp.ClientSession, watch: SimpleNamespace, __: Any) -> None:
        connected(time.monotonic() - watch.began)

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_start.append(begin)
    trace.on_connection_create_end.append(end)
    return trace


def _guarded_socket(rules: AddressRules) -> Callable[[aiohttp.AddrInfoType], socket.socket]:
    """The last look before a connection: addresses that stand in a URL as such pass no resolver."""

    def open_socket(address: aiohttp.AddrInfoType) -> socket.socket:
        family, type_, protocol, _, place = address
        check_addresses([str(place[0])], rules)
        return socket.socket(family, type_, protocol)

    return open_socket


def _trouble(error: BaseException) -> Trouble:
    """The kind of a failure. The transport's own classes are coarse: what lies beneath tells more."""
    if any(isinstance(cause, AddressRefused) for cause in _causes(error)):
        return Trouble.ADDRESS_REFUSED
    for cause in _causes(error):
        match cause:
            case ssl.SSLCertVerificationError() | aiohttp.ClientConnectorCertificateError():
                return Trouble.BAD_CERTIFICATE
            case httpx2.InvalidURL() | httpx2.UnsupportedProtocol() | aiohttp.InvalidURL():
                return Trouble.BAD_ADDRESS
            case aiohttp.ClientConnectorError():
                return Trouble.NOT_CONNECTED
            case aiohttp.ClientPayloadError():
                return Trouble.CUT_SHORT
            case httpx2.DecodingError() | aiohttp.ClientResponseError():
                return Trouble.UNREADABLE
    return Trouble.CONNECTION_LOST


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
