"""The door of `verification.verify`: one request put to the provider, with retries, and what its answer means."""

import asyncio
import random
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import orjson
from tenacity import AsyncRetrying, RetryCallState

from tasks.verification import backoff, store
from tasks.verification.classify import Meaning, Status, Verdict, classify
from tasks.verification.client import Exchange, Provider, open_provider
from tasks.verification.credentials import Credentials, read_credentials
from tasks.verification.mapping import Findings, findings
from tasks.verification.progress import Progress
from tasks.verification.question import Question, headers, next_key, request_body
from tasks.verification.report import Report, kept_headers, sentence
from worker.crypto import Place, Undecipherable
from worker.errors import Misconfigured
from worker.job import job
from worker.outcomes import Done, GiveUp, Outcome, Retry

DEADLINE_S = 120
RUN_S = DEADLINE_S - 5.0
"""A run plans to be over by then: only a bug meets the engine's own limit."""

_dice = random.SystemRandom()


@job(
    "verification.verify",
    queue="verification",
    deadline_s=DEADLINE_S,
    max_attempts=100,  # the configuration's retry_attempts is the limit, and a person's to choose
    load=store.load,
    save=store.save,
    opens=open_provider,
)
async def verify(question: Question, provider: Provider) -> Outcome[Report]:
    """Ask, as often as the configuration allows, and say what the answer means.

    Short waits are waited here, long ones by the job's row. A call whose fate is unknown is repeated under its
    Idempotency-Key; after an answer the next call has a key of its own, or the provider would repeat itself.
    """
    try:
        credentials = read_credentials(question.account, provider.keyring)
        place = Place("license", "license_number", str(question.license_id))
        license_number = provider.keyring.decrypt(question.sealed_license_number, place)
    except (Misconfigured, Undecipherable) as error:
        return GiveUp("configuration_error", str(error))

    run = _Run(question, provider, credentials, license_number)
    retrying = AsyncRetrying(
        retry=lambda state: _call_of(state).may_be_repeated,
        wait=lambda state: _call_of(state).wait_s,
        stop=lambda state: not backoff.is_short(_call_of(state).wait_s, run.left_s(), question.account.timeout_s),
        retry_error_callback=_call_of,
        sleep=asyncio.sleep,
    )
    call: _Call = await retrying(run.call)

    if call.verdict.meaning is Meaning.ANSWER:
        return Done(run.report(call, _findings(question, license_number, call)))
    said = sentence(call.exchange.reading, call.verdict, question.account)
    if not call.may_be_repeated or run.is_too_late(call.wait_s):
        return GiveUp(call.verdict.code, said, run.report(call))
    spent = replace(run.report(call), retry_count=call.progress.retries + 1)
    return Retry(call.verdict.code, timedelta(seconds=call.wait_s), said, spent)


@dataclass(frozen=True, slots=True, repr=False)
class _Call:
    """A call that is over: what happened, what it means, and the wait before another one."""

    exchange: Exchange
    verdict: Verdict
    progress: Progress
    may_be_repeated: bool
    wait_s: float


def _call_of(state: RetryCallState) -> _Call:
    assert state.outcome is not None  # noqa: S101 - tenacity asks only about calls that are over
    call: _Call = state.outcome.result()
    return call


class _Run:
    """The calls of one run and the time it has."""

    def __init__(self, question: Question, provider: Provider, credentials: Credentials, license_number: str) -> None:
        self._question = question
        self._provider = provider
        self._credentials = credentials
        body = request_body(question, license_number)
        self._body = orjson.dumps(body)
        # Corrected since it was last sent: a new question, for which the old key must not be used.
        is_changed = question.body_sent not in (None, body)
        key = next_key(question.idempotency_key) if is_changed else question.idempotency_key
        self._progress = Progress(key, question.retry_count)
        self._last: _Call | None = None
        self._started = asyncio.get_running_loop().time()

    async def call(self) -> _Call:
        if self._last is not None:
            self._progress = self._progress.after(self._last.verdict)
        account, progress = self._question.account, self._progress
        exchange = await self._provider.call(
            account.url, self._body, headers(self._question, progress.key), self._credentials, account.timeout_s
        )
        event = exchange.reading.event
        verdict = classify(event)
        header = event.retry_after if isinstance(event, Status) else None
        wait_s = backoff.wait_s(progress.retries, backoff.parse_retry_after(header, datetime.now(UTC)), _dice.random())
        may_be_repeated = progress.allows_retry(verdict, account.retry_attempts)
        self._last = _Call(exchange, verdict, progress, may_be_repeated, wait_s)
        return self._last

    def left_s(self) -> float:
        """Until the run has to be over."""
        job_left_s = self._question.time_left_s
        return (RUN_S if job_left_s is None else min(RUN_S, job_left_s)) - self._elapsed_s()

    def is_too_late(self, wait_s: float) -> bool:
        """Whether the job's deadline comes before the end of such a wait."""
        job_left_s = self._question.time_left_s
        return job_left_s is not None and wait_s >= job_left_s - self._elapsed_s()

    def report(self, call: _Call, found: Findings | None = None) -> Report:
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
        )

    def _elapsed_s(self) -> float:
        return asyncio.get_running_loop().time() - self._started


def _findings(question: Question, license_number: str, call: _Call) -> Findings | None:
    reading = call.exchange.reading
    if reading.answer is None:
        return None
    return findings(question, license_number, reading.answer, is_cleaned=reading.is_cleaned)
