"""Asking for a job inside the caller's transaction: no commit, no job; bad input leaves nothing behind."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import uuid4

import psycopg
import pytest
import redis
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests.conftest import DatabaseUrls
from worker.crypto import Keyring
from worker.database import Database
from worker.dev.demo.households import add_drivers
from worker.dev.demo.sample import INTEGRATION, configure_sandbox
from worker.dev.sandbox.personas import BY_LICENSE
from worker.enqueue import EnqueuedVerification, enqueue_verification
from worker.errors import BadRequest
from worker.settings import Settings


@pytest.fixture
def driver(settings: Settings, db: Database) -> int:
    keyring = Keyring.of(settings)
    with db.transaction() as connection:
        configure_sandbox(connection, keyring, "http://127.0.0.1:9")
        (driver,) = add_drivers(connection, keyring, [BY_LICENSE["TX00000001"]])
    return driver


@pytest.fixture
def session(db: Database) -> Iterator[Session]:
    with Session(db.engine) as session:
        yield session


@pytest.fixture
def hints(monkeypatch: pytest.MonkeyPatch, redis_url: str, settings: Settings) -> Callable[[], int]:
    """How many messages lie in the verification queue of the test's Valkey."""
    monkeypatch.setenv("REDIS_URL", redis_url)

    def count() -> int:
        with redis.Redis.from_url(redis_url) as client:
            return int(client.llen("verification"))

    return count


def rows(db: Database) -> tuple[int, int]:
    with db.transaction() as connection:
        row = connection.execute(
            text("SELECT (SELECT count(*) FROM job), (SELECT count(*) FROM integration_request)")
        ).one()
    return row[0], row[1]


def ask(session: Session, driver: int, **others: object) -> EnqueuedVerification:
    return enqueue_verification(session, integration=INTEGRATION, driver_id=driver, **others)  # type: ignore[arg-type]  # any of them


def test_without_a_commit_there_is_no_job_and_no_hint(
    db: Database, session: Session, driver: int, hints: Callable[[], int]
) -> None:
    ask(session, driver)
    session.rollback()
    assert (rows(db), hints()) == ((0, 0), 0)


def test_a_commit_makes_job_request_and_hint(
    db: Database, session: Session, driver: int, hints: Callable[[], int]
) -> None:
    enqueued = ask(session, driver, producer=None, correlation_id="trace-1")
    assert hints() == 0, "the hint must not run ahead of the commit"
    session.commit()
    assert (rows(db), hints()) == ((1, 1), 1)
    with db.transaction() as connection:
        request = connection.execute(text("SELECT * FROM integration_request")).mappings().one()
        args = connection.execute(text("SELECT args FROM job")).scalar_one()
    assert args == {"request_id": enqueued.request_id}
    assert request["request_status"] == "pending"
    assert request["correlation_id"] == "trace-1"
    assert (request["retention_until"] - request["created_at"].date()).days == 2555


def test_a_released_savepoint_is_no_commit(
    db: Database, session: Session, driver: int, hints: Callable[[], int]
) -> None:
    with session.begin_nested():
        ask(session, driver)
    assert hints() == 0
    session.commit()
    assert (rows(db), hints()) == ((1, 1), 1)


def test_a_savepoint_rolled_back_takes_its_job_along(
    db: Database, session: Session, driver: int, hints: Callable[[], int]
) -> None:
    ask(session, driver)
    savepoint = session.begin_nested()
    ask(session, driver)
    savepoint.rollback()
    session.commit()
    assert rows(db) == (1, 1)
    assert hints() >= 1


