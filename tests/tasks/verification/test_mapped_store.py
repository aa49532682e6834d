"""Field mappings from row to row: an answer, the mapping of the nearest scope, and the column it brings up to date."""

from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import pytest
from sqlalchemy import text

from models.users import SYSTEM_USER_ID
from tasks.verification.drivers.findings import findings
from tasks.verification.drivers.question import DriverQuestion
from tasks.verification.mapped_store import save_mapped
from tasks.verification.question_store import load
from tasks.verification.store import save
from tests.tasks.verification.factories import (
    Household,
    answer_about,
    insert_configuration,
    insert_driver,
    make_job,
    parsed,
    row,
)
from tests.tasks.verification.test_store import report
from tests.waiting import in_thread, until
from tests.worker.integration_rows import add_producer, add_program, integration
from worker.configuration.field_mapping import nodes, versions
from worker.crypto import Keyring
from worker.database import Database
from worker.dev.sandbox.personas import BY_LICENSE
from worker.enqueue import enqueue_verification
from worker.job import Finished, Job
from worker.outcomes import Done
from worker.permissions import Actor, Scope
from worker.settings import Settings

SYSTEM = Actor(SYSTEM_USER_ID)
VERA = BY_LICENSE["TX00000001"]
TYPE_NODE = "driver_data.license_info.license_type"
ISSUED_NODE = "driver_data.license_info.issue_date"
CITY_NODE = "driver_data.address_info.current_address.city"
CODE = "DCS_HOUSEHOLD_DRIVERS"


@dataclass
class Platform:
    db: Database
    keyring: Keyring
    scope: Scope
    household: Household

    def ask(self, program: str | None = None, producer: str | None = None) -> Job:
        driver_id = self.household.driver_id
        with self.db.transaction() as connection:
            asked = enqueue_verification(
                connection, integration=CODE, driver_id=driver_id, program=program, producer=producer
            )
            return make_job(asked.request_id)

    def load(self, job: Job) -> DriverQuestion:
        with self.db.transaction() as connection:
            question = load(connection, [job])[job.id]
        assert isinstance(question, DriverQuestion)
        return question

    def answer(self, job: Job, **license_info: Any) -> None:
        question = self.load(job)
        said = answer_about(question)
        said["driver_data"]["license_info"].update(license_info)
        said["driver_data"]["address_info"]["current_address"]["city"] = f"{VERA.address.city} ".upper()
        found = findings(question, "TX00000001", parsed(said), is_cleaned=False, document=said, today=date(2026, 1, 15))
        done: Done[Any] = Done(replace(report(question), findings=found))
        with self.db.transaction() as connection:
            save(connection, [Finished(job, question, done)])

    def row(self, table: str) -> dict[str, Any]:
        with self.db.transaction() as connection:
            return row(connection, table, getattr(self.household, f"{table}_id"))


@pytest.fixture
def platform(db: Database, settings: Settings) -> Platform:
    keyring = Keyring.of(settings)
    with db.transaction() as connection:
        insert_configuration(connection, keyring, "https://dcs.example")
        scope = Scope(integration(connection))
        for node, data_type in ((TYPE_NODE, "string"), (ISSUED_NODE, "date")):
            nodes.add_node(connection, SYSTEM, scope, node, data_type)
        return Platform(db, keyring, scope, insert_driver(connection, keyring, VERA))


