"""The gate in Redis: breakers, limits and retry budgets that all processes share; a script before a call, one after it.

Redis' clock is the only one. Its memory may be emptied at any time: breakers then begin closed, accounts unlearnt.
While it is away calls are let through and counted in the log; an account with limits gets a share in each process.
Places in flight and probes are leases, so that those of a killed worker come back by themselves.
"""

import asyncio
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain, count
from typing import Any, Final
from uuid import uuid4

import structlog
from redis.asyncio import Redis
from redis.commands.core import AsyncScript
from redis.exceptions import NoScriptError, RedisError

from tasks.verification.bucket import Bucket
from tasks.verification.gate import Aftermath, Closed, Ending, Pass, Rules, Visit
from tasks.verification.gate_scripts import CLOCK, COMMON, ENTER, LEAVE
from worker.gather import Gatherer
from worker.operating.providers import KNOWN
from worker.values import value

LINGER_S: Final = 0.001
"""Questions of one moment travel together, those of one account in one run of a script: a command of its own for each
costs more than the call's own TLS."""

LEFT_ALONE_S: Final = 1.0
"""After a failure Redis isn't asked for this long: a call must not wait for its timeout too."""

KNOWN_VISITS: Final = 1000
"""Accounts of which the scripts' arguments are kept; they are few."""

BUSY_S: Final = 0.2
"""Pause before a full account is asked again for a place; nobody knows when one comes back."""

KNOWN_FOR_S: Final = 7200
"""As long as the scripts keep an account that nobody calls."""

TOLD_FOR_S: Final = 60.0
"""For so long the names of an account's keys need not be told again to those who watch."""

_log = structlog.get_logger(__name__)
_dice = random.SystemRandom()


@dataclass(slots=True)
class _LocalShare:
    """Of one account's limits, in this process."""

    bucket: Bucket | None
    places: int | None
    taken: set[str] = field(default_factory=set)


@value
class _Subject:
    """What questions may have in common: the script, the keys, and what the script is told of all of them."""

    script: AsyncScript
    keys: list[str]
    arguments: list[Any]
    watched: list[str]
    """Those of the keys that say something to whoever watches."""


@value
class _Question:
    """`words` are about this one visit."""

    subject: _Subject
    words: list[Any]


