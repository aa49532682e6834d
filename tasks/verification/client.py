"""The provider over HTTP: one call within one deadline, and whatever becomes of it is a value.

The only importer of the HTTP libraries: httpx2 for its interface, on aiohttp's connections, which cost a fraction of
the CPU. The timeouts of HTTP clients bound each single read, so a server that sends a byte now and then is never too
slow for them; hence one `asyncio.timeout` around everything, the token included. A host is resolved once, checked, and
the connection goes to what was checked.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import aiohttp
import aiohttp.abc
import httpx2
from httpx_aiohttp.httpx2 import AiohttpTransport
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tasks.verification import answer, token
from tasks.verification.address import AddressRefused, AddressRules, check_addresses, check_url, host_of
from tasks.verification.answer import Reading
from tasks.verification.classify import Event, Status, Trouble
from tasks.verification.credentials import ClientCredentials, Credentials
from tasks.verification.gate import RULES, Rules
from tasks.verification.gate_store import Gate
from tasks.verification.strict_json import Unreadable
from tasks.verification.token import Token
from tasks.verification.token_store import TokenStore
from worker.crypto import Keyring
from worker.job import Surroundings

BODY_LIMIT = 2 * 1024 * 1024
"""Bytes of a decoded body. The largest real answer, a hundred drivers, has about 150 KB."""

REDIS_TIMEOUT_S = 1.0
KEEP_ALIVE_S = 15
DNS_S = 30
FOR_TOKENS = 8

HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "integration-worker"}


@dataclass(frozen=True, slots=True, repr=False)
class Exchange:
    """One call. `status_code` and `headers` (lower-case names) are there if the provider's head arrived.

    `time_ms` counts from the request to the last byte read, without the token.
    """

    reading: Reading
    status_code: int | None = None
    headers: dict[str, str] | None = None
    time_ms: int | None = None


@dataclass(frozen=True, slots=True, repr=False)
class _Raw:
    status: int
    headers: dict[str, str]
    body: bytes
    is_oversized: bool


@dataclass(frozen=True, slots=True)
class Line:
    """Connections under one set of rules. The rules are not a call's own: it might be given another's connection."""

    http: httpx2.AsyncClient
    rules: AddressRules


class Provider:
    """What `act` works with; one object in each event loop. `sandbox` is the line for calls of that environment."""

    def __init__(self, line: Line, sandbox: Line, tokens: TokenStore, gate: Gate, keyring: Keyring) -> None:
        self._line = line
        self._sandbox = sandbox
        self._tokens = tokens
        self.gate = gate
        self.keyring = keyring

    async def call(
        self,
        url: str,
        body: bytes,
        headers: dict[str, str],
        credentials: Credentials,
        timeout_s: float,
        *,
        is_sandbox: bool,
    ) -> Exchange:
        """POST a JSON body. Ends within `timeout_s`, renewal of a refused token included; never raises."""
        started = _now()
        line = _Calls(self._sandbox if is_sandbox else self._line, self._tokens)
        try:
            async with asyncio.timeout(timeout_s):
                return await line.signed(url, body, headers, credentials, timeout_s)
        except TimeoutError:
            return Exchange(Reading(Trouble.TIMED_OUT), time_ms=_ms_since(started))


@dataclass(frozen=True, slots=True)
class _Calls:
    """The calls that one call can need: with a token, without one, and for one."""

    _line: Line
    _tokens: TokenStore

    async def signed(
        self, url: str, body: bytes, headers: dict[str, str], credentials: Credentials, timeout_s: float
    ) -> Exchange:
        if not isinstance(credentials, ClientCredentials):
            return await self._ask(url, body, {**headers, credentials.header: credentials.value})
        exchange, used = await self._with_token(url, body, headers, credentials, timeout_s)
        if used is None or not _is_unauthorized(exchange.reading.event):
            return exchange
        await self._tokens.drop(credentials.cache_key, used)
        exchange, _ = await self._with_token(url, body, headers, credentials, timeout_s)
        return exchange

    async def _with_token(
        self, url: str, body: bytes, headers: dict[str, str], credentials: ClientCredentials, timeout_s: float
    ) -> tuple[Exchange, Token | None]:
        fetched = await self._tokens.get(credentials.cache_key, lambda: self._fetch(credentials, timeout_s))
        if not isinstance(fetched, Token):
            return Exchange(Reading(fetched, problem=_problem(fetched, credentials.token_url))), None
        return await self._ask(url, body, {**headers, "Authorization": f"Bearer {fetched.value}"}), fetched

    async def _ask(self, url: str, body: bytes, headers: dict[str, str]) -> Exchange:
        started = _now()
        raw = await self._exchange(url, content=body, headers={**headers, "Content-Type": "application/json"})
        time_ms = _ms_since(started)
        if isinstance(raw, Trouble):
            return Exchange(Reading(raw, problem=_problem(raw, url)), time_ms=time_ms)
        reading = answer.read(raw.status, raw.headers, raw.body)
        if raw.is_oversized:
            problem = f"The answer has more than {BODY_LIMIT} bytes."
            reading = replace(reading, event=Trouble.OVERSIZED, kept=answer.raw(raw.body), answer=None, problem=problem)
        return Exchange(reading, raw.status, raw.headers, time_ms)

    async def _fetch(self, credentials: ClientCredentials, timeout_s: float) -> Token | Event:
        try:
            async with asyncio.timeout(timeout_s):
                raw = await self._exchange(credentials.token_url, data=credentials.form(), headers={})
        except TimeoutError:
            return Trouble.TIMED_OUT
        if isinstance(raw, Trouble):
            return raw
        if raw.status != 200:
            return Status(raw.status, retry_after=raw.headers.get("retry-after"), endpoint="token")
        try:
            return token.read_token(raw.body)
        except Unreadable:
            return Trouble.UNREADABLE

    async def _exchange(self, url: str, *, headers: dict[str, str], **content: Any) -> _Raw | Trouble:
        """Send and receive; of a body beyond the limit only its beginning."""
        try:
            check_url(url, self._line.rules)
            # A request of its own: what the client would merge into each one costs as much as building it.
            request = httpx2.Request("POST", url, headers=HEADERS | headers, **content)
            async with aclosing(await self._line.http.send(request, stream=True)) as response:
                chunks, size = [], 0
                async for chunk in response.aiter_bytes():
                    size += len(chunk)
                    chunks.append(chunk)
                    if size > BODY_LIMIT:
                        break
                is_oversized = size > BODY_LIMIT
                body = b"".join(chunks)[: answer.RAW_BYTES] if is_oversized else b"".join(chunks)
                return _Raw(response.status_code, dict(response.headers.items()), body, is_oversized)
        except TimeoutError:
            raise  # the system's own patience with a silent peer; `call` takes it for the deadline's
        except (httpx2.HTTPError, httpx2.InvalidURL, aiohttp.ClientError, OSError) as error:
            return _trouble(error)


@asynccontextmanager
async def open_provider(surroundings: Surroundings, rules: Rules = RULES) -> AsyncIterator[Provider]:
    """Connections for one event loop: to providers, and to what all processes share about them."""
    settings, keyring = surroundings.settings, surroundings.keyring
    redis = Redis.from_url(
        settings.redis_url.get_secret_value(),
        socket_timeout=REDIS_TIMEOUT_S,
        socket_connect_timeout=REDIS_TIMEOUT_S,
        retry=Retry(NoBackoff(), 1),  # a connection may have died unnoticed; a Redis that is away is not waited for
    )
    tokens = TokenStore(redis, keyring)
    gate = Gate(redis, rules, local_share=settings.local_limit_share)
    strict = AddressRules(settings.extra_provider_ports or ())
    lenient = AddressRules(strict.ports, is_private_allowed=settings.allow_private_providers)
    connections = settings.calls_in_flight + FOR_TOKENS
    async with AsyncExitStack() as stack:
        stack.push_async_callback(redis.aclose)
        line = await stack.enter_async_context(open_line(connections, strict))
        sandbox = await stack.enter_async_context(open_line(connections, lenient))
        stack.push_async_callback(tokens.close)
        yield Provider(line, sandbox, tokens, gate, keyring)


@asynccontextmanager
async def open_line(
    connections: int, rules: AddressRules, names: aiohttp.abc.AbstractResolver | None = None
) -> AsyncIterator[Line]:
    """A pool of connections that reach no address but those the rules allow. `names` is by default the system's."""
    context = httpx2.create_ssl_context(trust_env=False)
    connector = aiohttp.TCPConnector(
        limit=connections,
        keepalive_timeout=KEEP_ALIVE_S,
        ttl_dns_cache=DNS_S,
        ssl=context,
        resolver=GuardedResolver(names or aiohttp.ThreadedResolver(), rules),
        socket_factory=_guarded_socket(rules),
    )
    session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
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


def _problem(event: Event, url: str) -> str:
    return f"The host {host_of(url)} may not be called." if event is Trouble.ADDRESS_REFUSED else ""


def _is_unauthorized(event: Event) -> bool:
    return isinstance(event, Status) and event.code == 401 and event.endpoint == "api"


def _now() -> float:
    return asyncio.get_running_loop().time()


def _ms_since(started: float) -> int:
    return round((_now() - started) * 1000)
