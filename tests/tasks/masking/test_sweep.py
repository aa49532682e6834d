"""The masking job on a real database: what is old enough loses its people, all of a request or nothing of it."""

import json
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import errors
from psycopg.types.json import Jsonb

from models import Base
from models.facts import retention_of
from models.users import SYSTEM_USER_ID
from tasks.masking.requests_store import RESULTS
from tasks.masking.rows import masked_columns
from tasks.masking.rows_store import AUDIT, OFFERS, maskable
from tests.migrations.rows import insert, only
from tests.tasks.maintaining import Maintained
from tests.tasks.masking.platform import ANSWER, counts, left, marks, quote, requests
from tests.waiting import in_thread, until


def test_old_requests_lose_their_people_with_their_results(platform: Maintained) -> None:
    requests(platform.owner, 3)
    (young,) = requests(platform.owner, 1, days_ago=80)
    (at_work,) = requests(platform.owner, 1, request_status="sent")
    done = platform.run()
    assert done["state"] == "done"
    assert left(platform.owner) == [young, at_work]
    assert marks(platform.owner) == [(True, 1)] * 3 + [(False, None)] * 2
    row = platform.owner.execute(
        "SELECT response_body, request_headers, error_message FROM integration_request ORDER BY id LIMIT 1"
    ).fetchone()
    assert row == (
        {"transaction_id": "t-1", "driver_data": {
            "personal_info": {"first_name": "[REDACTED]", "favourite_bird": "[REDACTED]"}, "driver_id": "d-1",
        }},
        {"x-correlation-id": "c-1", "authorization": "[REDACTED]"},
        "[REDACTED]",
    )  # fmt: skip


def test_a_masked_answer_is_never_taken_from_the_cache_again(platform: Maintained) -> None:
    requests(platform.owner, 1)
    platform.run()
    assert only(platform.owner, "SELECT cache_expires_at <= now() FROM integration_verification_result")


def test_the_second_run_finds_nothing(platform: Maintained) -> None:
    requests(platform.owner, 2)
    quote(platform.owner)
    first = platform.run()
    assert counts(first)["masked"] == 2
    assert not any(platform.run()["progress"]["counts"].values())


def test_a_dry_run_tells_by_rule_what_the_real_one_does(platform: Maintained) -> None:
    requests(platform.owner, 3)
    platform.owner.execute("UPDATE data_retention_policies SET batch_size = 2")
    dry = platform.run(dry_run=True)
    assert len(left(platform.owner)) == 3
    assert only(platform.owner, "SELECT count(*) FROM pii_masking_rules WHERE used_at IS NOT NULL") == 0
    assert dry["progress"] == {**platform.run()["progress"], "is_dry_run": True}
    by_rule = {name.split(": ")[-1]: number for name, number in counts(dry).items()}
    assert by_rule["key first_name"] == 6
    assert by_rule["key license_number"] == 3
    assert by_rule["key personal_info"] == 3, "a field that nobody knows, in there"


def test_what_is_held_stays_until_the_hold_is_released(platform: Maintained) -> None:
    held, free = requests(platform.owner, 2)
    insert(
        platform.owner, "legal_holds", scope_type="integration_request", scope_id=str(held), reason="r",
        placed_by=SYSTEM_USER_ID,
    )  # fmt: skip
    assert counts(platform.run())["held"] == 1
    assert left(platform.owner) == [held] != [free]
    platform.owner.execute("UPDATE legal_holds SET released_at = now(), released_by = placed_by")
    platform.run()
    assert left(platform.owner) == []


def test_quotes_are_masked_by_their_own_clock(platform: Maintained) -> None:
    old, young = quote(platform.owner), quote(platform.owner, created_at="2100-01-01")
    in_force = quote(platform.owner, converted_to_policy_id=policy(platform.owner, "2100-01-01"))
    over = quote(platform.owner, converted_to_policy_id=policy(platform.owner, "2021-01-01"))
    platform.run()
    masked = platform.owner.execute("SELECT id FROM quotes WHERE pii_rule_version = 1").fetchall()
    assert {id_ for (id_,) in masked} == {old, over}
    assert young != in_force
    row = platform.owner.execute("SELECT drivers, vehicle_info FROM quotes WHERE id = %s", [old]).fetchone()
    assert row == (
        [{"first_name": "[REDACTED]", "points": 2}],
        {"vin": "1CANARY0000******", "annual_mileage": 12000},
    )


