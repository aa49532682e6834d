"""A policy of 0 days masks requests once they are over, but not before everybody has had their answer."""

from psycopg import sql

from models import Base
from models.users import SYSTEM_USER_ID
from tests.migrations.rows import insert
from tests.tasks.maintaining import Maintained
from tests.tasks.masking.platform import counts, left, marks, requests
from tests.tasks.verification.conftest import _sandbox, sandbox, system  # noqa: F401 - these are fixtures
from tests.tasks.verification.system import BY_SCENARIO, CRIMINAL, DRIVERS, VEHICLES, System
from worker.dev.leaks.canaries import FROM_THE_SANDBOX, Search, disguised, values_of
from worker.operating.household import decline_household_member

AT_ONCE = "UPDATE data_retention_policies SET mask_after_days = 0 WHERE table_name = 'integration_request'"
JOBS = (
    "SELECT run_at - now() AS wait, args FROM job WHERE kind = 'masking.completed' AND state = 'ready' ORDER BY run_at"
)


def over(completed: Maintained, ids: list[int]) -> None:
    """The requests end now, each in a transaction of its own."""
    for id_ in ids:
        completed.owner.execute("SELECT mask_when_over(%s::bigint[])", [[id_]])


def test_a_request_is_masked_within_a_minute_of_its_end(system: System, completed: Maintained) -> None:  # noqa: F811 - the fixture
    system.change(AT_ONCE)
    request = system.verify(system.driver(BY_SCENARIO["criminal_felony"]).driver_id, CRIMINAL)
    assert request["request_status"] == "completed"
    (job,) = system.rows(JOBS)
    assert 0 < job["wait"].total_seconds() <= 60
    assert counts(completed.run())["masked"] == 1
    after = system.row("integration_request", request["id"])
    assert (after["pii_masked"], after["pii_rule_version"]) == (True, 1)
    assert "Felony" in str(request["response_body"])
    assert "Felony" not in str(after["response_body"])
    assert not completed.run()["progress"]["counts"]


def test_an_answer_that_others_may_get_is_kept_until_its_time_is_over(
    system: System,  # noqa: F811 - the fixture
    platform: Maintained,
    completed: Maintained,
) -> None:
    system.change(AT_ONCE)
    driver = system.driver(BY_SCENARIO["ok"])
    first = system.verify(driver.driver_id, DRIVERS)
    (job,) = system.rows(JOBS)
    assert 23 * 3600 < job["wait"].total_seconds() < 25 * 3600, "the configuration keeps answers for a day"
    platform.run()
    completed.run()
    again = system.verify(driver.driver_id, DRIVERS)
    assert (again["answered_by"], len(system.calls())) == (first["id"], 1)
    completed.run()
    assert [system.row("integration_request", r["id"])["pii_masked"] for r in (first, again)] == [False, True]
    completed.owner.execute("UPDATE integration_request SET mask_at = now() - interval '1 s' WHERE NOT pii_masked")
    completed.run()
    assert system.row("integration_request", first["id"])["pii_masked"]


def test_any_other_policy_waits_for_the_night(system: System) -> None:  # noqa: F811 - the fixture
    request = system.verify(system.driver(BY_SCENARIO["criminal_felony"]).driver_id, CRIMINAL)
    assert request["mask_at"] is None
    assert system.rows(JOBS) == []


def test_one_job_masks_what_ends_in_a_minute(completed: Maintained) -> None:
    completed.owner.execute(AT_ONCE)
    ids = requests(completed.owner, 5, days_ago=0)
    over(completed, ids)
    jobs = completed.owner.execute(JOBS).fetchall()
    assert 1 <= len(jobs) <= 2, "two if the minute is over in between"
    assert counts(completed.run())["masked"] == 5
    assert left(completed.owner) == []


def test_requests_without_an_answer_are_masked_as_well_and_those_at_work_are_not(completed: Maintained) -> None:
    completed.owner.execute(AT_ONCE)
    ids = [requests(completed.owner, 1, days_ago=0, request_status=s)[0] for s in ("failed", "timeout", "sent")]
    over(completed, ids)
    completed.run()
    assert left(completed.owner) == ids[2:]


