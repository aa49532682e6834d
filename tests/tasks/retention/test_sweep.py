"""The retention job on a real database: what is overdue goes, what is held, needed or young stays, all is recorded."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import errors, sql
from sqlalchemy import text

from models.users import SYSTEM_USER_ID
from tasks.retention.task import sweep
from tests.conftest import DatabaseUrls
from tests.migrations.rows import configuration, insert, only, request
from tests.tasks.maintaining import Maintained, maintained
from tests.waiting import in_thread, until
from worker.database import Database
from worker.settings import Settings

OLD = 2600  # days; the policies of requests and results say 2555


@pytest.fixture
def platform(settings: Settings, db: Database, database: DatabaseUrls) -> Iterator[Maintained]:
    with maintained(settings, db, database, sweep) as platform:
        yield platform


def requests(
    connection: psycopg.Connection, count: int, *, days_ago: int = OLD, results: int = 1, **values: Any
) -> list[int]:
    """Requests of so many days ago, each with so many results."""
    found = connection.execute("SELECT id FROM integration_configuration LIMIT 1").fetchone()
    configured = found[0] if found else configuration(connection)
    ids = [request(connection, configuration_id=configured, **values) for _ in range(count)]
    for _ in range(results):
        for id_ in ids:
            insert(
                connection, "integration_verification_result", request_id=id_, verification_type="license",
                target_entity_type="driver", target_entity_id=999_999, verification_status="verified",
            )  # fmt: skip
    aged = {"days": days_ago, "ids": ids}
    connection.execute(
        "UPDATE integration_request SET created_at = now() - make_interval(days => %(days)s) WHERE id = ANY(%(ids)s)",
        aged,
    )
    connection.execute(
        "UPDATE integration_verification_result SET created_at = now() - make_interval(days => %(days)s)"
        " WHERE request_id = ANY(%(ids)s)",
        aged,
    )
    return ids


def hold(connection: psycopg.Connection, scope: str, id_: object) -> int:
    placed: int = insert(
        connection, "legal_holds", scope_type=scope, scope_id=str(id_), reason="a suit", placed_by=SYSTEM_USER_ID
    )
    return placed


def remaining(connection: psycopg.Connection, table: str = "integration_request") -> list[Any]:
    query = sql.SQL("SELECT id FROM {} ORDER BY id").format(sql.Identifier(table))
    return [id_ for (id_,) in connection.execute(query)]


def counts(run: dict[str, Any], table: str = "integration_request") -> dict[str, int]:
    found: dict[str, int] = run["progress"]["counts"].get(table, {})
    return found


def items(connection: psycopg.Connection, table: str = "integration_request") -> list[tuple[Any, ...]]:
    return connection.execute(
        """SELECT deleted_count, held_count, skipped_count, first_id, last_id, ids_sha256, policy_version
             FROM retention_run_items WHERE table_name = %s ORDER BY run_id, batch_number""",
        [table],
    ).fetchall()


def digest(ids: list[Any]) -> str:
    return sha256("".join(f"{id_}\n" for id_ in sorted(ids)).encode()).hexdigest()


def test_overdue_requests_go_with_their_results_and_are_recorded(platform: Maintained) -> None:
    old = requests(platform.owner, 3, results=2)
    young = requests(platform.owner, 2, days_ago=2500)
    done = platform.run()
    assert (done["state"], counts(done)) == (
        "done", {"removed": 3, "integration_verification_result removed": 6},
    )  # fmt: skip
    assert remaining(platform.owner) == young
    assert only(platform.owner, "SELECT count(*) FROM integration_verification_result") == 2
    assert items(platform.owner) == [(3, 0, 0, str(old[0]), str(old[-1]), digest(old), 1)]
    (result,) = items(platform.owner, "integration_verification_result")
    assert result[0] == 6
    runs = platform.owner.execute("SELECT job_id, state, is_dry_run, actor_id FROM retention_runs").fetchall()
    assert runs == [(done["id"], "finished", False, SYSTEM_USER_ID)]


def test_a_dry_run_finds_exactly_what_the_real_one_does(platform: Maintained) -> None:
    ids = requests(platform.owner, 7)
    requests(platform.owner, 2, days_ago=0)
    hold(platform.owner, "integration_request", ids[0])
    platform.owner.execute("UPDATE data_retention_policies SET batch_size = 3")
    dry = platform.run(dry_run=True)
    assert len(remaining(platform.owner)) == 9
    assert items(platform.owner) == []
    assert platform.owner.execute("SELECT state, is_dry_run FROM retention_runs").fetchall() == [("finished", True)]
    real = platform.run()
    assert dry["progress"] == {**real["progress"], "is_dry_run": True}
    assert counts(real) == {"removed": 6, "held": 1, "integration_verification_result removed": 6}


OURS: dict[str, dict[str, Any]] = {
    "asked_question": {"tenant": "T1", "question": "q", "asker": 1, "open_until": date(2020, 1, 1)},
    "job_batch": {"name": "household"},
    "provider_call": {
        "job_id": uuid4(), "request_id": 1, "fence": 1, "tenant": "T1", "integration_id": 1, "configuration_id": 1,
        "environment": "sandbox", "reason": "first", "calls": 1,
    },
    "call_budget_day": {"tenant": "T1"},
}  # fmt: skip


@pytest.mark.parametrize("table", OURS)
def test_our_own_rows_go_by_the_policies_that_the_migrations_load(platform: Maintained, table: str) -> None:
    """They were never removed: no policy said when, a day of a budget had no key, and calls could not be locked."""
    days, since = platform.owner.execute(
        "SELECT retention_days, date_column FROM data_retention_policies WHERE table_name = %s", [table]
    ).fetchone() or (0, "")
    today = datetime.now(UTC)
    old, young = (
        insert(platform.owner, table, **OURS[table] | {"tenant": f"T{age}", since: today - timedelta(days=age)})
        for age in (days + 2, days - 2)
    )
    done = platform.run()
    assert (done["state"], counts(done, table)) == ("done", {"removed": 1})
    assert remaining(platform.owner, table) == [young]
    assert [row[:4] for row in items(platform.owner, table)] == [(1, 0, 0, str(old))]


def test_the_longer_rule_wins(platform: Maintained) -> None:
    by_row, by_result, overdue = requests(platform.owner, 3)
    platform.owner.execute("UPDATE integration_request SET retention_until = current_date + 1 WHERE id = %s", [by_row])
    platform.owner.execute(
        "UPDATE integration_verification_result SET created_at = now() WHERE request_id = %s", [by_result]
    )
    assert counts(platform.run()) == {"removed": 1, "needed": 1, "integration_verification_result removed": 1}
    assert remaining(platform.owner) == [by_row, by_result]
    assert overdue not in remaining(platform.owner)


def test_a_day_that_is_not_over_keeps_its_rows(platform: Maintained) -> None:
    today, yesterday = requests(platform.owner, 2)
    for id_, days in ((today, 0), (yesterday, 1)):
        platform.owner.execute(
            "UPDATE integration_request SET retention_until = (now() AT TIME ZONE 'UTC')::date - %s WHERE id = %s",
            [days, id_],
        )
    platform.run()
    assert remaining(platform.owner) == [today]


def test_a_policy_that_is_switched_off_removes_nothing(platform: Maintained) -> None:
    requests(platform.owner, 2)
    platform.owner.execute(
        "UPDATE data_retention_policies SET enabled = false WHERE table_name = 'integration_verification_result'"
    )
    assert counts(platform.run()) == {"needed": 2}
    assert len(remaining(platform.owner)) == 2


def household(connection: psycopg.Connection) -> dict[str, Any]:
    """Rows of every table that a hold may be placed on, tied to each other, with one old request."""
    customer = "c-1"
    connection.execute("INSERT INTO customers (id, data) VALUES (%s, '{}')", [customer])
    policy = insert(
        connection, "policies", policy_number="P-1", customer_id=customer, data={}, status="active",
        effective_date="2015-01-01", expiration_date="2016-01-01",
    )  # fmt: skip
    claim = insert(
        connection, "claims", claim_number="C-1", policy_id=policy, data={}, status="closed", amount_claimed=1,
    )  # fmt: skip
    quote = insert(
        connection, "quotes", customer_id=customer, product_type="auto", state="TX", converted_to_policy_id=policy
    )
    address = insert(connection, "address", city="Austin")
    driver = insert(connection, "driver", quote_id=quote, address_id=address)
    vehicle = insert(connection, "vehicle", quote_id=quote, vin="1HGCM82633A004352")
    (asked,) = requests(connection, 1, results=0, driver_id=driver)
    return {
        "customer": customer, "policy": policy, "claim": claim, "quote": quote, "driver": driver, "vehicle": vehicle,
        "address": address, "user": SYSTEM_USER_ID, "integration_request": asked,
    }  # fmt: skip


def test_a_hold_on_anything_a_request_belongs_to_keeps_it_until_it_is_released(platform: Maintained) -> None:
    subjects = household(platform.owner)
    somebody = platform_user(platform.owner)
    for scope, subject in subjects.items():
        other = requests(platform.owner, 1, user_id=somebody)
        placed = hold(platform.owner, scope, subject)
        told = counts(platform.run())
        assert (told["held"], told["removed"]) == (1, 1), scope
        assert remaining(platform.owner) == [subjects["integration_request"]]
        assert other[0] not in remaining(platform.owner)
        platform.owner.execute(
            "UPDATE legal_holds SET released_at = now(), released_by = %s WHERE id = %s", [SYSTEM_USER_ID, placed]
        )
    assert items(platform.owner)[0][:3] == (1, 1, 0)
    assert counts(platform.run())["removed"] == 1
    assert remaining(platform.owner) == []


def platform_user(connection: psycopg.Connection) -> Any:
    return insert(connection, "users", email="a@example.com", first_name="A", last_name="B", role="agent")


def waiting_for(connection: psycopg.Connection, *lock_types: str) -> int:
    """How many locks of these types somebody waits for."""
    query = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = ANY(%s)"
    found: int = only(connection, query, list(lock_types))
    return found


def test_a_hold_that_is_placed_while_a_batch_runs_comes_before_the_next(platform: Maintained) -> None:
    first, second = requests(platform.owner, 2)
    platform.owner.execute("UPDATE data_retention_policies SET batch_size = 1")
    with (
        platform.db.engine.connect() as reader,
        platform.connect() as one,
        platform.connect() as two,
    ):
        # The first batch has found nothing held and stops at its first DELETE.
        reader.execute(
            text("SELECT FROM integration_verification_result WHERE request_id = :id FOR UPDATE"), {"id": first}
        )
        run = in_thread(platform.run)
        until(lambda: waiting_for(platform.owner, "transactionid", "tuple"))
        on_first = in_thread(lambda: hold(one, "integration_request", first))
        on_second = in_thread(lambda: hold(two, "integration_request", second))
        until(
            lambda: (
                only(platform.owner, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted") == 2
            )
        )
        reader.rollback()
        assert counts(run()) == {"removed": 1, "held": 1, "integration_verification_result removed": 1}
        on_second()
        with pytest.raises(errors.ForeignKeyViolation, match=f"there is no integration request {first} to hold"):
            on_first()
    assert remaining(platform.owner) == [second]


def quote(connection: psycopg.Connection, days_ago: int, **values: Any) -> Any:
    id_ = insert(connection, "quotes", product_type="auto", state="TX", **values)
    connection.execute(
        "UPDATE quotes SET created_at = now() - make_interval(days => %s) WHERE id = %s", [days_ago, id_]
    )
    return id_


def switch_on(connection: psycopg.Connection, *tables: str) -> None:
    connection.execute("UPDATE data_retention_policies SET enabled = true WHERE table_name = ANY(%s)", [list(tables)])


def test_quotes_past_their_time_become_expired_and_one_being_calculated_is_left(platform: Maintained) -> None:
    over, coming = "now() - interval '1 s'", "now() + interval '1 day'"
    ids = {
        status + when: insert(
            platform.owner, "quotes", product_type="auto", state="TX", status=status,
            expires_at=only(platform.owner, f"SELECT {when}"),
        )
        for status in ("draft", "quoted", "calculating", "bound")
        for when in (over, coming)
    }  # fmt: skip
    assert counts(platform.run(), "expired quotes") == {"expired": 2}
    expired = {id_ for (id_,) in platform.owner.execute("SELECT id FROM quotes WHERE status = 'expired'")}
    assert expired == {ids["draft" + over], ids["quoted" + over]}


def test_versions_of_a_quote_go_together_newest_first_with_drivers_and_vehicles(platform: Maintained) -> None:
    switch_on(platform.owner, "quotes")
    first = quote(platform.owner, 2800)
    second = quote(platform.owner, 2700, parent_quote_id=first)
    quote(platform.owner, 2600, parent_quote_id=second)
    needed = quote(platform.owner, 2800)
    young = quote(platform.owner, 100, parent_quote_id=needed)
    driver = insert(platform.owner, "driver", quote_id=second)
    licence = insert(platform.owner, "license", driver_id=driver)
    platform.owner.execute("UPDATE driver SET license_id = %s", [licence])
    insert(platform.owner, "vehicle", quote_id=first, vin="1HGCM82633A004352")
    platform.owner.execute("ALTER TABLE driver DISABLE TRIGGER trg_driver_updated_at")
    for table in ("driver", "license", "vehicle"):
        age(platform.owner, table)
    platform.owner.execute("UPDATE data_retention_policies SET batch_size = 2 WHERE table_name = 'quotes'")
    assert counts(platform.run(), "quotes") == {
        "removed": 3, "needed": 1, "driver removed": 1, "license removed": 1, "vehicle removed": 1,
    }  # fmt: skip
    assert set(remaining(platform.owner, "quotes")) == {needed, young}
    assert remaining(platform.owner, "driver") == remaining(platform.owner, "license") == []


def age(connection: psycopg.Connection, table: str, days: int = 100) -> None:
    """Make the last change of all rows so old, which the trigger on `updated_at` would not let anybody do."""
    name, trigger = sql.Identifier(table), sql.Identifier(f"trg_{table}_updated_at")
    connection.execute(sql.SQL("ALTER TABLE {} DISABLE TRIGGER {}").format(name, trigger))
    connection.execute(sql.SQL("UPDATE {} SET updated_at = now() - make_interval(days => %s)").format(name), [days])
    connection.execute(sql.SQL("ALTER TABLE {} ENABLE TRIGGER {}").format(name, trigger))


def test_a_quote_with_a_verified_driver_stays_as_long_as_the_verification(platform: Maintained) -> None:
    switch_on(platform.owner, "quotes")
    id_ = quote(platform.owner, 2800)
    driver = insert(platform.owner, "driver", quote_id=id_)
    age(platform.owner, "driver")
    (asked,) = requests(platform.owner, 1, days_ago=10, results=0, driver_id=driver)
    assert counts(platform.run(), "quotes") == {"needed": 1}
    platform.owner.execute("UPDATE integration_request SET created_at = now() - interval '2600 days'")
    done = platform.run()
    assert (counts(done), counts(done, "quotes")) == ({"removed": 1}, {"removed": 1, "driver removed": 1})
    assert asked not in remaining(platform.owner)


def test_what_was_marked_deleted_leaves_once_nothing_refers_to_it(platform: Maintained) -> None:
    deleted = only(platform.owner, "SELECT id FROM status WHERE code = 'DELETED'")
    active, gone, verified, fresh = (insert(platform.owner, "driver", first_name="A") for _ in range(4))
    (asked,) = requests(platform.owner, 1, days_ago=10, results=0, driver_id=verified)
    age(platform.owner, "driver")
    platform.owner.execute("ALTER TABLE driver DISABLE TRIGGER trg_driver_updated_at")
    platform.owner.execute("UPDATE driver SET status_id = %s WHERE id <> %s", [deleted, active])
    platform.owner.execute("UPDATE driver SET updated_at = now() WHERE id = %s", [fresh])
    assert counts(platform.run(), "driver") == {"removed": 1, "needed": 1}
    assert remaining(platform.owner, "driver") == [active, verified, fresh]
    assert asked in remaining(platform.owner)
    assert gone not in remaining(platform.owner, "driver")


def test_ended_jobs_leave_with_their_events_and_living_ones_stay(platform: Maintained) -> None:
    platform.owner.execute(
        """INSERT INTO job (kind, queue, state, finished_at, created_at)
           SELECT 'test.run', 'verification', 'done', now() - make_interval(days => days), now() - interval '1 year'
             FROM unnest(ARRAY[89, 91, 200]) AS days"""
    )
    platform.owner.execute("INSERT INTO job (kind, queue, created_at) VALUES ('t', 'q', now() - interval '1 year')")
    platform.owner.execute("INSERT INTO job_event (job_id, event, attempt, fence) SELECT id, 'retried', 1, 1 FROM job")
    assert counts(platform.run(), "job") == {"removed": 2, "job_event removed": 2}
    assert only(platform.owner, "SELECT count(*) FROM job WHERE kind <> 'retention.sweep'") == 2


def test_sessions_and_token_logs_leave_and_those_of_a_held_user_stay(platform: Maintained) -> None:
    held, other = platform_user(platform.owner), SYSTEM_USER_ID
    client = insert(platform.owner, "oauth2_clients", client_id="portal", client_name="Portal")
    old = only(platform.owner, "SELECT now() - interval '800 days'")
    for user in (held, other):
        insert(platform.owner, "user_sessions", user_id=user, session_token_hash=str(user), expires_at=old)
        insert(
            platform.owner, "oauth2_token_logs", client_id=client, user_id=user, token_type="refresh_token",
            action="issued", created_at=old,
        )  # fmt: skip
    hold(platform.owner, "user", held)
    done = platform.run()
    for table in ("user_sessions", "oauth2_token_logs"):
        assert counts(done, table) == {"removed": 1, "held": 1}


def test_a_run_that_would_remove_too_much_stops_there_and_does_the_rest(platform: Maintained) -> None:
    platform.owner.execute(
        """INSERT INTO user_sessions (user_id, session_token_hash, expires_at)
           SELECT %s, n::text, now() - interval '1 year' FROM generate_series(1, 1001) AS n""",
        [SYSTEM_USER_ID],
    )
    requests(platform.owner, 1)
    refused = platform.run()
    assert (refused["state"], refused["error_code"]) == ("failed", "would_remove_too_much")
    assert refused["error_message"].startswith("user_sessions: 1001 rows are overdue, more than 10.0% of the table.")
    assert len(remaining(platform.owner, "user_sessions")) == 1001
    assert remaining(platform.owner) == []
    trail = platform.owner.execute("SELECT security_alerts FROM audit_logs WHERE action = 'retention.sweep'").fetchall()
    assert trail[0][0][0] == "would_remove_too_much"
    assert counts(platform.run(confirm=True), "user_sessions") == {"removed": 1001}


def test_a_row_that_is_overdue_for_days_raises_an_alarm(platform: Maintained) -> None:
    requests(platform.owner, 1, days_ago=2556)
    assert platform.run(dry_run=True)["progress"]["alarms"] == []
    requests(platform.owner, 1, days_ago=2560)
    done = platform.run()
    assert done["progress"]["alarms"] == [
        {"code": "retention_overdue", "message": "integration_request: a row has been overdue for 5 days."}
    ]
    assert done["state"] == "done"
    assert platform.run()["progress"]["alarms"] == []


def test_rows_that_somebody_else_has_locked_are_left_to_the_next_night(platform: Maintained) -> None:
    locked, free = requests(platform.owner, 2)
    with platform.db.engine.connect() as other:
        other.execute(text("SELECT FROM integration_request WHERE id = :id FOR UPDATE"), {"id": locked})
        assert counts(platform.run())["removed"] == 1
        assert remaining(platform.owner) == [locked]
    assert counts(platform.run())["removed"] == 1
    assert free not in remaining(platform.owner)


def test_a_changed_policy_is_a_new_version_in_the_record(platform: Maintained) -> None:
    requests(platform.owner, 1, days_ago=100)
    assert counts(platform.run()) == {}
    platform.owner.execute(
        "UPDATE data_retention_policies SET retention_days = 91 WHERE table_name LIKE 'integration%'"
    )
    platform.run()
    assert [row[-1] for row in items(platform.owner)] == [2]
