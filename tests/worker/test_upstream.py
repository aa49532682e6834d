"""Applications that only ask for jobs: what they load, a transaction of their own, and the door for psql."""

import json
import os
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import text

from tests.conftest import DatabaseUrls
from tests.migrations.rows import insert
from tests.worker.test_bulk import drivers  # noqa: F401 - a fixture
from worker.database import Database
from worker.dev.demo.sample import INTEGRATION
from worker.enqueue import enqueue_recalculation
from worker.settings import Settings

HEAVY = (
    "aiohttp", "alembic", "argon2", "authlib", "celery", "cryptography", "fastapi", "flower", "httpx2", "kombu",
    "psycopg", "pydantic", "redis", "sqlalchemy", "starlette", "structlog", "tasks", "typer", "uvicorn",
    "worker.api", "worker.app", "worker.process.engine", "worker.job", "worker.ledger", "worker.process.runtime",
)  # fmt: skip


def in_a_process(code: str, **environment: str) -> str:
    """What a fresh Python prints that has nothing of this one."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LD_LIBRARY_PATH")}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**kept, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("module", ["worker.enqueue", "worker.bulk"])
def test_asking_for_jobs_is_light_to_import(module: str) -> None:
    """SQLAlchemy too is the application's own to load: it alone takes longer than all that is ours."""
    loaded = set(json.loads(in_a_process(f"import json, sys, {module}; print(json.dumps(list(sys.modules)))")))
    assert module in loaded
    assert loaded & set(HEAVY) == set()


OWN_TRANSACTION = """
import sys
from worker.enqueue import enqueue_verification
from worker.errors import BadRequest

first = enqueue_verification(integration={integration!r}, driver_id={driver}, idempotency_key="k")
again = enqueue_verification(integration={integration!r}, driver_id={driver}, idempotency_key="k")
assert again.job_id == first.job_id
try:
    enqueue_verification(integration={integration!r}, driver_id=999_999)
except BadRequest as error:
    print(first.how, again.how, error.code)
loaded = {{name.partition(".")[0] for name in sys.modules}}
print(sorted(loaded & {{"cryptography", "fastapi", "httpx2", "tasks", "aiohttp"}}))
"""


def test_without_a_session_a_job_has_a_transaction_of_its_own(
    settings: Settings,
    db: Database,
    drivers: list[int],  # noqa: F811 - the fixture
    tmp_path: Path,
) -> None:
    """With nothing but DATABASE_URL: no keys, no Redis."""
    printed = in_a_process(
        OWN_TRANSACTION.format(integration=INTEGRATION, driver=drivers[0]),
        DATABASE_URL=settings.database_url.get_secret_value(),
        WORKER_HOME=str(tmp_path),
    )
    assert printed.splitlines() == ["new repeated unknown_driver", "[]"]
    with db.transaction() as connection:
        assert connection.execute(text("SELECT count(*) FROM job")).scalar_one() == 1


def test_without_a_database_the_setting_is_named(tmp_path: Path) -> None:
    code = """
from worker.enqueue import enqueue_verification
from worker.errors import Misconfigured
try:
    enqueue_verification(integration="I", driver_id=1)
except Misconfigured as error:
    print("DATABASE_URL" in str(error), "ENCRYPTION_KEYS" in str(error))
"""
    assert in_a_process(code, WORKER_HOME=str(tmp_path)).strip() == "True False"


def test_psql_asks_by_kind_and_arguments(database: DatabaseUrls, db: Database, drivers: list[int]) -> None:  # noqa: F811 - the fixture
    args = json.dumps({"integration": INTEGRATION, "driver_id": drivers[0]})
    with psycopg.connect(database.app_url, autocommit=True) as connection:
        # As it is typed: both are literals without a type.
        row = connection.execute(f"SELECT enqueue_job('verification.verify', '{args}')").fetchone()
        keyed = [
            connection.execute(
                "SELECT * FROM enqueue_job('verification.verify', %s, p_tenant => 'T1', p_priority => 2,"
                " p_deadline => '10 min', p_idempotency_key => 'k', p_correlation_id => 'c')",
                [args],
            ).fetchone()
            for _ in range(2)
        ]
    assert row is not None
    assert row[0][1] == "t"
    assert keyed[0] is not None
    assert keyed[1] == (keyed[0][0], False)
    with db.transaction() as connection:
        found = connection.execute(
            text(
                "SELECT job.id, job.tenant, priority, deadline_at IS NOT NULL AS ends, driver_id, correlation_id"
                " FROM job JOIN integration_request AS request ON request.job_id = job.id ORDER BY priority"
            )
        ).all()
    assert [tuple(one)[1:5] for one in found] == [("T1", 2, True, drivers[0]), ("system", 4, False, drivers[0])]
    assert found[0].correlation_id == "c"


