"""The provider: one call within one deadline, and whatever becomes of it is a value.

The timeouts of HTTP clients bound each single read, so a server that sends a byte now and then is never too slow for
them; hence one `asyncio.timeout` around everything, the token included.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlencode

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tasks.verification import token
from tasks.verification.address import AddressRules, host_of
from tasks.verification.classify import NEVER_SENT, Event, Status, Trouble
from tasks.verification.credentials import ClientCredentials, Credentials
from tasks.verification.gate import RULES, Rules
from tasks.verification.gate_store import Gate
from tasks.verification.http_client import Line, open_line
from tasks.verification.reading import Reading, Received
from tasks.verification.strict_json import Unreadable
from tasks.verification.token import Token
from tasks.verification.token_store import TokenStore
from worker.crypto import Keyring
from worker.job import Surroundings
from worker.metrics import Metrics
from worker.values import value

KIND = "verification.verify"
"""Whose phases the metrics of calls are."""

_FORM = {"Content-Type": "application/x-www-form-urlencoded"}
REDIS_TIMEOUT_S = 1.0
FOR_TOKENS = 8


@value(repr=False)
class Exchange:
    """One call. `status_code` and `headers` (lower-case names) are there if the provider's head arrived.

    `time_ms` counts from the request to the last byte read, without the token. `calls` is how often the question left:
    not at all, or twice where its token was refused.
    """

    reading: Reading
    calls: int
    status_code: int | None = None
    headers: dict[str, str] | None = None
    time_ms: int | None = None


@value(repr=False)
class Call:
    """A JSON body to be sent, or without one a look at `url`; `read` makes something of what comes back."""

    url: str
    body: bytes | None
    headers: dict[str, str]
    read: Callable[[Received], Reading]


class Provider:
    """What `act` works with; one object in each event loop. `sandbox` is the line for calls of that environment."""

    def __init__(
        self, line: Line, sandbox: Line, tokens: TokenStore, gate: Gate, keyring: Keyring, metrics: Metrics
    ) -> None:
        self.metrics = metrics
        self._line = line
        self._sandbox = sandbox
        self._tokens = tokens
        self.gate = gate
        self.keyring = keyring

    async def call(
        self,
        call: Call,
        credentials: Credentials,
        timeout_s: float,
        *,
        is_sandbox: bool,
    ) -> Exchange:
        """Ends within `timeout_s`, renewal of a refused token included; never raises."""
        started = time.monotonic()
        calls = _Calls(self._sandbox if is_sandbox else self._line, self._tokens, self.metrics)
        try:
            async with asyncio.timeout(timeout_s):
                return await calls.signed(call, credentials, timeout_s)
        except TimeoutError:
            return Exchange(Reading(Trouble.TIMED_OUT), calls.sent, time_ms=_ms_since(started))


@dataclass(slots=True)
class _Calls:
    """The calls that one call can need: with a token, without one, and for one. Those for a token are not `sent`."""

    _line: Line
    _tokens: TokenStore
    _metrics: Metrics
    sent: int = 0

    async def signed(self, call: Call, credentials: Credentials, timeout_s: float) -> Exchange:
        if not isinstance(credentials, ClientCredentials):
            return await self._ask(call, credentials.header, credentials.value)
        exchange, used = await self._with_token(call, credentials, timeout_s)
        if used is None or not _is_unauthorized(exchange.reading.event):
            return exchange
        await self._tokens.drop(credentials.cache_key, used)
        exchange, _ = await self._with_token(call, credentials, timeout_s)
        return exchange

    async def _with_token(
        self, call: Call, credentials: ClientCredentials, timeout_s: float
    ) -> tuple[Exchange, Token | None]:
        started = time.monotonic()
        fetched = await self._tokens.get(credentials.cache_key, lambda: self._fetch(credentials, timeout_s))
        self._metrics.took(KIND, "token", time.monotonic() - started)
        if not isinstance(fetched, Token):
            return Exchange(Reading(fetched, problem=_problem(fetched, credentials.token_url)), self.sent), None
        return await self._ask(call, "Authorization", f"Bearer {fetched.value}"), fetched

    async def _ask(self, call: Call, header: str, value: str) -> Exchange:
        started = time.monotonic()
        headers = {**call.headers, header: value}
        self.sent += 1  # before it leaves: of one that the deadline cuts off nobody knows how far it came
        if call.body is None:
            raw = await self._line.send("GET", call.url, headers=headers)
        else:
            headers["Content-Type"] = "application/json"
            raw = await self._line.send("POST", call.url, headers=headers, content=call.body)
        self._metrics.took(KIND, "provider", time.monotonic() - started)
        time_ms = _ms_since(started)
        if isinstance(raw, Trouble):
            self.sent -= raw in NEVER_SENT
            return Exchange(Reading(raw, problem=_problem(raw, call.url)), self.sent, time_ms=time_ms)
        return Exchange(call.read(raw), self.sent, raw.status, raw.headers, time_ms)

    async def _fetch(self, credentials: ClientCredentials, timeout_s: float) -> Token | Event:
        try:
            async with asyncio.timeout(timeout_s):
                raw = await self._line.send(
                    "POST", credentials.token_url, headers=_FORM, content=urlencode(credentials.form()).encode()
                )
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


@asynccontextmanager
async def open_provider(surroundings: Surroundings, rules: Rules = RULES) -> AsyncIterator[Provider]:
    """Connections for one event loop: to providers, and to what all processes share about them."""
    settings, keyring, metrics = surroundings.settings, surroundings.keyring, surroundings.metrics
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
    connected = partial(metrics.took, KIND, "connect")
    async with AsyncExitStack() as stack:
        stack.push_async_callback(redis.aclose)
        line = await stack.enter_async_context(open_line(connections, strict, connected))
        sandbox = await stack.enter_async_context(open_line(connections, lenient, connected))
        stack.push_async_callback(tokens.close)
        yield Provider(line, sandbox, tokens, gate, keyring, metrics)


def _problem(event: Event, url: str) -> str:
    return f"The host {host_of(url)} may not be called." if event is Trouble.ADDRESS_REFUSED else ""


def _is_unauthorized(event: Event) -> bool:
    return isinstance(event, Status) and event.code == 401 and event.endpoint == "api"


def _ms_since(started: float) -> int:
    return round((time.monotonic() - started) * 1000)
