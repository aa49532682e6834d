"""Members of households whom a provider named lose their names with the request that named them, or with the quote."""

from typing import Any
from uuid import uuid4

import psycopg
import pytest

from models.users import SYSTEM_USER_ID
from tests.migrations.rows import insert
from tests.tasks.maintaining import Maintained
from tests.tasks.masking.platform import counts, quote, requests
from worker.crypto import Keyring
from worker.errors import BadRequest
from worker.operating.household import accept_household_member
from worker.settings import Settings

OFFERS = "household_member_offer"


def offer(connection: psycopg.Connection, request_id: int | None, **values: Any) -> Any:
    """Somebody with everything that can be known, offered long ago."""
    said = {
        "id": uuid4(),
        "request_id": request_id,
        "first_name": "Canary",
        "middle_name": "C.",
        "last_name": "Canary",
        "date_of_birth": "1980-05-15",
        "license_number": "enc:v1:k1:abc",
        "license_number_bidx": "b",
        "license_state": "TX",
        "relationship": "child",
        "created_at": "2020-01-01",
    }
    if "driver_id" not in values:
        values["driver_id"] = insert(connection, "driver", first_name="A")
    return insert(connection, OFFERS, **said | values)


def names(connection: psycopg.Connection) -> dict[Any, str]:
    return dict(connection.execute("SELECT id, first_name FROM household_member_offer").fetchall())


def test_an_offer_loses_its_person_with_the_request_and_keeps_what_was_decided(platform: Maintained) -> None:
    old, young = requests(platform.owner, 1)[0], requests(platform.owner, 1, days_ago=1)[0]
    masked, stays = offer(platform.owner, old, decision="declined"), offer(platform.owner, young, decision="declined")
    forgotten = offer(platform.owner, None)
    assert counts(platform.run(), OFFERS)["masked"] == 2
    assert names(platform.owner) == {masked: "[REDACTED]", stays: "Canary", forgotten: "[REDACTED]"}
    row = platform.owner.execute(
        "SELECT middle_name, last_name, date_of_birth::text, license_number, license_number_bidx, license_state,"
        " relationship, decision, pii_rule_version FROM household_member_offer WHERE id = %s",
        [masked],
    ).fetchone()
    assert row == ("[REDACTED]", "[REDACTED]", "1980-01-01", None, None, "TX", "child", "declined", 1)
    assert counts(platform.run(), OFFERS) == {}


def test_an_offer_goes_with_its_quote_too(platform: Maintained) -> None:
    platform.owner.execute(
        "UPDATE data_retention_policies SET mask_after_days = NULL WHERE table_name = 'integration_request'"
    )
    (request_id,) = requests(platform.owner, 1)
    old, young = quote(platform.owner), quote(platform.owner, created_at="2100-01-01")
    drivers = [insert(platform.owner, "driver", first_name="A", quote_id=id_) for id_ in (old, young)]
    gone, stays = (offer(platform.owner, request_id, driver_id=driver) for driver in drivers)
    platform.run()
    assert names(platform.owner) == {gone: "[REDACTED]", stays: "Canary"}


def test_an_open_offer_has_three_months(platform: Maintained, settings: Settings) -> None:
    (request_id,) = requests(platform.owner, 1)
    recent = offer(platform.owner, request_id, created_at="2100-01-01")
    old = offer(platform.owner, request_id)
    platform.run()
    assert names(platform.owner) == {recent: "Canary", old: "[REDACTED]"}
    with pytest.raises(BadRequest, match=f"who offer {old} is about was masked"), platform.db.transaction() as app:
        accept_household_member(app, Keyring.of(settings), old)


@pytest.mark.parametrize("scope", ["integration_request", "driver"])
def test_who_is_held_keeps_the_name_until_the_hold_is_released(scope: str, platform: Maintained) -> None:
    (request_id,) = requests(platform.owner, 1)
    driver = insert(platform.owner, "driver", first_name="A")
    held = offer(platform.owner, None if scope == "driver" else request_id, driver_id=driver)
    insert(
        platform.owner, "legal_holds", scope_type=scope, scope_id=str(driver if scope == "driver" else request_id),
        reason="r", placed_by=SYSTEM_USER_ID,
    )  # fmt: skip
    platform.run()
    assert names(platform.owner) == {held: "Canary"}
    platform.owner.execute("UPDATE legal_holds SET released_at = now(), released_by = placed_by")
    platform.run()
    assert names(platform.owner) == {held: "[REDACTED]"}


def test_a_later_answer_that_names_them_again_is_masked_again(platform: Maintained) -> None:
    masked = offer(platform.owner, None)
    platform.run()
    platform.owner.execute("UPDATE household_member_offer SET last_name = 'Canary'")
    marks = platform.owner.execute(
        "SELECT pii_rule_version FROM household_member_offer WHERE id = %s", [masked]
    ).fetchall()
    assert marks == [(None,)]
    platform.run()
    assert set(platform.owner.execute("SELECT last_name FROM household_member_offer").fetchall()) == {("[REDACTED]",)}


def test_a_day_that_a_rule_makes_a_word_of_is_no_day_any_more(platform: Maintained) -> None:
    platform.owner.execute(
        "INSERT INTO pii_masking_rules (version, match_type, pattern, operator, data_class)"
        " VALUES (2, 'key', 'date_of_birth', 'redact', 'birth_date'), (2, 'key', 'ip_address', 'redact', 'network')"
    )
    offer(platform.owner, None)
    insert(
        platform.owner, "user_sessions", user_id=SYSTEM_USER_ID, session_token_hash="h", ip_address="10.1.2.3",
        expires_at="2020-01-01",
    )  # fmt: skip
    assert platform.run()["state"] == "done"
    assert platform.owner.execute("SELECT date_of_birth FROM household_member_offer").fetchall() == [(None,)]
    assert platform.owner.execute("SELECT ip_address FROM user_sessions").fetchall() == [(None,)]
