"""The sweep works in bounded batches: so many statements each, however many rows, and never more rows than asked for.

How fast it is beside reading and writing alone, `tests.tasks.masking.speed` measures by hand.
"""

from datetime import UTC, datetime

import psycopg
from sqlalchemy import event

from tasks.masking.maskers import Maskers
from tasks.masking.requests_store import Requests
from tests.conftest import DatabaseUrls
from tests.migrations.rows import only
from tests.tasks.masking.defaults import KEYRING, default_rules
from tests.tasks.masking.speed import add_requests, compare
from worker.database import Database

LATER = datetime(2100, 1, 1, tzinfo=UTC)


def test_a_batch_is_five_statements_however_many_rows_it_has(database: DatabaseUrls, db: Database) -> None:
    with psycopg.connect(database.owner_url, autocommit=True) as owner:
        add_requests(owner, 70)
    said: list[str] = []
    event.listen(db.engine, "before_cursor_execute", lambda _c, _k, statement, *_: said.append(statement))
    stage, after = Requests(1, Maskers(default_rules(), {}, KEYRING.token), LATER, 50), None
    for limit, rows in ((10, 10), (50, 50), (50, 10)):
        said.clear()
        with db.transaction() as connection:
            batch = stage.batch(connection, after, limit)
        assert (batch.rows, batch.counts["masked"], batch.counts["results masked"]) == (rows, rows, 2 * rows)
        assert len(said) == 5, said
        after = batch.after
    assert after is None


def test_the_measurement_masks_every_second_batch_and_copies_the_others(database: DatabaseUrls) -> None:
    with psycopg.connect(database.owner_url, autocommit=True) as owner:
        add_requests(owner, 40)
        masked, copied = compare(database, 10)
        assert (masked.rows, copied.rows, masked.batches) == (20, 20, 3)
        assert (
            only(owner, "SELECT count(*) FROM integration_request WHERE response_body::text LIKE '%%[REDACTED]%%'")
            == 20
        )
