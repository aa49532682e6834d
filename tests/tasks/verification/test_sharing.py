"""Equal questions share one call: who asks, who waits, whose answer is used, and what ends them."""

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, timedelta
from hashlib import md5
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from tasks.verification.drivers.question import DriverQuestion
from tasks.verification.question import Question
from tasks.verification.question_store import load
from tasks.verification.reuse import Reused, reuse
from tasks.verification.sharing import Forgets, Waits, forget
from tasks.verification.store import save
from tests.tasks.verification.factories import Household, insert_configuration, insert_driver, row
from tests.tasks.verification.test_store import URL, VERA, answered, report
from worker import ledger
from worker.crypto import Keyring
from worker.database import Database
from worker.enqueue import EnqueuedVerification, enqueue_verification
from worker.errors import BadRequest
from worker.job import Finished, Job
from worker.outcomes import Cancelled, Done, Expired, GiveUp, Outcome, Retry, Snooze
from worker.settings import Settings
from worker.verdict import judge

LEASE = timedelta(seconds=30)
TODAY = date(2026, 1, 15)


@dataclass
class Platform:
    """Runs as a worker has them: claim with load, finish with save; each `ask` is a job of its own."""

    db: Database
    keyring: Keyring
    configuration_id: int

    def driver(self) -> Household:
        with self.db.transaction() as connection:
            return insert_driver(connection, self.keyring, VERA)

    def ask(self, household: Household, **others: Any) -> EnqueuedVerification:
        with self.db.transaction() as connection:
            return enqueue_verification(
                connection, integration="DCS_HOUSEHOLD_DRIVERS", driver_id=household.driver_id, **others
            )

    def begin(self, *asked: EnqueuedVerification) -> list[tuple[Job, Any]]:
        return self.begin_ids([one.job_id for one in asked])

    def begin_ids(self, ids: Sequence[UUID]) -> list[tuple[Job, Any]]:
        with self.db.transaction() as connection:
            jobs = {job.id: job for job in ledger.claim(connection, ids, owner="w", lease=LEASE)}
            inputs = load(connection, list(jobs.values()))
        return [(jobs[id_], inputs[id_]) for id_ in ids if id_ in jobs]

    def end(self, *runs: tuple[Job, Any, Outcome[Any]]) -> None:
        with self.db.transaction() as connection:
            ledger.finish(connection, [(job, judge(job, outcome)) for job, _, outcome in runs])
            save(connection, [Finished(*run) for run in runs])

    def run(self, asked: EnqueuedVerification, **said: Any) -> Any:
        """From claim to finish; with an answer if there is a call. Gives what `load` gave."""
        ((job, inputs),) = self.begin(asked)
        if not isinstance(inputs, DriverQuestion):
            self.end((job, None, inputs))
        elif inputs.known is not None:
            reused = reuse(inputs, self.keyring, inputs.known, TODAY)
            assert reused is not None
            self.end((job, inputs, Done(reused)))
        else:
            self.end((job, inputs, answered(inputs, **said)))
        return inputs

    def change(self, statement: str, **values: Any) -> None:
        with self.db.transaction() as connection:
            connection.execute(text(statement), values)

    def row(self, table: str, id_: int) -> dict[str, Any]:
        with self.db.transaction() as connection:
            return row(connection, table, id_)

    def request(self, asked: EnqueuedVerification) -> dict[str, Any]:
        return self.row("integration_request", asked.request_id)

    def results(self, asked: EnqueuedVerification) -> list[dict[str, Any]]:
        statement = text("SELECT * FROM integration_verification_result WHERE request_id = :id ORDER BY id")
        with self.db.transaction() as connection:
            return [dict(one) for one in connection.execute(statement, {"id": asked.request_id}).mappings()]

    def is_due(self, asked: EnqueuedVerification) -> bool:
        statement = text("SELECT state = 'ready' AND run_at <= now() FROM job WHERE id = :id")
        with self.db.transaction() as connection:
            return bool(connection.execute(statement, {"id": asked.job_id}).scalar_one())


@pytest.fixture
def platform(db: Database, settings: Settings) -> Platform:
    keyring = Keyring.of(settings)
    with db.transaction() as connection:
        return Platform(db, keyring, insert_configuration(connection, keyring, URL))


