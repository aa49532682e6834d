"""The door of `verification.verify`: one request put to the provider, with retries, and what its answer means."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from tasks.verification import sharing
from tasks.verification.apis import APIS
from tasks.verification.attempt import RUN_S, Attempt, NotNow
from tasks.verification.classify import Meaning
from tasks.verification.client import Provider, open_provider
from tasks.verification.credentials import read_credentials
from tasks.verification.gate import Closed
from tasks.verification.question import Question
from tasks.verification.question_store import load
from tasks.verification.report import Report, sentence
from tasks.verification.reuse import Reused, reuse
from tasks.verification.store import save
from worker.crypto import Undecipherable
from worker.errors import Misconfigured
from worker.job import job
from worker.outcomes import Done, GiveUp, Outcome, Retry, Snooze


@job(
    "verification.verify",
    queue="verification",
    deadline_s=RUN_S + 5,
    max_attempts=100,  # the configuration's retry_attempts is the limit, and a person's to choose
    load=load,
    save=save,
    opens=open_provider,
)
async def verify(question: Question, provider: Provider) -> Outcome[Report | Reused]:
    """Ask, as often as the configuration allows, and say what the answer means.

    Short waits are waited here, long ones by the job's row. A call whose fate is unknown is repeated under its
    Idempotency-Key; after an answer the next call has a key of its own, or the provider would repeat itself. Each call
    passes the gate; what it and the provider postpone, and failures of an outage, cost neither attempt nor retry, also
    those from before it was known for one. An answer promised for later is looked for by runs of their own: between two
    looks no worker has the job.
    """
    try:
        credentials = read_credentials(question.account, provider.keyring)
        body = APIS[question.account.api].body(question, provider.keyring)
    except (Misconfigured, Undecipherable) as error:
        return GiveUp("configuration_error", str(error))

    if question.known is not None:
        reused = reuse(question, provider.keyring, question.known, datetime.now(UTC).date())
        return Done(reused) if reused is not None else sharing.forget(question)

    attempt = Attempt(question, provider, credentials, body)
    try:
        call = await attempt.last_call()
    except NotNow as refused:
        return attempt.come_back(refused.closed)

    if call.verdict.meaning is Meaning.ANSWER:
        return Done(attempt.report(call, attempt.found(call)))
    if call.verdict.meaning is Meaning.PENDING:
        return attempt.look_again(call)
    said = sentence(call.exchange.reading, call.verdict, question.account)
    if call.outage_s is not None:
        return attempt.come_back(Closed(call.outage_s, is_breaker=True))
    if not call.may_be_repeated:
        return GiveUp(call.verdict.code, said, attempt.report(call))
    if call.is_asked_to_wait and (call.wait_s > RUN_S or attempt.is_too_late(call.wait_s)):
        return attempt.come_back(Closed(call.wait_s, is_breaker=False))
    if attempt.is_too_late(call.wait_s):
        return GiveUp(call.verdict.code, said, attempt.report(call))
    spent = replace(attempt.report(call), retry_count=call.progress.retries + 1)
    if call.is_held_back:
        return Snooze("too many calls fail: retries take turns", timedelta(seconds=call.wait_s), spent)
    return Retry(call.verdict.code, timedelta(seconds=call.wait_s), said, spent)
