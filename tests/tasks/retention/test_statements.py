"""The statements of a batch: what stays of rows that refer to each other, and that no table is read as a whole."""

from collections.abc import Iterator, Mapping
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from sqlalchemy import Connection, event, text

from models.users import SYSTEM_USER_ID
from tasks.retention import guard_store, statements, store
from tasks.retention.plan import Policy, Reference, Removal
from tasks.retention.removal_store import OverdueRows
from tasks.retention.statements import Key
from tests.conftest import DatabaseUrls
from tests.migrations.rows import configuration
from worker.database import Database
from worker.job import Job
from worker.maintenance.order import Order

IDS = st.integers(0, 9)
PARENTS = st.dictionaries(st.integers(1, 9), IDS)


def going(taken: set[int], held: set[int], parents: Mapping[int, int]) -> set[int]:
    """What can go, said in another way: rows none of whose descendants is held or was not taken."""
    descendants = {id_: {id_} for id_ in range(10)}
    for id_ in sorted(descendants, reverse=True):
        if id_ in parents:
            descendants[parents[id_]] |= descendants[id_]
    return {id_ for id_ in taken if descendants[id_] <= taken - held}


@pytest.fixture
def transaction(db: Database) -> Iterator[Connection]:
    with db.engine.connect() as connection:
        yield connection


@examples(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(IDS), st.sets(IDS, max_size=2), PARENTS)
def test_nothing_goes_that_is_held_or_that_a_row_which_stays_refers_to(
    transaction: Connection, taken: set[int], held: set[int], parents: dict[int, int]
) -> None:
    parents = {id_: parent for id_, parent in parents.items() if parent < id_}
    transaction.execute(
        text(
            "INSERT INTO quotes (id, product_type, state, created_by, parent_quote_id)"
            " SELECT id, 'auto', 'TX', :by, parent FROM unnest(CAST(:ids AS uuid[]), CAST(:parents AS uuid[]))"
            " AS quote (id, parent)"
        ),
        {
            "by": SYSTEM_USER_ID,
            "ids": [UUID(int=id_) for id_ in range(10)],
            "parents": [UUID(int=parents[id_]) if id_ in parents else None for id_ in range(10)],
        },
    )
    for id_ in held:
        transaction.execute(
            text("INSERT INTO legal_holds (scope_type, scope_id, reason, placed_by) VALUES ('quote', :id, 'r', :by)"),
            {"id": str(UUID(int=id_)), "by": SYSTEM_USER_ID},
        )
    removal = Removal(
        Policy("quotes", 1, 1, "created_at", 5, 1.0), (), (), Reference("quotes", "parent_quote_id", "quotes")
    )
    ids = "{" + ",".join(str(UUID(int=id_)) for id_ in sorted(taken)) + "}"
    (left,) = transaction.execute(text(statements.remove(removal, {"quotes": Key("id", "uuid")})), {"ids": ids}).all()
    expected = going(taken, held, parents)
    remaining = {UUID(row.id).int for row in transaction.execute(text("SELECT id::text AS id FROM quotes"))}
    transaction.rollback()
    assert remaining == set(range(10)) - expected
    assert (left.removed, left.held) == (len(expected), len(taken & held))


def stage_of(connection: Connection, table: str) -> OverdueRows:
    job = Job(
        UUID(int=1), "retention.sweep", {"confirm": True}, 1, 1, 0, 1,
        deadline_at=None, is_expired=False, is_cancelled=False, time_left=None,
    )  # fmt: skip
    planned = store.plan(connection, Order(job, None)).stages
    (found,) = (stage for stage in planned if isinstance(stage, OverdueRows) and stage.name == table)
    return found