def test_an_answer_that_is_valid_is_used_again_and_everything_else_is_done(platform: Platform) -> None:
    household = platform.driver()
    first = platform.ask(household)
    platform.run(first, confidence_score=91)
    platform.change("UPDATE driver SET verification_confidence = NULL, external_verification_status = 'not_verified'")
    second = platform.ask(household)
    assert (first.how, second.how, second.is_new) == ("new", "cached", True)
    inputs = platform.run(second)
    assert inputs.known.request_id == first.request_id

    request = platform.request(second)
    assert (request["request_status"], request["answered_by"]) == ("completed", first.request_id)
    assert request["response_body"] is None, "the answer is kept once"
    assert request["sent_at"] is None
    old, new = platform.results(first), platform.results(second)
    assert [r["is_cached_result"] for r in (*old, *new)] == [False] * 4 + [True] * 4
    same = ("verification_type", "verification_status", "verified_data", "cache_expires_at", "external_verification_id")
    assert [[r[name] for name in same] for r in new] == [[r[name] for name in same] for r in old]
    driver = platform.row("driver", household.driver_id)
    assert (driver["external_verification_status"], driver["verification_confidence"]) == ("verified", 91)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE driver SET last_name = 'Valid-Vane'",
        "UPDATE license SET license_number = 'enc:v1:other'",
        "UPDATE address SET zip_code = '78702'",
        "UPDATE integration_configuration SET endpoint_url = 'https://dcs.example/v3'",
        "UPDATE asked_question SET answer_until = now()",
        "UPDATE integration_request SET pii_masked = true",
        "UPDATE integration_configuration SET cache_ttl_hours = 0",
    ],
)
def test_a_question_that_has_changed_is_asked_anew(platform: Platform, change: str) -> None:
    household = platform.driver()
    platform.run(platform.ask(household))
    platform.change(change)
    second = platform.ask(household)
    assert second.how == "new"
    ((_, inputs),) = platform.begin(second)
    assert isinstance(inputs, Question)
    assert inputs.known is None


def test_what_a_verification_itself_changes_is_no_new_question(platform: Platform) -> None:
    household = platform.driver()
    asked = {"driver": household.driver_id, "license": household.license_id, "address": household.address_id}

    def versions() -> list[int]:
        return [platform.row(table, id_)["question_version"] for table, id_ in asked.items()]

    before = versions()
    platform.run(platform.ask(household))
    platform.change("UPDATE driver SET first_name = first_name")
    assert versions() == before


def test_a_correction_between_asking_and_beginning_counts(platform: Platform) -> None:
    household = platform.driver()
    platform.run(platform.ask(household))
    second = platform.ask(household)
    assert second.how == "cached"
    platform.change("UPDATE driver SET first_name = 'Verena'")
    ((_, inputs),) = platform.begin(second)
    assert inputs.known is None


def test_criminal_records_are_never_shared(platform: Platform) -> None:
    with platform.db.transaction() as connection:
        texts = [
            connection.execute(text("SELECT question_text(:api, 1, 'x', 24, '42 1')"), {"api": api}).scalar_one()
            for api in ("criminal", "drivers")
        ]
    assert texts[0] is None
    assert texts[1] is not None


def test_no_personal_data_is_in_what_names_a_question(platform: Platform) -> None:
    household = platform.driver()
    platform.run(platform.ask(household))
    with platform.db.transaction() as connection:
        (named,) = connection.execute(text("SELECT question FROM asked_question")).scalars()
    endpoint = md5(f"{URL}/v2.7/household-drivers".encode(), usedforsecurity=False).hexdigest()
    rows = rf"{household.driver_id} \d, {household.license_id} \d, {household.address_id} \d, , "
    assert re.fullmatch(f"{platform.configuration_id} {endpoint} {rows}", named)


def test_another_tenant_shares_nothing(platform: Platform) -> None:
    household = platform.driver()
    platform.run(platform.ask(household, tenant="T1"))
    other = platform.ask(household, tenant="T2")
    assert other.how == "new"
    ((_, inputs),) = platform.begin(other)
    assert inputs.known is None


