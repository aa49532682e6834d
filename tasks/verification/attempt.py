"""One run's calls to the provider: through the gate, again where it helps, and what remains to be said of the last."""

import asyncio
import random
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import orjson
from tenacity import AsyncRetrying, RetryCallState

from tasks.verification import backoff
from tasks.verification.address import host_of
from tasks.verification.apis import APIS
from tasks.verification.classify import Meaning, Status, Verdict, classify
from tasks.verification.client import KIND, Call, Exchange, Provider
from tasks.verification.credentials import Credentials
from tasks.verification.gate import Closed, Ending, Visit, ending_of, is_about_account, remaining
from tasks.verification.pending import GIVEN_UP_AFTER_S, look_again_s
from tasks.verification.progress import Progress, is_forgiven
from tasks.verification.question import CORRELATION, Question, headers, next_key
from tasks.verification.reading import read
from tasks.verification.report import Report, kept_headers
from tasks.verification.results import Found
from tasks.verification.reuse import Reused
from worker import spans
from worker.outcomes import GiveUp, Outcome, Snooze
from worker.values import value

RUN_S = 115.0
"""A run plans to be over by then: only a bug meets the engine's own limit."""

_dice = random.SystemRandom()


@value(repr=False)
class CallMade:
    """A call that is over: what happened, what it means, and the wait before another one.

    `outage_s`: it failed because the provider does, and so will others for that long.
    """

    exchange: Exchange
    verdict: Verdict
    progress: Progress
    may_be_repeated: bool
    wait_s: float
    is_asked_to_wait: bool
    is_held_back: bool
    outage_s: float | None


class NotNow(Exception):
    """The gate is closed: no call is made, none is spent."""

    def __init__(self, closed: Closed) -> None:
        self.closed = closed


