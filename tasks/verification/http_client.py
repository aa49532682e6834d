"""HTTP to strangers: one request and its answer within what we are ready to read, or the kind of failure.

The only importer of the HTTP libraries: httpx2 for its interface, on aiohttp's connections, which cost a fraction of
the CPU. A host is resolved once, checked, and the connection goes to what was checked.
"""

import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import SimpleNamespace
from typing import Any, Literal

import aiohttp
import aiohttp.abc
import httpx2
from httpx_aiohttp.httpx2 import AiohttpTransport

from tasks.verification.address import AddressRefused, AddressRules, check_addresses, check_url
from tasks.verification.classify import Trouble
from tasks.verification.reading import BODY_LIMIT, Received

KEEP_ALIVE_S = 15
DNS_S = 30

HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "integration-worker"}

Method = Literal["GET", "POST"]


@dataclass(frozen=True, slots=True)
class Line:
    """Connections under one set of rules. The rules are not a call's own: it might be given another's connection."""

    http: httpx2.AsyncClient
    rules: AddressRules

    async def send(self, method: Method, url: str, *, headers: dict[str, str], **content: Any) -> Received | Trouble:
        """Send and receive; of a body beyond the limit only its beginning."""
        try:
            check_url(url, self.rules)
            # A request of its own: what the client would merge into each one costs as much as building it.
            request = httpx2.Request(method, url, headers=HEADERS | headers, **content)
            async with aclosing(await self.http.send(request, stream=True)) as response:
                chunks, size = [], 0
                async for chunk in response.aiter_bytes():
                    size += len(chunk)
                    chunks.append(chunk)
                    if size > BODY_LIMIT:
                        break
                headers_received = dict(response.headers.items())
                return Received(response.status_code, headers_received, b"".join(chunks), size > BODY_LIMIT)
        except TimeoutError:
            raise  # the system's own patience with a silent peer; the caller takes it for the deadline's
        except (httpx2.HTTPError, httpx2.InvalidURL, aiohttp.ClientError, OSError) as error:
            return _trouble(error)


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
    session = aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trace_configs=[_stopwatch(connected)]
    )
    client = httpx2.AsyncClient(
        transport=AiohttpTransport(verify=context, trust_env=False, client=session),
        # No cookie is kept: it would travel from one tenant's call to the next. aiohttp has a jar of its own, above.
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        timeout=None,  # the deadline is around the whole call
        follow_redirects=False,
        trust_env=False,
    )
    async with client:
        yield Line(client, rules)


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