def test_one_asks_and_the_others_wait_and_are_woken_with_its_answer(platform: Platform) -> None:
    household = platform.driver()
    asked = [platform.ask(household) for _ in range(3)]
    assert [one.how for one in asked] == ["new", "joined", "joined"]
    (first, second, third) = platform.begin(*asked)
    assert isinstance(first[1], DriverQuestion)
    for job, waits in (second, third):
        assert isinstance(waits, Snooze)
        assert waits.reason == f"request {asked[0].request_id}, which asks the same"
        platform.end((job, None, waits))
    assert not platform.is_due(asked[1])
    platform.end((*first, answered(first[1])))
    assert platform.is_due(asked[1])
    assert platform.is_due(asked[2])
    for one in asked[1:]:
        assert platform.run(one).known.request_id == asked[0].request_id
        assert platform.request(one)["request_status"] == "completed"


def test_who_comes_to_wait_after_the_answer_looks_again_at_once(platform: Platform) -> None:
    household = platform.driver()
    asked = [platform.ask(household) for _ in range(2)]
    first, (job, waits) = platform.begin(*asked)
    platform.end((*first, answered(first[1])))
    platform.end((job, None, waits))
    assert platform.is_due(asked[1])


@pytest.mark.parametrize("end", [Cancelled(), Expired(), GiveUp("worker_died", "3 workers died while they ran it.")])
def test_an_asker_that_was_only_stopped_is_followed_by_one_of_those_who_wait(
    platform: Platform, end: Outcome[Any]
) -> None:
    household = platform.driver()
    asked = [platform.ask(household) for _ in range(3)]
    first, *others = platform.begin(*asked)
    for job, waits in others:
        platform.end((job, None, waits))
    platform.end((first[0], first[1] if isinstance(end, Cancelled) else None, end))
    second, third = platform.begin(*asked[1:])
    assert isinstance(second[1], Question)
    assert isinstance(third[1], Snooze)
    assert third[1].result == Waits("system", second[1].text or "", asked[1].request_id)


def test_who_waits_gives_up_with_an_asker_that_gives_up(platform: Platform) -> None:
    household = platform.driver()
    asked = [platform.ask(household) for _ in range(2)]
    first, (job, waits) = platform.begin(*asked)
    platform.end((job, None, waits))
    platform.end((*first, GiveUp("request_refused", "The provider answered 422.", report(first[1]))))
    outcome = platform.run(asked[1])
    assert outcome == GiveUp(
        "request_refused", f"So ended request {asked[0].request_id}, which asked the same. The provider answered 422."
    )
    platform.change("SELECT reopen_jobs(ARRAY[CAST(:id AS uuid)], 'me')", id=asked[1].job_id)
    ((_, inputs),) = platform.begin(asked[1])
    assert isinstance(inputs, Question), "retried by hand it asks for itself"


def test_who_waits_waits_through_the_retries_of_the_asker(platform: Platform) -> None:
    household = platform.driver()
    asked = [platform.ask(household) for _ in range(2)]
    first, (job, waits) = platform.begin(*asked)
    platform.end((job, None, waits))
    later: Retry[Any] = Retry("provider_error", timedelta(hours=1), "", report(first[1]))
    platform.end((*first, later))
    assert not platform.is_due(asked[1])
    platform.change("UPDATE job SET run_at = now()")
    ((job, waits),) = platform.begin(asked[1])
    assert isinstance(waits, Snooze)
    platform.end((job, None, waits))
    platform.run(asked[0])
    assert platform.run(asked[1]).known.request_id == asked[0].request_id


def test_an_asker_that_is_never_heard_of_again_is_replaced(platform: Platform) -> None:
    household = platform.driver()
    asked = [platform.ask(household) for _ in range(2)]
    platform.begin(asked[0])
    platform.change("UPDATE asked_question SET open_until = now()")
    ((_, inputs),) = platform.begin(asked[1])
    assert isinstance(inputs, Question)


def test_a_rescued_asker_goes_on_asking(platform: Platform) -> None:
    household = platform.driver()
    asked = [platform.ask(household) for _ in range(2)]
    platform.begin(asked[0])
    platform.change("UPDATE job SET lease_until = now() - interval '1 second' WHERE state = 'running'")
    with platform.db.transaction() as connection:
        assert ledger.rescue(connection, limit=10) == 1
    (again, other) = platform.begin(*asked)
    assert isinstance(again[1], Question)
    assert isinstance(other[1], Snooze)


