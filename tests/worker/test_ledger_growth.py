"""What the ledger does for a few jobs touches as many pages beside a long history as beside none."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
from sqlalchemy import Connection, text

from tests.conftest import DatabaseUrls
from tests.worker.asking import ask
from worker import ledger, window
from worker.database import Database
from worker.outcomes import Done
from worker.verdict import judge

JOBS = 10
HISTORY = 40_000
PAGES = 900
"""More than any of these touches, fewer than a look at every finished row."""

LEASE = timedelta(seconds=30)

Deed = Callable[[Connection, list[UUID]], Any]


def claim(connection: Connection, ids: list[UUID]) -> Any:
    return ledger.claim(connection, ids, owner="me", lease=LEASE)


def finish(connection: Connection, ids: list[UUID]) -> Any:
    return ledger.finish(connection, [(job, judge(job, Done(None))) for job in claim(connection, ids)])


def renew(connection: Connection, ids: list[UUID]) -> Any:
    return [held for held in ledger.renew(connection, claim(connection, ids), lease=LEASE) if held.is_ours]


def give_back(connection: Connection, ids: list[UUID]) -> Any:
    window.give_back(connection, ids)
    return ids


def pick(connection: Connection, ids: list[UUID]) -> Any:
    return window.pick(
        connection, "verification", limit=len(ids), settled_for=timedelta(0), lost_after=timedelta(minutes=1)
    )


def rescue(connection: Connection, ids: list[UUID]) -> Any:
    claim(connection, ids)
    connection.execute(text("UPDATE job SET lease_until = now() - interval '1 s' WHERE state = 'running'"))
    return [None] * ledger.rescue(connection, limit=100)


def enqueue(connection: Connection, ids: list[UUID]) -> Any:
    sql = """
        SELECT job_id FROM generate_series(1, :jobs) AS n CROSS JOIN LATERAL insert_job(
            'test.run', 'verification', '{}', p_idempotency_key => 'new-' || n)
    """
    return connection.execute(text(sql), {"jobs": len(ids)}).all()


def pages(connection: Connection) -> int:
    """Pages of our tables and indexes that this transaction has touched so far; planning looks at others."""
    sql = """
        SELECT sum(pg_stat_get_xact_blocks_fetched(oid)) FROM pg_class
        WHERE relkind IN ('r', 'i') AND relnamespace = 'public'::regnamespace
    """
    return int(connection.execute(text(sql)).scalar_one())


def test_history_costs_the_ledger_nothing(db: Database) -> None:
    with db.transaction() as connection:
        connection.execute(
            text(
                """
                INSERT INTO job (kind, queue, tenant, state, finished_at, run_at, idempotency_key, idempotency_until)
                SELECT 'test.run', 'verification', 't' || n % 3, 'done', now(), now(), 'old-' || n,
                    now() + interval '1 day'
                FROM generate_series(1, :rows) AS n
                """
            ),
            {"rows": HISTORY},
        )
        connection.execute(text("ANALYZE job"))
        [(everything,)] = connection.execute(text("SELECT pg_relation_size('job') / 8192")).all()
    assert everything > PAGES, "a look at every row would be noticed"
    ids = ask(db, JOBS)
    touched = {}
    for deed in (claim, finish, give_back, pick, rescue, enqueue):
        with db.transaction() as connection:
            before = pages(connection)
            assert len(deed(connection, ids)) == JOBS
            touched[deed.__name__] = pages(connection) - before
            connection.rollback()
    assert {name: count for name, count in touched.items() if count > PAGES} == {}


def test_a_backlog_that_statistics_do_not_know_costs_the_ledger_nothing(database: DatabaseUrls, db: Database) -> None:
    """After a quiet hour nothing seems to be ready or running. Then a claim read all that was ready to find a few jobs
    by id, and a finish all that was running."""
    with psycopg.connect(database.owner_url, autocommit=True) as owner:
        fill = """
            INSERT INTO job (kind, queue, state, finished_at, lease_until)
            SELECT 'test.run', 'verification', %(state)s::text, CASE %(state)s::text WHEN 'done' THEN now() END,
                CASE %(state)s::text WHEN 'running' THEN now() + interval '1 minute' END
            FROM generate_series(1, %(rows)s)
        """
        owner.execute(fill, {"state": "done", "rows": HISTORY})
        owner.execute("VACUUM ANALYZE job")
        for state in ("ready", "running"):
            owner.execute(fill, {"state": state, "rows": HISTORY})
    ids = ask(db, JOBS)
    touched = {}
    for deed in (claim, renew, finish, give_back):
        with db.transaction() as connection:
            before = pages(connection)
            assert len(deed(connection, ids)) == JOBS
            touched[deed.__name__] = pages(connection) - before
            connection.rollback()
    assert {name: count for name, count in touched.items() if count > PAGES} == {}