def test_psql_asks_for_a_rating_as_python_does(database: DatabaseUrls, db: Database) -> None:
    with psycopg.connect(database.owner_url) as owner:
        quote = insert(owner, "quotes", state="TX", product_type="auto")
    args = json.dumps({"quote_id": str(quote), "reason": "typed"})
    with psycopg.connect(database.app_url, autocommit=True) as connection:
        ask = "SELECT * FROM enqueue_job('rating.recalculate', %s, p_tenant => 'T1', p_priority => 2)"
        first, again = (connection.execute(ask, [args]).fetchone() for _ in range(2))
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="takes no deadline"):
            connection.execute("SELECT enqueue_job('rating.recalculate', %s, p_deadline => '1 min')", [args])
    assert first is not None
    assert again == (first[0], False), "one that waits is enough"
    with db.transaction() as transaction:
        same = enqueue_recalculation(transaction, quote_id=quote, reason="typed", tenant="T1", priority=2)
        row = transaction.execute(text("SELECT kind, queue, tenant, priority, args FROM job")).one()
    assert (same.job_id, same.is_new) == (first[0], False)
    assert tuple(row) == ("rating.recalculate", "rating", "T1", 2, {"quote_id": str(quote), "reason": "typed"})


@pytest.mark.parametrize(
    ("kind", "args", "complaint"),
    [
        ("verification.very", "{}", "only rating.recalculate and verification.verify can"),
        ("partitions.ensure", "{}", "kind partitions.ensure"),
        ("", "{}", "kind "),
        ("verification.verify", "[]", "must be a JSON object"),
        ("verification.verify", "{}", "there is no integration"),
        ("verification.verify", '{"driver": 1}', "there is no argument driver"),
        ("verification.verify", '{"driver_id": "1"}', "argument driver_id must be a whole number"),
        ("verification.verify", '{"driver_id": 1.5}', "argument driver_id must be a whole number"),
        ("verification.verify", '{"driver_id": 1e30}', "argument driver_id must be a whole number"),
        ("verification.verify", '{"quote_id": "x"}', "argument quote_id must be a UUID"),
        ("verification.verify", '{"integration": 7}', "argument integration must be text"),
        ("verification.verify", f'{{"integration": "{INTEGRATION}", "driver_id": 999}}', "there is no driver 999"),
        ("rating.recalculate", "{}", "there is no quote"),
        ("rating.recalculate", '{"quote_id": 7}', "argument quote_id must be a UUID"),
        ("rating.recalculate", '{"driver_id": 7}', "there is no argument driver_id"),
        ("rating.recalculate", f'{{"quote_id": "{UUID(int=7)}"}}', f"there is no quote {UUID(int=7)}"),
        ("rating.recalculate", '{"reason": "Ann Example"}', "the reason must be a code"),
    ],
)
def test_psql_is_told_by_name_what_is_wrong(
    database: DatabaseUrls,
    db: Database,
    drivers: list[int],  # noqa: F811 - the fixture
    kind: str,
    args: str,
    complaint: str,
) -> None:
    with psycopg.connect(database.app_url) as connection, pytest.raises(psycopg.errors.InvalidParameterValue) as error:
        connection.execute("SELECT enqueue_job(%s, %s)", [kind, args])
    assert complaint in str(error.value)
    with db.transaction() as check:
        assert check.execute(text("SELECT count(*) FROM job")).scalar_one() == 0