def test_a_legal_hold_counts_more(completed: Maintained, platform: Maintained) -> None:
    completed.owner.execute(AT_ONCE)
    held, free = requests(completed.owner, 2, days_ago=0)
    insert(
        completed.owner, "legal_holds", scope_type="integration_request", scope_id=str(held), reason="r",
        placed_by=SYSTEM_USER_ID,
    )  # fmt: skip
    over(completed, [held, free])
    assert counts(completed.run())["held"] == 1
    platform.run()
    assert left(completed.owner) == [held]


def test_what_ended_before_the_policy_is_masked_by_the_next_sweep(platform: Maintained) -> None:
    ids = requests(platform.owner, 2, days_ago=1)
    platform.run()
    assert left(platform.owner) == ids
    platform.owner.execute(AT_ONCE)
    platform.run()
    assert left(platform.owner) == []


def test_offers_wait_for_a_decision(system: System, completed: Maintained) -> None:  # noqa: F811 - the fixture
    system.change(AT_ONCE)
    system.change("UPDATE integration_configuration SET cache_ttl_hours = 0")
    system.verify(system.driver(BY_SCENARIO["household"]).driver_id, DRIVERS)
    offers = system.rows("SELECT id FROM household_member_offer ORDER BY first_name")
    with system.db.transaction() as connection:
        decline_household_member(connection, offers[0]["id"])
    completed.run()
    names = [row["first_name"] for row in system.rows("SELECT first_name FROM household_member_offer ORDER BY id")]
    assert sorted(names) == ["Member02", "Member03", "Member04", "[REDACTED]"]
    assert marks(completed.owner) == [(True, 1)]


def test_a_crash_leaves_it_to_the_next_job(completed: Maintained) -> None:
    completed.owner.execute(AT_ONCE)
    ids = requests(completed.owner, 2, days_ago=0)
    over(completed, ids)
    completed.owner.execute(
        f"ALTER TABLE integration_request ADD CONSTRAINT crash CHECK (NOT (id = {ids[1]} AND pii_masked))"
    )
    job_id = completed.ask()
    completed.engine.begin(completed.kind, [job_id])
    completed.engine.drain()
    assert left(completed.owner) == ids, "a batch is masked as a whole or not at all"
    completed.owner.execute("ALTER TABLE integration_request DROP CONSTRAINT crash")
    completed.run()
    assert left(completed.owner) == []


def test_no_canary_is_left_in_any_column_once_all_is_masked(
    system: System,  # noqa: F811 - the fixture
    platform: Maintained,
    completed: Maintained,
) -> None:
    """What is asked about stays: drivers with licences and addresses, and vehicles, until retention takes them."""
    system.change(AT_ONCE)
    system.change("UPDATE integration_configuration SET cache_ttl_hours = 0")
    asked = [
        ("household", DRIVERS), ("wrong_person", DRIVERS), ("malformed_json", DRIVERS), ("418", DRIVERS),
        ("criminal_felony", CRIMINAL), ("criminal_alias", CRIMINAL),
    ]  # fmt: skip
    people = [disguised(BY_SCENARIO[scenario]) for scenario, _ in asked]
    for person, (_, integration) in zip(people, asked, strict=True):
        system.verify(system.driver(person).driver_id, integration)
    system.verify(None, VEHICLES, vehicle_id=system.vehicle(vin=BY_SCENARIO["vehicle_ssn"].vin))
    values = {f"{what} of {n}": value for n, one in enumerate(people) for what, value in values_of(one).items()}
    kept = {name for name in values if name.startswith("city")}  # which is no more than where somebody lives
    search = Search({name: value for name, value in values.items() if name not in kept} | FROM_THE_SANDBOX)

    def found() -> dict[str, set[str]]:
        what: dict[str, set[str]] = {}
        for table in Base.metadata.tables.keys() - {"driver", "license", "address", "vehicle"}:
            rows = completed.owner.execute(sql.SQL("SELECT t::text FROM {} AS t").format(sql.Identifier(table)))
            if kinds := set().union(*(search(row.encode()) for (row,) in rows)):
                what[table] = kinds
        return what

    assert found().keys() == {"integration_request", "integration_verification_result", "household_member_offer"}
    system.change("UPDATE household_member_offer SET decision = 'declined', decided_at = now()")
    completed.run()
    assert found() == {}
    assert marks(completed.owner) == [(True, 1)] * (len(asked) + 1)