def test_a_batch_takes_four_statements_and_reads_no_table_as_a_whole(
    transaction: Connection, database: DatabaseUrls
) -> None:
    """Also after so many batches that the server has made plans for any values, and while something is held."""
    with psycopg.connect(database.owner_url, autocommit=True) as owner:
        fill(owner, 4000)
    stage = stage_of(transaction, "integration_request")
    transaction.commit()
    sent: list[str] = []
    event.listen(transaction, "before_cursor_execute", lambda *args: sent.append(args[2]))
    after = None
    for _ in range(12):
        del sent[:]
        before = whole_reads(transaction)
        batch = stage.batch(transaction, after, 100)
        number = len(sent) - 1
        assert whole_reads(transaction) == before
        transaction.commit()
        assert (batch.rows, number) == (100, 4)
        after = batch.after
    assert batch.counts == {"removed": 100, "integration_verification_result removed": 100}


def test_a_plan_counts_by_indexes_alone(transaction: Connection, database: DatabaseUrls) -> None:
    """Results have no index by date: the plan, its count and monitoring's function each read all of them."""
    with psycopg.connect(database.owner_url, autocommit=True) as owner:
        fill(owner, 4000)
    before = whole_reads(transaction)
    stage_of(transaction, "integration_request")
    for table, size in (("integration_request", 4000), ("integration_verification_result", 0)):
        assert stage_of(transaction, table).size(transaction) == size
    assert whole_reads(transaction) == before


@pytest.mark.parametrize("slice_", [1, 2, 3, 5, 6, 7, 100])
def test_overdue_rows_are_counted_once_however_they_fall_into_slices(
    transaction: Connection, database: DatabaseUrls, monkeypatch: pytest.MonkeyPatch, slice_: int
) -> None:
    with psycopg.connect(database.owner_url, autocommit=True) as owner:
        fill(owner, 12)
        owner.execute("UPDATE integration_request SET created_at = date_trunc('minute', created_at) WHERE id % 3 > 0")
        owner.execute("UPDATE integration_request SET created_at = now() WHERE id IN (2, 12)")
    monkeypatch.setattr(guard_store, "SLICE", slice_)
    assert stage_of(transaction, "integration_request").size(transaction) == 10


def whole_reads(connection: Connection) -> list[tuple[str, int]]:
    return [
        (row.relname, row.seq_scan)
        for row in connection.execute(
            text(
                """
                SELECT relname, seq_scan FROM pg_stat_xact_user_tables
                WHERE relname IN ('integration_request', 'integration_verification_result', 'legal_holds', 'quotes',
                    'driver')
                ORDER BY relname
                """
            )
        )
    ]


def fill(owner: psycopg.Connection, count: int) -> None:
    """So many overdue requests with a result each, and a hold on a driver whom none of them is about."""
    owner.execute(
        """
        WITH held AS (
            INSERT INTO driver (created_by, status_id)
            VALUES (%(user)s, (SELECT id FROM status WHERE code = 'ACTIVE')) RETURNING id
        ), requested AS (
            INSERT INTO integration_request (
                integration_id, configuration_id, user_id, created_by, status_id, endpoint, correlation_id, created_at
            )
            SELECT integration_id, c.id, %(user)s, %(user)s, c.status_id, '/drivers', n::text,
                now() - interval '2600 days' + n * interval '1 s'
            FROM generate_series(1, %(count)s) AS n, integration_configuration AS c WHERE c.id = %(configuration)s
            RETURNING id, status_id, created_at
        )
        INSERT INTO integration_verification_result (
            request_id, status_id, created_by, created_at, verification_type, target_entity_type, target_entity_id,
            verification_status
        )
        SELECT r.id, status_id, %(user)s, created_at, 'license', 'driver', r.id + 1000000, 'verified'
        FROM requested AS r
        """,
        {"user": SYSTEM_USER_ID, "count": count, "configuration": configuration(owner)},
    )
    owner.execute(
        "INSERT INTO legal_holds (scope_type, scope_id, reason, placed_by)"
        " SELECT 'driver', id::text, 'r', %s FROM driver",
        [SYSTEM_USER_ID],
    )
    owner.execute("ANALYZE")
