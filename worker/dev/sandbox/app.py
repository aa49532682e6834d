"""What the sandbox answers, as a function from request to reply: no sockets, no waiting.

A call passes, in this order: its login, the rate limit, the kept answers of its Idempotency-Key, the checks of its
form, the faults an operator asked for, and the scenario of whoever it asks about.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, NamedTuple

import orjson

from worker.errors import Misconfigured

from . import criminal, drivers, vehicles
from .bounded import Counters
from .faults import Faults, parse_faults
from .idempotency import IdempotencyKeys
from .journal import Entry, Journal
from .latency import Latency
from .logins import Logins
from .message import Call, Refusal, Reply, Request, json_reply, refuse, transaction
from .ratelimit import RateLimit
from .scenarios import BROKEN, GARBLED, REFUSALS, THROTTLED
from .settings import SandboxSettings
from .wire import WIRE, Sent, Wire

TOKEN_PATH = "/oauth2/token"  # noqa: S105 - a path
SCENARIO_HEADER = "x-sandbox-scenario"
BODY_LIMIT_BYTES = 1 << 20
SCOPES: dict[str, ModuleType] = {"drivers": drivers, "criminal": criminal, "vehicles": vehicles}
BY_PATH = {api.PATH: (scope, api) for scope, api in SCOPES.items()}

NOT_FOUND = Refusal(404, "INVALID_REQUEST", "nothing is served here", "path")
NOT_ALLOWED = Refusal(405, "INVALID_REQUEST", "not served with this method", "method")
OVERSIZED = Refusal(413, "INVALID_REQUEST", f"more than {BODY_LIMIT_BYTES} bytes", "body")
NOT_JSON_TYPE = Refusal(415, "INVALID_REQUEST", "Content-Type is not application/json", "Content-Type")
NOT_JSON = Refusal(400, "INVALID_REQUEST", "the body is not a JSON object", "body")
NO_SUCH_SCENARIO = Refusal(400, "INVALID_REQUEST", "this API has no such scenario", "X-Sandbox-Scenario")


@dataclass(slots=True)
class Exchange:
    """A request answered in thought: the reply, and how it is to reach the client."""

    entry: Entry
    reply: Reply
    delay_s: float = 0.0
    misbehave: Callable[[Wire, Reply], Awaitable[Sent]] | None = None


class Answer(NamedTuple):
    reply: Reply
    scenario: str | None = None


@dataclass
class State:
    """What a reset forgets."""

    faults: Faults
    ratelimit: RateLimit
    journal: Journal = field(default_factory=Journal)
    keys: IdempotencyKeys = field(default_factory=IdempotencyKeys)
    met: Counters = field(default_factory=Counters)
    pending: criminal.PendingSearches = field(default_factory=criminal.PendingSearches)


class Sandbox:
    def __init__(self, settings: SandboxSettings) -> None:
        self._settings = settings
        self._logins = Logins(settings.seed)
        self._transactions = 0
        self.reset()

    def reset(self) -> None:
        """As after the start, but for the tokens handed out and the numbering of transactions."""
        settings = self._settings
        self._logins.forgive()
        self._state = State(
            Faults(0.0, settings.seed, Latency.parse(settings.latency)), RateLimit(settings.calls_per_minute)
        )

    def set_faults(self, payload: object) -> None:
        """Replaces the faults; raises Misconfigured."""
        self._state.faults = parse_faults(payload, seed=self._settings.seed, latency=self._settings.latency)

    @property
    def journal(self) -> Journal:
        return self._state.journal

    def receive(self, request: Request) -> Exchange:
        now = self._settings.now()
        entry = Entry(
            now,
            request.method,
            request.path,
            request.headers.get("x-correlation-id"),
            request.headers.get("idempotency-key"),
        )
        if self._settings.control and request.path.startswith("/_sandbox/"):
            return Exchange(entry, self._control(request))
        self.journal.append(entry)
        if request.path == TOKEN_PATH:
            is_post = request.method == "POST"
            return Exchange(
                entry, self._logins.token(request, now) if is_post else refuse(NOT_ALLOWED, self._transaction_id())
            )
        exchange = self._api_call(request, entry)
        common = self._state.ratelimit.headers(now)
        if correlation_id := request.header("x-correlation-id"):
            common = (*common, ("X-Correlation-Id", correlation_id))
        exchange.reply = exchange.reply.adding(*common)
        return exchange

    def _control(self, request: Request) -> Reply:
        match request.method, request.path.removeprefix("/_sandbox/"):
            case "GET", "journal":
                return json_reply(200, self.journal.report())
            case "POST", "reset":
                self.reset()
                return json_reply(200, {})
            case "POST", "faults":
                try:
                    self.set_faults(_parse(request.body))
                except Misconfigured as error:
                    return json_reply(400, {"error": str(error)})
                return json_reply(200, {})
        return refuse(NOT_FOUND, self._transaction_id())

    def _api_call(self, request: Request, entry: Entry) -> Exchange:
        transaction_id = self._transaction_id()

        def refused(refusal: Refusal, *headers: tuple[str, str]) -> Exchange:
            return Exchange(entry, refuse(refusal, transaction_id, *headers))

        path, search_id = request.path, ""
        if path.startswith(f"{criminal.PATH}/"):
            path, search_id = criminal.PATH, path.removeprefix(f"{criminal.PATH}/")
        if path not in BY_PATH:
            return refused(NOT_FOUND)
        if request.method != ("GET" if search_id else "POST"):
            return refused(NOT_ALLOWED)
        scope, api = BY_PATH[path]
        if refusal := self._logins.check(request, scope, entry.time):
            return refused(refusal)
        if wait_s := self._state.ratelimit.wait_s(entry.time):
            return refused(THROTTLED, ("Retry-After", str(wait_s)))
        if not search_id and (kept := self._state.keys.find(request, entry.time)):
            if isinstance(kept, Refusal):
                return refused(kept)
            entry.scenario, entry.replayed = kept.scenario, True
            return Exchange(entry, kept.reply.adding(("Idempotent-Replay", "true")))
        fails, delay_s = self._state.faults.next_draws(scope, entry.correlation_id or "")
        if search_id:
            answer = self._look(search_id, Call(transaction_id, 1, entry.time), fails)
        else:
            answer = self._answer(request, api, transaction_id, fails, entry.time)
        entry.scenario = answer.scenario
        misbehave = None if fails else WIRE.get(answer.scenario or "")
        if not misbehave and not search_id:
            # Kept now, not when it is sent: a client that gives up waiting and asks again is not billed twice.
            self._state.keys.keep(request, answer.reply, answer.scenario, entry.time)
        return Exchange(entry, answer.reply, delay_s, misbehave)

    def _look(self, search_id: str, call: Call, fails: bool) -> Answer:
        found = BROKEN if fails else self._state.pending.look(search_id, call)
        if isinstance(found, Refusal):
            return Answer(refuse(found, call.transaction_id), "pending_twice")
        return Answer(found.adding(transaction(call.transaction_id)), "pending_twice")

    def _answer(self, request: Request, api: ModuleType, transaction_id: str, fails: bool, now: float) -> Answer:
        if request.oversized:
            return Answer(refuse(OVERSIZED, transaction_id))
        if request.header("content-type").partition(";")[0].strip().lower() != "application/json":
            return Answer(refuse(NOT_JSON_TYPE, transaction_id))
        payload = _parse(request.body)
        if not isinstance(payload, dict):
            return Answer(refuse(NOT_JSON, transaction_id))
        if refusal := api.check(payload):
            return Answer(refuse(refusal, transaction_id))
        scenario = request.header(SCENARIO_HEADER) or api.scenario_of(payload)
        if not any(scenario in known for known in (api.SCENARIOS, REFUSALS, GARBLED, WIRE)):
            return Answer(refuse(NO_SUCH_SCENARIO, transaction_id))
        if fails:
            return Answer(refuse(BROKEN, transaction_id), scenario)
        nth = self._state.met.next(scenario, request.header("x-correlation-id")) if scenario in REFUSALS else 1
        return Answer(self._scene(scenario, api, payload, Call(transaction_id, nth, now)), scenario)

    def _scene(self, scenario: str, api: ModuleType, payload: dict[str, Any], call: Call) -> Reply:
        if (refusal := REFUSALS.get(scenario)) and (reply := refusal(call)):
            return reply
        if scenario == "pending_twice":
            reply = self._state.pending.open(payload, call.transaction_id)
        else:
            content = api.content(payload, scenario, call)
            garble = GARBLED.get(scenario)
            reply = garble(content) if garble else json_reply(200, content)
        return reply.adding(transaction(call.transaction_id))

    def _transaction_id(self) -> str:
        self._transactions += 1
        return f"dcs_01{self._settings.seed & 0xFFFFFFFF:08x}{self._transactions:012x}"


def create_app(settings: SandboxSettings) -> Sandbox:
    return Sandbox(settings)


def _parse(body: bytes) -> object:
    """The JSON value, or None for what is no JSON."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