class Attempt:
    """The calls of one run of the job, and the time it has."""

    def __init__(self, question: Question, provider: Provider, credentials: Credentials, body: dict[str, Any]) -> None:
        self._question = question
        self._provider = provider
        self._credentials = credentials
        self._body = orjson.dumps(body)
        # Corrected since it was last sent: a new question, for which the old key must not be used.
        is_changed = question.body_sent not in (None, body)
        key = next_key(question.idempotency_key) if is_changed else question.idempotency_key
        self._poll_url = question.pending.url if question.pending is not None and not is_changed else None
        if self._poll_url is None and question.tally.next_reason == "poll":
            question.tally.next_reason = "retry"
        self._progress = Progress(key, question.retry_count)
        self._last: CallMade | None = None
        self._started = time.monotonic()

    async def last_call(self) -> CallMade:
        """Call, and again after a wait each, as long as there is reason and room to.

        Raises `NotNow` where the gate lets nobody through for longer than a nap.
        """
        first = await self._call()
        if not (first.may_be_repeated and self._repeats_here(first)):
            return first  # most are the only ones, and tenacity's own work would add a fourteenth to their CPU
        made = [first]

        async def next_call() -> CallMade:
            return made.pop() if made else await self._call()

        retrying = AsyncRetrying(
            retry=lambda state: _call_of(state).may_be_repeated,
            wait=lambda state: _call_of(state).wait_s,
            stop=lambda state: not self._repeats_here(_call_of(state)),
            retry_error_callback=_call_of,
            sleep=asyncio.sleep,
        )
        last: CallMade = await retrying(next_call)
        return last

    def come_back(self, closed: Closed) -> Outcome[Report | Reused]:
        """Later, with no attempt and no retry spent; unless the deadline is nearer and the answer is not required.

        An outage is known by its first failures only: what they cost is given back to those who meet the breaker.
        """
        account = self._question.account
        made = None if self._last is None else self.report(self._last)
        if not closed.is_breaker:
            until = datetime.now(UTC) + timedelta(seconds=closed.wait_s)
            return Snooze(f"limited until {until:%Y-%m-%dT%H:%M:%SZ}", timedelta(seconds=closed.wait_s), made)
        wait_s = backoff.spread_s(closed.wait_s, _dice.random())
        host = host_of(account.url)
        if not account.is_required and self.is_too_late(wait_s):
            return GiveUp("circuit_open", f"Calls to {host} fail; it is asked again after the deadline.", made)
        given_back = 0
        if self._is_forgiven():
            given_back = self._question.retry_count
            made = None if made is None else replace(made, retry_count=0)
        return Snooze(f"breaker of {host} open", timedelta(seconds=wait_s), made, given_back)

    async def _call(self) -> CallMade:
        progress = self._progress if self._last is None else self._progress.after(self._last.verdict)
        account, gate = self._question.account, self._provider.gate
        visit = self._visit(is_first=progress.retries == 0)
        began = self._elapsed_s()
        patience_s = backoff.patience_s(self.left_s(), account.timeout_s)
        leave = await gate.enter(visit, patience_s, self._question.tenant)
        self._provider.metrics.took(KIND, "limit", self._elapsed_s() - began)
        if isinstance(leave, Closed):
            raise NotNow(leave)
        self._progress = progress
        self._question.tally.begin()
        try:
            with spans.span("provider", "client", self._called()) as span:
                exchange = await self._provider.call(
                    self._next(progress.key),
                    self._credentials,
                    account.timeout_s,
                    is_sandbox=account.environment == "sandbox",
                )
                if span is not None:
                    span.set_attribute("provider.outcome", classify(exchange.reading.event).code)
        except asyncio.CancelledError:
            await gate.leave(visit, leave, Ending.SILENT)
            raise
        self._question.tally.end(exchange.calls)
        event = exchange.reading.event
        verdict = classify(event)
        self._provider.metrics.called(account.integration_code, verdict.code)
        may_be_repeated = progress.allows_retry(verdict, account.retry_attempts)
        header = event.retry_after if isinstance(event, Status) else None
        retry_after_s = backoff.parse_retry_after(header, datetime.now(UTC))
        after = await gate.leave(
            visit,
            leave,
            ending_of(event, verdict),
            wants_retry=may_be_repeated,
            retry_after_s=retry_after_s,
            is_about_account=is_about_account(exchange.headers),
            remaining=remaining(exchange.headers),
        )
        wait_s = max(backoff.wait_s(progress.retries, retry_after_s, _dice.random()), after.held_back_s or 0.0)
        self._last = CallMade(
            exchange,
            verdict,
            progress,
            may_be_repeated,
            wait_s,
            is_asked_to_wait=retry_after_s is not None,
            is_held_back=after.held_back_s is not None,
            # The probe that failed comes back after the others: it may have failed for a reason of its own.
            outage_s=after.open_for_s and after.open_for_s * (1.5 if leave.is_probe else 1.0),
        )
        return self._last

    def _repeats_here(self, call: CallMade) -> bool:
        """Whether another call is made in this run."""
        if call.outage_s is not None or call.is_held_back or not self._question.tally.has_room:
            return False
        return backoff.is_short(call.wait_s, self.left_s(), self._question.account.timeout_s)

    def _is_forgiven(self) -> bool:
        pending = self._question.pending
        if self._poll_url is not None and pending is not None and pending.for_s > GIVEN_UP_AFTER_S:
            return False
        calls = self._question.calls_made + self._question.tally.paid
        return is_forgiven(calls, self._question.account.retry_attempts)

    def left_s(self) -> float:
        """Until the run has to be over."""
        job_left_s = self._question.time_left_s
        return (RUN_S if job_left_s is None else min(RUN_S, job_left_s)) - self._elapsed_s()

    def is_too_late(self, wait_s: float) -> bool:
        """Whether the job's deadline comes before the end of such a wait."""
        job_left_s = self._question.time_left_s
        return job_left_s is not None and wait_s >= job_left_s - self._elapsed_s()

    def report(self, call: CallMade, found: Found | None = None) -> Report:
        exchange, reading = call.exchange, call.exchange.reading
        return Report(
            request_headers=headers(self._question, call.progress.key),
            request_body=self._body.decode(),
            retry_count=call.progress.retries,
            status_code=exchange.status_code,
            response_headers=kept_headers(exchange.headers),
            response_body=reading.kept,
            response_time_ms=exchange.time_ms,
            transaction_id=reading.transaction_id,
            is_timeout=call.verdict.is_timeout,
            findings=found,
            poll_url=self._still_promised(call),
        )

    def found(self, call: CallMade) -> Found:
        """What the answer means."""
        reading, keyring = call.exchange.reading, self._provider.keyring
        conclude = APIS[self._question.account.api].conclude
        return conclude(
            self._question,
            reading.answer,
            keyring,
            is_cleaned=reading.is_cleaned,
            document=reading.document,
            today=datetime.now(UTC).date(),
        )

    def look_again(self, call: CallMade) -> Outcome[Report | Reused]:
        """Later, at the address that came with the promise; no attempt and no retry is spent."""
        pending = self._question.pending
        if self._poll_url is not None and pending is not None and pending.for_s > GIVEN_UP_AFTER_S:
            hours = round(GIVEN_UP_AFTER_S / 3600)
            forgotten = replace(self.report(call), poll_url=None)  # whoever repeats the job asks anew
            return GiveUp("answer_never_came", f"The promised answer is pending for {hours} hours.", forgotten)
        event = call.exchange.reading.event
        header = event.retry_after if isinstance(event, Status) else None
        wait_s = look_again_s(backoff.parse_retry_after(header, datetime.now(UTC)), _dice.random())
        return Snooze("the provider's answer, promised for later", timedelta(seconds=wait_s), self.report(call))

    def _next(self, key: str) -> Call:
        """The call to be made: the question, or a look for the answer that was promised to it."""
        read_answer = partial(read, APIS[self._question.account.api].form, self._question)
        if self._poll_url is None:
            return Call(self._question.account.url, self._body, headers(self._question, key), read_answer)
        return Call(self._poll_url, None, {CORRELATION: self._question.correlation_id}, read_answer)

    def _still_promised(self, call: CallMade) -> str | None:
        """Where to look next. After an answer or a refusal a repetition of the job asks anew."""
        if call.verdict.meaning is Meaning.PENDING:
            return call.exchange.reading.poll_url
        return None if call.verdict.meaning in (Meaning.ANSWER, Meaning.PERMANENT) else self._poll_url

    def _visit(self, *, is_first: bool) -> Visit:
        account = self._question.account
        provider = f"{account.integration_code}:{account.environment}"
        return Visit(
            provider,
            host_of(account.url),
            # Not the login itself: Redis holds no secret.
            self._provider.keyring.blind_index(f"account|{provider}", self._credentials.holder)[:32],
            account.max_requests_per_second,
            account.max_calls_in_flight,
            account.timeout_s,
            is_first,
        )

    def _called(self) -> dict[str, str | int]:
        return {
            "provider.integration": self._question.account.integration_code,
            "provider.environment": self._question.account.environment,
        }

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._started


def _call_of(state: RetryCallState) -> CallMade:
    assert state.outcome is not None  # noqa: S101 - tenacity asks only about calls that are over
    call: CallMade = state.outcome.result()
    return call