class Gate:
    """One object in each event loop. `redis` may be unreachable at any time. `clock` is for tests of the scripts."""

    def __init__(self, redis: Redis, rules: Rules, *, local_share: float, clock: str = CLOCK) -> None:
        self._redis = redis
        self._rules = rules
        self._local_share = local_share
        self._enter = redis.register_script(clock + COMMON + ENTER)
        self._leave = redis.register_script(clock + COMMON + LEAVE)
        self._asked: Gatherer[_Question, list[Any]] = Gatherer(self._ask_all, linger_s=LINGER_S, at_most=100, at_once=2)
        self._entry = lru_cache(KNOWN_VISITS)(self._entry_of)
        self._exit = lru_cache(KNOWN_VISITS)(self._exit_of)
        self._ids = map(f"{uuid4().hex}:{{}}".format, count())
        self._local: dict[str, _LocalShare] = {}
        self._told: dict[str, float] = {}
        self._away_until = 0.0
        self._blind_calls = 0

    async def enter(self, visit: Visit, patience_s: float, tenant: str = "system") -> Pass | Closed:
        """Wait for leave to call, `patience_s` at the most; or hear when to ask again.

        Where the account's limits don't have enough for all, a `tenant` with many calls leaves turns to the others.
        """
        pass_id = next(self._ids)
        patient_until = time.monotonic() + patience_s
        while True:
            patience_ms = max(0.0, patient_until - time.monotonic()) * 1000
            said = await self._ask(_Question(self._entry(visit), [pass_id, patience_ms, tenant]))
            if said is None:
                return await self._enter_alone(visit, pass_id, patient_until)
            word, wait_s = said[0], float(said[1]) / 1000
            match word:
                case b"pass":
                    if wait_s:
                        await asyncio.sleep(wait_s)
                    return Pass(pass_id, float(said[2]), is_probe=bool(said[3]))
                case b"open":
                    return Closed(wait_s, is_breaker=True)
                case b"limited":
                    return Closed(wait_s, is_breaker=False)
            pause_s = BUSY_S * (0.5 + _dice.random())
            if time.monotonic() + pause_s > patient_until:
                return Closed(BUSY_S * 10, is_breaker=False)
            await asyncio.sleep(pause_s)

    async def leave(
        self,
        visit: Visit,
        leave: Pass,
        ending: Ending,
        *,
        wants_retry: bool = False,
        retry_after_s: float | None = None,
        is_about_account: bool = False,
        remaining: int | None = None,
    ) -> Aftermath:
        """Tell how the call went. `retry_after_s` is what the provider asked for, for its account or for one call;
        `remaining` how many calls it says are left."""
        if (share := self._local.get(visit.account)) is not None:
            share.taken.discard(leave.id)
        closes_for_s = min(retry_after_s or 0.0, self._rules.longest_closed_s)
        words = [
            *(leave.id, ending.value, leave.begun_ms, int(wants_retry)),
            *(closes_for_s * 1000, int(is_about_account), _or_empty(remaining)),
        ]
        said = await self._ask(_Question(self._exit(visit), words))
        if said is None:
            return Aftermath()
        open_for, held = (float(answer) / 1000 if answer else None for answer in said)
        return Aftermath(open_for, held)

    def _entry_of(self, visit: Visit) -> _Subject:
        rules, keys = self._rules, _keys(visit)[:3]
        arguments = [
            *(int(visit.is_first), _or_empty(visit.calls_per_second), _or_empty(visit.calls_in_flight)),
            *(_ms(visit.timeout_s + rules.lease_margin_s), _ms(rules.window_s), _ms(rules.doubles_in_s)),
            *(_ms(rules.probing_s), _ms(rules.near_s), _ms(rules.asks_again_s)),
        ]
        watched = keys if visit.calls_in_flight is not None else keys[:2]  # without a limit none are counted
        return _Subject(self._enter, [*keys, *_keys_of_tenants(visit)], arguments, watched)

    def _exit_of(self, visit: Visit) -> _Subject:
        rules = self._rules
        arguments = [
            *(int(visit.is_first), _or_empty(visit.calls_per_second)),
            *(_ms(rules.window_s), _ms(rules.doubles_in_s), rules.lowest_rate),
            *(rules.failures, rules.failed_share, _ms(rules.rest_s), _ms(rules.longest_rest_s)),
            *(rules.tokens, rules.refund, rules.held_back_per_s),
        ]
        return _Subject(self._leave, _keys(visit), arguments, [])

    async def _enter_alone(self, visit: Visit, pass_id: str, patient_until: float) -> Pass | Closed:
        """Without Redis nobody knows what the others do: an account's limits shrink to this process's share."""
        self._blind_calls += 1
        share = self._local.get(visit.account)
        if share is None:
            share = self._local[visit.account] = self._share_of(visit)
        while share.places is not None and len(share.taken) >= share.places:
            if time.monotonic() + BUSY_S > patient_until:
                return Closed(BUSY_S * 10, is_breaker=False)
            await asyncio.sleep(BUSY_S)
        if share.bucket is not None:
            wait_s = share.bucket.take(time.monotonic(), max(0.0, patient_until - time.monotonic()))
            if wait_s is None:
                return Closed(max(BUSY_S, share.bucket.next_free - time.monotonic()), is_breaker=False)
            share.taken.add(pass_id)
            await asyncio.sleep(wait_s)
        share.taken.add(pass_id)
        return Pass(pass_id, begun_ms=0, is_probe=False)

    def _share_of(self, visit: Visit) -> _LocalShare:
        rate, places = visit.calls_per_second, visit.calls_in_flight
        return _LocalShare(
            Bucket(rate * self._local_share) if rate is not None else None,
            max(1, int(places * self._local_share)) if places is not None else None,
        )

    async def _ask(self, question: _Question) -> list[Any] | None:
        """What the script answers; None if Redis is away."""
        if time.monotonic() < self._away_until:
            return None
        try:
            said = await self._asked.submit(question)
        except (RedisError, OSError) as error:
            if time.monotonic() >= self._away_until:
                self._away_until = time.monotonic() + LEFT_ALONE_S
                _log.warning("gate.redis_away", error=type(error).__name__, blind_calls=self._blind_calls)
            return None
        if self._local:
            self._local.clear()
        return said

    async def _ask_all(self, questions: Sequence[_Question]) -> list[list[Any]]:
        groups: dict[int, list[_Question]] = {}
        for question in questions:
            groups.setdefault(id(question.subject), []).append(question)
        answers = await self._run(list(groups.values()))
        if any(isinstance(answer, NoScriptError) for answer in answers):
            # A Redis that was restarted has forgotten the scripts, and maybe the rest.
            self._told.clear()
            for script in (self._enter, self._leave):
                await self._redis.script_load(script.script)
            answers = [
                answer if not isinstance(answer, NoScriptError) else (await self._run([group]))[0]
                for group, answer in zip(groups.values(), answers, strict=True)
            ]
        said: dict[int, Iterator[list[Any]]] = {}
        for subject, answer in zip(groups, answers, strict=True):
            if isinstance(answer, Exception):
                raise answer
            said[subject] = iter(answer)
        return [next(said[id(question.subject)]) for question in questions]

    async def _run(self, groups: Sequence[Sequence[_Question]]) -> list[Any]:
        """What the scripts answer, or raise, for questions of one subject each."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            for group in groups:
                subject = group[0].subject
                words = chain.from_iterable(question.words for question in group)
                pipeline.evalsha(subject.script.sha, len(subject.keys), *subject.keys, *subject.arguments, *words)
            now = time.monotonic()
            untold = {key for group in groups for key in group[0].subject.watched if self._told.get(key, 0.0) <= now}
            if untold:
                pipeline.sadd(KNOWN, *untold)
                pipeline.expire(KNOWN, KNOWN_FOR_S)
            answers: list[Any] = await pipeline.execute(raise_on_error=False)
            self._told.update(dict.fromkeys(untold, now + TOLD_FOR_S))
            return answers[: len(groups)]


def _keys(visit: Visit) -> list[str]:
    """All of one provider in one slot of a Redis cluster: a script may touch one slot only."""
    scope = f"verification:{{{visit.provider}}}"
    return [
        f"{scope}:breaker:{visit.host}",
        f"{scope}:account:{visit.account}",
        f"{scope}:flights:{visit.account}",
        f"{scope}:budget",
    ]


def _keys_of_tenants(visit: Visit) -> list[str]:
    """Where those who use an account stand with each other."""
    scope = f"verification:{{{visit.provider}}}"
    return [f"{scope}:turns:{visit.account}", f"{scope}:waiting:{visit.account}"]


def _or_empty(limit: float | None) -> float | str:
    return "" if limit is None else limit


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