def test_force_asks_and_its_answer_is_the_one_used_from_then_on(platform: Platform) -> None:
    household = platform.driver()
    platform.run(platform.ask(household), confidence_score=10)
    forced = platform.ask(household, force=True)
    assert forced.how == "new"
    assert platform.run(forced, confidence_score=20).known is None
    assert platform.run(platform.ask(household)).known.request_id == forced.request_id


def test_force_needs_the_right_to_it(platform: Platform) -> None:
    household = platform.driver()
    with pytest.raises(BadRequest, match="right to force calls") as refusal:
        platform.ask(household, force=True, groups=["quotes-app"])
    assert refusal.value.code == "forbidden"
    platform.ask(household, groups=["quotes-app"])
    platform.change(
        """INSERT INTO integration_permission (integration_id, permission_type, permission_target_id, scope_level,
               can_force_calls, status_id, created_by)
           SELECT integration_id, 'group', 'quotes-app', 'system', true, status_id, created_by
           FROM integration_configuration"""
    )
    assert platform.ask(household, force=True, groups=["quotes-app"]).how == "new"


def test_an_answer_that_can_not_be_read_any_more_is_asked_for_again(platform: Platform) -> None:
    household = platform.driver()
    platform.run(platform.ask(household))
    platform.change("UPDATE integration_request SET response_body = '{\"verification_status\": 7}'")
    second = platform.ask(household)
    ((job, inputs),) = platform.begin(second)
    assert reuse(inputs, platform.keyring, inputs.known, TODAY) is None
    outcome = forget(inputs)
    assert isinstance(outcome.result, Forgets)
    platform.end((job, inputs, outcome))
    ((_, again),) = platform.begin(second)
    assert again.known is None


def test_an_empty_answer_is_an_answer_too(platform: Platform) -> None:
    household = platform.driver()
    platform.run(platform.ask(household))
    platform.change("UPDATE integration_request SET response_body = NULL")
    inputs = platform.run(platform.ask(household))
    assert isinstance(reuse(inputs, platform.keyring, inputs.known, TODAY), Reused)
    assert platform.row("driver", household.driver_id)["external_verification_status"] == "failed"


def test_a_hundred_equal_questions_begun_at_once_make_one_call(platform: Platform) -> None:
    household = platform.driver()
    asked = [platform.ask(household) for _ in range(100)]
    with ThreadPoolExecutor(4) as pool:
        begun = [run for runs in pool.map(lambda some: platform.begin(*some), _fours(asked)) for run in runs]
    assert len(begun) == 100
    assert sum(isinstance(inputs, Question) for _, inputs in begun) == 1
    assert sum(isinstance(inputs, Snooze) for _, inputs in begun) == 99


def _fours(asked: list[EnqueuedVerification]) -> list[list[EnqueuedVerification]]:
    return [asked[start : start + 4] for start in range(0, len(asked), 4)]


def test_claims_that_meet_in_two_questions_do_not_wait_in_a_circle(platform: Platform) -> None:
    one, two = platform.driver(), platform.driver()
    pairs = [
        (platform.ask(one), platform.ask(two)) if n % 2 else (platform.ask(two), platform.ask(one)) for n in range(20)
    ]
    with ThreadPoolExecutor(4) as pool:
        begun = [run for runs in pool.map(lambda pair: platform.begin(*pair), pairs) for run in runs]
    assert sum(isinstance(inputs, Question) for _, inputs in begun) == 2


def test_cancelling_one_who_waits_is_nothing_to_the_others(platform: Platform) -> None:
    household = platform.driver()
    asked = [platform.ask(household) for _ in range(3)]
    assert len({one.job_id for one in asked}) == len({one.request_id for one in asked}) == 3
    first, *others = platform.begin(*asked)
    for job, waits in others:
        platform.end((job, None, waits))
    with platform.db.transaction() as connection:
        ledger.request_cancel(connection, asked[1].job_id)
        (job,) = ledger.claim(connection, [asked[1].job_id], owner="w", lease=LEASE)
    platform.end((job, None, Cancelled()))
    platform.end((*first, answered(first[1])))
    platform.run(asked[2])
    assert [platform.request(one)["request_status"] for one in asked] == ["completed", "failed", "completed"]