def test_enqueue_succeeds_while_redis_is_away(
    db: Database, session: Session, driver: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    ask(session, driver)
    session.commit()
    assert rows(db) == (1, 1)


@pytest.mark.parametrize(
    ("change", "arguments", "code", "named"),
    [
        ("SELECT 1", {"driver_id": 999}, "unknown_driver", "driver 999"),
        ("SELECT 1", {"integration": "NOBODY"}, "unknown_integration", "integration NOBODY"),
        ("SELECT 1", {"producer": "P9"}, "unknown_producer", "producer P9"),
        ("SELECT 1", {"program": "G9"}, "unknown_program", "program G9"),
        ("SELECT 1", {"quote_id": uuid4()}, "unknown_quote", "quote"),
        ("SELECT 1", {"priority": 10}, "bad_priority", "10"),
        ("SELECT 1", {"deadline": timedelta(0)}, "bad_deadline", "deadline"),
        ("SELECT 1", {"correlation_id": "x" * 101}, "bad_correlation_id", "100"),
        ("SELECT 1", {"environment": "production"}, "no_configuration", "production"),
        ("DELETE FROM integration_configuration", {}, "no_configuration", INTEGRATION),
        ("UPDATE third_party_integration SET is_active = false", {}, "integration_disabled", INTEGRATION),
        ("UPDATE integration_configuration SET is_enabled = false", {}, "integration_disabled", "configuration"),
        ("UPDATE integration_configuration SET auth_config = '[]'", {}, "configuration_error", "object"),
        (
            "UPDATE integration_configuration SET auth_config = auth_config - 'client_id'",
            {},
            "configuration_error",
            "client_id",
        ),
        (
            'UPDATE integration_configuration SET auth_config = auth_config || \'{"client_secret": "plain"}\'',
            {},
            "configuration_error",
            "client_secret unencrypted",
        ),
    ],
)
def test_bad_input_is_named_and_leaves_the_callers_transaction_usable(
    db: Database,
    session: Session,
    driver: int,
    change: str,
    arguments: dict[str, object],
    code: str,
    named: str,
) -> None:
    session.execute(text(change))
    with pytest.raises(BadRequest, match=named) as refusal:
        enqueue_verification(session, **{"integration": INTEGRATION, "driver_id": driver, **arguments})  # type: ignore[arg-type]  # wrong on purpose
    assert refusal.value.code == code
    session.commit()
    assert rows(db) == (0, 0)


def test_the_nearest_configuration_wins_as_a_whole(db: Database, session: Session, driver: int) -> None:
    """Producer, then program, then system; a disabled nearest row refuses rather than falls back."""
    for statement in (
        "INSERT INTO program (code, name, status_id, created_by) SELECT 'G1', 'g', status_id, created_by FROM driver",
        "INSERT INTO producer (producer_code, name, status_id, created_by)"
        " SELECT 'P1', 'p', status_id, created_by FROM driver",
        """
        INSERT INTO integration_configuration (integration_id, configuration_level, program_id, producer_id,
            endpoint_url, auth_config, is_enabled, status_id, created_by)
        SELECT integration_id, level, CASE level WHEN 'program' THEN (SELECT id FROM program) END,
            CASE level WHEN 'producer' THEN (SELECT id FROM producer) END, level, auth_config, true,
            status_id, created_by
        FROM integration_configuration, (VALUES ('program'), ('producer')) AS levels (level)
        """,
    ):
        session.execute(text(statement))

    def endpoint(**scope: str) -> str:
        request_id = ask(session, driver, **scope).request_id
        return str(
            session.execute(
                text("SELECT endpoint FROM integration_request WHERE id = :id"), {"id": request_id}
            ).scalar_one()
        )

    assert endpoint().startswith("http://")
    assert endpoint(program="G1") == "program"
    assert endpoint(producer="P1") == "producer"
    assert endpoint(producer="P1", program="G1") == "producer"
    session.execute(text("UPDATE integration_configuration SET is_enabled = false WHERE endpoint_url = 'producer'"))
    with pytest.raises(BadRequest, match="producer configuration"):
        ask(session, driver, producer="P1", program="G1")


def test_a_hundred_equal_keys_at_once_make_one_job(db: Database, driver: int) -> None:
    def enqueue_one(_: int) -> EnqueuedVerification:
        with Session(db.engine) as session, session.begin():
            return ask(session, driver, idempotency_key="k")

    with ThreadPoolExecutor(4) as pool:
        enqueued = list(pool.map(enqueue_one, range(100)))
    assert rows(db) == (1, 1)
    assert len({one.job_id for one in enqueued}) == 1
    assert len({one.request_id for one in enqueued}) == 1
    assert sum(one.is_new for one in enqueued) == 1


def test_a_key_used_for_something_else_is_refused(
    db: Database, session: Session, settings: Settings, driver: int
) -> None:
    (other,) = add_drivers(session.connection(), Keyring.of(settings), [BY_LICENSE["TX00000002"]])
    ask(session, driver, idempotency_key="k")
    with pytest.raises(BadRequest, match="used for another verification") as refusal:
        ask(session, other, idempotency_key="k")
    assert refusal.value.code == "idempotency_conflict"
    ask(session, other, idempotency_key="k", tenant="another tenant has keys of its own")
    session.commit()
    assert rows(db) == (2, 2)


def test_a_key_that_has_lived_its_day_is_free_again(db: Database, session: Session, driver: int) -> None:
    first = ask(session, driver, idempotency_key="k")
    session.execute(text("UPDATE job SET idempotency_until = now() - interval '1 second'"))
    second = ask(session, driver, idempotency_key="k")
    assert second.is_new
    assert second.job_id != first.job_id


def test_the_sql_door_raises_for_those_who_come_by_psql(database: DatabaseUrls, driver: int) -> None:
    with psycopg.connect(database.app_url) as connection:
        row = connection.execute("SELECT * FROM enqueue_verification('DCS_HOUSEHOLD_DRIVERS', %s)", [driver]).fetchone()
        assert row is not None
        assert row[2] is True
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="there is no driver 999"):
            connection.execute("SELECT * FROM enqueue_verification('DCS_HOUSEHOLD_DRIVERS', 999)")