def test_an_answer_brings_the_mapped_columns_up_to_date_beside_the_others(platform: Platform) -> None:
    with platform.db.transaction() as connection:
        for node, target, rules in (
            (TYPE_NODE, "license.license_type", {"lookup": {"DL": "driver"}}),
            (ISSUED_NODE, "license.issue_date", {"date": True}),
            (CITY_NODE, "address.city", {"trim": True, "titlecase": True}),
        ):
            versions.add(connection, SYSTEM, platform.scope, node, target, transformation=rules)
    job = platform.ask()
    platform.answer(job, issue_date="05/15/2020")
    license_ = platform.row("license")
    assert (license_["license_type"], license_["issue_date"]) == ("driver", date(2020, 5, 15))
    assert license_["external_verification_status"] == "verified"
    assert platform.row("address")["city"] == VERA.address.city
    assert platform.row("driver")["first_name"] == VERA.first_name

    # Nothing in the next answer: what is there stays. A word that the mapping does not know: noted, not written.
    platform.answer(platform.ask(), issue_date=None)
    assert platform.row("license")["issue_date"] == date(2020, 5, 15)
    bad = platform.ask()
    platform.answer(bad, license_type="CDL", issue_date="2021-01-01")
    license_ = platform.row("license")
    assert (license_["license_type"], license_["issue_date"]) == ("driver", date(2021, 1, 1))
    with platform.db.transaction() as connection:
        noted = connection.execute(
            text(
                """SELECT discrepancies FROM integration_verification_result
                   WHERE request_id = :request_id AND verification_type = 'license'"""
            ),
            bad.args,
        ).scalar_one()
    assert noted == [{"node_path": TYPE_NODE, "match": "not_in_lookup", "source": "mapping"}]


def test_each_job_follows_the_mapping_of_whom_it_was_asked_for(platform: Platform) -> None:
    with platform.db.transaction() as connection:
        program, producer = add_program(connection, "P1"), add_producer(connection, "R1")
        for scope, word in (
            (platform.scope, "system"),
            (replace(platform.scope, program_id=program), "program"),
            (replace(platform.scope, producer_id=producer), "producer"),
        ):
            rules = {"lookup": {"DL": word}}
            versions.add(connection, SYSTEM, scope, TYPE_NODE, "license.license_type", transformation=rules)
    for asked_for, word in (((None, None), "system"), (("P1", None), "program"), (("P1", "R1"), "producer")):
        platform.answer(platform.ask(*asked_for))
        assert platform.row("license")["license_type"] == word


def test_a_new_version_counts_from_the_next_job_on(platform: Platform) -> None:
    platform.answer(platform.ask())
    assert platform.row("license")["license_type"] is None
    with platform.db.transaction() as connection:
        mapping = versions.add(connection, SYSTEM, platform.scope, TYPE_NODE, "license.license_type")
    platform.answer(platform.ask())
    assert platform.row("license")["license_type"] == "DL"
    with platform.db.transaction() as connection:
        versions.replace(connection, SYSTEM, mapping, transformation={"lowercase": True})
    platform.answer(platform.ask())
    assert platform.row("license")["license_type"] == "dl"


def test_thresholds_and_nicknames_come_with_the_configuration(platform: Platform) -> None:
    with platform.db.transaction() as connection:
        connection.execute(
            text(
                """UPDATE integration_configuration
                   SET verified_confidence = 99, partial_confidence = 10, match_nicknames = true"""
            )
        )
    job = platform.ask()
    assert platform.load(job).scrutiny.match_nicknames
    platform.answer(job)
    assert platform.row("driver")["external_verification_status"] == "partial"


def test_rows_are_locked_in_the_order_of_their_ids(platform: Platform) -> None:
    """Two transactions that name the same rows in opposite orders wait for each other, never in a circle."""
    with platform.db.transaction() as connection:
        other = insert_driver(connection, platform.keyring, VERA)
    ids = [platform.household.address_id, other.address_id]

    def write(order: list[int], city: str) -> None:
        with platform.db.transaction() as connection:
            save_mapped(connection, "address", {id_: {"city": city} for id_ in order})

    with platform.db.transaction() as connection:
        connection.execute(text("SELECT FROM address WHERE id = :id FOR UPDATE"), {"id": min(ids)})
        waiting = [in_thread(lambda: write(ids, "One")), in_thread(lambda: write(ids[::-1], "Two"))]
        until(lambda: waiting_locks(platform.db) >= len(waiting))
    for wait in waiting:
        wait()
    with platform.db.transaction() as connection:
        cities = {row(connection, "address", id_)["city"] for id_ in ids}
    assert len(cities) == 1


def test_a_row_that_says_so_already_keeps_its_time(platform: Platform) -> None:
    before = platform.row("address")
    with platform.db.transaction() as connection:
        save_mapped(connection, "address", {before["id"]: {"city": before["city"], "state": before["state"]}})
    assert platform.row("address") == before


def waiting_locks(db: Database) -> int:
    with db.transaction() as connection:
        return int(connection.execute(text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar_one())
