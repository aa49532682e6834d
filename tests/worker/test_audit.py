"""The audit trail: each deed of an operator leaves one row, in the deed's own transaction or not at all."""

from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from tests.worker.asking import ask, change
from worker.audit import Deed, audit, audit_all
from worker.database import Database
from worker.errors import BadRequest
from worker.operating import control
from worker.operating.control import Failed


def trail(db: Database) -> list[dict[str, Any]]:
    with db.transaction() as connection:
        rows = connection.execute(text("SELECT * FROM audit_logs ORDER BY action, resource_id"))
        return [dict(row) for row in rows.mappings()]


def told(db: Database) -> list[tuple[str, str | None, dict[str, Any]]]:
    return [(row["action"], row["resource_id"], row["details"]) for row in trail(db)]


def fail(db: Database, job_id: UUID) -> None:
    change(db, "state = 'failed', finished_at = now(), error_code = 'e' WHERE id = :id", id=job_id)


def test_a_deed_is_kept_with_all_that_was_said_about_it(db: Database) -> None:
    user = uuid4()
    with db.transaction() as connection:
        audit(
            connection,
            action="answers.viewed",
            resource_type="integration_request",
            resource_id=7,
            user_id=user,
            details={"fields": ["response_body"], "by": uuid4()},
            risk_score=Decimal("0.25"),
            alerts=["raw_view"],
            correlation_id="c-1",
        )
    (row,) = trail(db)
    assert (row["action"], row["resource_type"], row["resource_id"]) == ("answers.viewed", "integration_request", "7")
    assert (row["user_id"], row["risk_score"], row["correlation_id"]) == (user, Decimal("0.25"), "c-1")
    assert row["security_alerts"] == ["raw_view"]
    assert row["details"]["fields"] == ["response_body"]


def test_many_deeds_take_one_statement_and_none_takes_none(db: Database) -> None:
    with db.transaction() as connection:
        audit_all(connection, [])
        audit_all(connection, [Deed("a.b", "job", id_) for id_ in range(3)])
    assert [row["resource_id"] for row in trail(db)] == ["0", "1", "2"]


def test_a_deed_that_is_rolled_back_leaves_no_row(db: Database) -> None:
    (job_id,) = ask(db)
    with db.engine.connect() as connection:
        control.cancel(connection, job_id, "olga")
        connection.rollback()
    assert trail(db) == []


def test_a_row_that_cannot_be_written_takes_its_deed_back(db: Database) -> None:
    (job_id,) = ask(db)

    def cancel_with_an_impossible_risk() -> None:
        with db.transaction() as connection:
            control.cancel(connection, job_id, "olga")
            audit(connection, action="jobs.cancelled", resource_type="job", risk_score=Decimal("1.5"))

    with pytest.raises(IntegrityError):
        cancel_with_an_impossible_risk()
    with db.transaction() as connection:
        asked = connection.execute(text("SELECT cancel_requested_at FROM job")).scalar_one()
    assert asked is None
    assert trail(db) == []


def test_cancelling_retrying_and_replaying_are_in_the_trail(db: Database) -> None:
    cancelled, retried, replayed = ask(db, 3)
    fail(db, retried)
    with db.transaction() as connection:
        control.cancel(connection, cancelled, "olga")
        control.retry(connection, retried, "olga")
    fail(db, replayed)
    with db.transaction() as connection:
        control.replay(connection, Failed(error_code="e"), "olga", dry_run=True)
        control.replay(connection, Failed(error_code="e"), "olga", dry_run=False)
    assert told(db) == [
        ("jobs.cancelled", str(cancelled), {"by": "olga"}),
        ("jobs.replayed", None, {"by": "olga", "jobs": 1, "calls_at_most": 0, "error_code": "e"}),
        ("jobs.retried", str(retried), {"by": "olga"}),
    ]


def test_what_was_refused_or_found_nothing_is_not_in_the_trail(db: Database) -> None:
    (job_id,) = ask(db)
    with db.transaction() as connection:
        with pytest.raises(BadRequest):
            control.retry(connection, job_id, "olga")
        with pytest.raises(BadRequest):
            control.cancel(connection, uuid4(), "olga")
        assert control.replay(connection, Failed(error_code="other"), "olga", dry_run=False).jobs == 0
    assert trail(db) == []
