"""What is read and written for a run does not grow with the table of requests: all is found by keys."""

import psycopg

from tasks.verification.question_store import load
from tasks.verification.store import save
from tests.conftest import DatabaseUrls
from tests.tasks.verification.test_store import Platform, answered, platform
from tests.worker.test_ledger_growth import pages
from worker.job import Finished

__all__ = ["platform"]

OTHERS = 40_000
PAGES = 600
"""More than a run of one job touches, fewer than the others' rows have."""


def test_a_run_beside_many_others_finds_its_rows_by_key(database: DatabaseUrls, platform: Platform) -> None:
    """With the statistics of a moment without work, a save read every waiting job to wake nobody; and statements that
    were planned while there were few requests read all of them."""
    driver = platform.driver()
    with psycopg.connect(database.owner_url, autocommit=True) as owner:
        fill = "INSERT INTO job (kind, queue, state, finished_at) SELECT 'k', 'q', %s, %s FROM generate_series(1, %s)"
        owner.execute(fill, ["done", "2026-01-01", OTHERS])
        owner.execute("VACUUM ANALYZE job, integration_request")
        owner.execute(fill, ["ready", None, OTHERS])
        owner.execute(
            """
            INSERT INTO integration_request (
                integration_id, configuration_id, user_id, endpoint, correlation_id, status_id, created_by)
            SELECT integration_id, id, created_by, 'x', 'x', status_id, created_by
            FROM integration_configuration, generate_series(1, %s)
            """,
            [OTHERS],
        )
        assert owner.execute("SELECT pg_relation_size('integration_request') / 8192 > %s", [PAGES]).fetchone() == (
            True,
        )
    job = platform.ask(driver)
    with platform.db.transaction() as connection:
        before = pages(connection)
        (question,) = load(connection, [job]).values()
        loaded = pages(connection)
        save(connection, [Finished(job, question, answered(question))])
        saved = pages(connection)
    assert max(loaded - before, saved - loaded) < PAGES, (loaded - before, saved - loaded)