def policy(connection: psycopg.Connection, until: str) -> Any:
    customer = insert(connection, "customers", external_id=uuid4().hex)
    return insert(
        connection, "policies", policy_number=uuid4().hex, customer_id=customer, effective_date="2020-01-01",
        expiration_date=until,
    )  # fmt: skip


def test_addresses_of_sessions_and_of_the_trail_are_shortened(platform: Maintained) -> None:
    insert(
        platform.owner, "user_sessions", user_id=SYSTEM_USER_ID, session_token_hash="h", ip_address="10.1.2.3",
        user_agent="Canary", expires_at="2020-01-01",
    )  # fmt: skip
    client = insert(platform.owner, "oauth2_clients", client_id="c", client_name="C")
    insert(
        platform.owner, "oauth2_token_logs", action="issued", token_type="access_token", token_hash="t",
        client_id=client, ip_address="10.1.2.3", user_agent="Canary", created_at="2020-01-01",
    )  # fmt: skip
    for ip in ("10.1.2.3", "2001:db8:1:2::3", None):
        insert(
            platform.owner, "audit_logs", action="a", resource_type="r", ip_address=ip, user_agent="Canary",
            created_at="2020-01-01",
        )  # fmt: skip
    young = insert(platform.owner, "audit_logs", action="a", resource_type="r", ip_address="10.9.9.9")
    assert counts(platform.run(), "audit_logs") == {"masked": 3}
    sessions = platform.owner.execute("SELECT ip_address::text, user_agent, session_token_hash FROM user_sessions")
    assert sessions.fetchall() == [("10.1.2.0/24", None, "h")]
    events = platform.owner.execute("SELECT ip_address::text, user_agent, token_hash FROM oauth2_token_logs")
    assert events.fetchall() == [("10.1.2.0/24", None, "t")]
    trail = platform.owner.execute(
        "SELECT ip_address::text, user_agent FROM audit_logs WHERE resource_type = 'r' AND id <> %s", [young]
    )
    assert set(trail.fetchall()) == {("10.1.2.0/24", None), ("2001:db8:1::/48", None), (None, None)}
    assert only(platform.owner, "SELECT ip_address::text FROM audit_logs WHERE id = %s", young) == "10.9.9.9/32"


def test_the_application_can_change_nothing_else_of_the_trail(platform: Maintained) -> None:
    with platform.connect() as application:
        with pytest.raises(errors.InsufficientPrivilege):
            application.execute("UPDATE audit_logs SET ip_address = NULL")
        insert(platform.owner, "audit_logs", action="a", resource_type="r", ip_address="10.9.9.9")
        platform.owner.execute("UPDATE data_retention_policies SET mask_after_days = 0 WHERE table_name = 'audit_logs'")
        assert only(application, "SELECT mask_audit_addresses(100)") == 0, "younger than a month is never touched"


def test_the_trail_of_somebody_under_hold_stays(platform: Maintained) -> None:
    insert(
        platform.owner, "audit_logs", action="a", resource_type="r", ip_address="10.1.2.3", user_id=SYSTEM_USER_ID,
        created_at="2020-01-01",
    )  # fmt: skip
    insert(
        platform.owner, "legal_holds", scope_type="user", scope_id=str(SYSTEM_USER_ID), reason="r",
        placed_by=SYSTEM_USER_ID,
    )  # fmt: skip
    platform.run()
    assert only(platform.owner, "SELECT ip_address::text FROM audit_logs WHERE resource_type = 'r'") == "10.1.2.3/32"


def test_a_rule_that_cannot_be_used_is_shown_by_its_id_and_nothing_is_half_masked(platform: Maintained) -> None:
    requests(platform.owner, 2)
    quote(platform.owner)
    # PostgreSQL takes this expression, Python does not.
    bad = insert(
        platform.owner, "pii_masking_rules", version=1, match_type="value", pattern=r"\mcanary", operator="redact",
        data_class="name",
    )  # fmt: skip
    done = platform.run()
    assert (done["state"], done["error_code"]) == ("failed", "invalid_rule")
    assert f"rule {bad}: value" in done["error_message"]
    assert "3 rows are due and stay as they are" in done["error_message"]
    assert len(left(platform.owner)) == 2
    assert marks(platform.owner) == [(False, None)] * 2


def test_a_crash_between_batches_leaves_whole_requests_and_the_next_run_goes_on(platform: Maintained) -> None:
    ids = requests(platform.owner, 6)
    platform.owner.execute("UPDATE data_retention_policies SET batch_size = 2")
    # The third batch meets a row that can't be written, in the last of its statements.
    platform.owner.execute(
        f"ALTER TABLE integration_request ADD CONSTRAINT crash CHECK (NOT (id = {ids[4]} AND pii_masked))"
    )
    job_id = platform.ask()
    platform.engine.begin(platform.kind, [job_id])
    platform.engine.drain()
    assert marks(platform.owner) == [(True, 1)] * 4 + [(False, None)] * 2
    assert left(platform.owner) == ids[4:], "results and requests are masked together or not at all"
    platform.owner.execute("ALTER TABLE integration_request DROP CONSTRAINT crash")
    platform.run()
    assert left(platform.owner) == []


def test_what_another_has_locked_waits_for_the_next_night(platform: Maintained) -> None:
    locked, _ = requests(platform.owner, 2)
    with psycopg.connect(platform.urls.app_url) as writer:
        writer.execute("SELECT FROM integration_request WHERE id = %s FOR UPDATE", [locked])
        assert counts(platform.run())["masked"] == 1
    assert left(platform.owner) == [locked]


def test_a_writer_that_comes_after_the_sweep_takes_the_mark_away(platform: Maintained) -> None:
    (id_,) = requests(platform.owner, 1)
    platform.run()
    platform.owner.execute(
        "UPDATE integration_request SET response_body = %s, updated_at = now() WHERE id = %s", [Jsonb(ANSWER), id_]
    )
    assert marks(platform.owner) == [(False, None)]
    platform.run()
    assert left(platform.owner) == []


def test_a_result_that_is_written_while_its_request_is_masked_does_not_stay_readable(platform: Maintained) -> None:
    """The writer's row is seen by no batch that began before its commit; its request is marked for another one."""
    (id_,) = requests(platform.owner, 1)
    with psycopg.connect(platform.urls.app_url) as writer:
        writer.execute("UPDATE integration_request SET response_body = %s WHERE id = %s", [Jsonb(ANSWER), id_])
        writer.execute(
            "UPDATE integration_verification_result SET verified_data = %s WHERE request_id = %s",
            [Jsonb({"last_name": "Canary2"}), id_],
        )
        platform.run()
        assert marks(platform.owner) == [(False, None)], "the sweep left it alone"
    platform.run()
    assert marks(platform.owner) == [(True, 1)]
    assert left(platform.owner) == []


def test_a_hold_that_is_placed_during_a_batch_waits_for_it(platform: Maintained) -> None:
    (id_,) = requests(platform.owner, 1)
    with psycopg.connect(platform.urls.app_url) as batch:
        batch.execute("SELECT lock_legal_holds()")

        def place() -> None:
            with platform.connect() as person:
                insert(
                    person, "legal_holds", scope_type="integration_request", scope_id=str(id_), reason="r",
                    placed_by=SYSTEM_USER_ID,
                )  # fmt: skip

        placed = in_thread(place)
        until(lambda: only(platform.owner, "SELECT count(*) FROM pg_locks WHERE NOT granted") > 0)
        batch.rollback()
        placed()
    assert counts(platform.run()) == {"held": 1}


def test_every_table_with_a_masking_clock_is_masked_by_something() -> None:
    clocks = {table.name for table in Base.metadata.tables.values() if retention_of(table).mask_after_days is not None}
    assert clocks == (maskable() - {OFFERS}) | {RESULTS, AUDIT}, "offers go with their requests"


def test_columns_that_are_masked_are_the_personal_ones() -> None:
    assert masked_columns("quotes") == [
        "vehicle_info", "property_info", "drivers", "rating_inputs", "rating_problem",
    ]  # fmt: skip
    assert masked_columns("user_sessions") == ["ip_address", "user_agent"]


def test_a_number_of_many_digits_survives(platform: Maintained) -> None:
    (id_,) = requests(platform.owner, 1)
    platform.owner.execute(
        "UPDATE integration_request SET response_body = %s::jsonb WHERE id = %s",
        ['{"score": 0.1234567890123456789012, "id": 123456789012345678901234}', id_],
    )
    platform.run()
    kept = only(platform.owner, "SELECT response_body::text FROM integration_request WHERE id = %s", id_)
    assert kept == '{"id": 123456789012345678901234, "score": 0.1234567890123456789012}'
    assert json.loads(kept)
