"""What a bulk costs does not grow with the tables: all is found by keys."""

import json
import re

import psycopg
import pytest
from sqlalchemy import text

from tests.conftest import DatabaseUrls
from tests.worker.test_ledger_growth import pages
from worker.bulk import Refused, Verification, enqueue_verifications
from worker.crypto import Keyring
from worker.database import Database
from worker.dev.demo.households import add_drivers
from worker.dev.demo.sample import INTEGRATION, configure_sandbox
from worker.dev.embedded import EmbeddedServers
from worker.dev.sandbox.personas import BY_LICENSE
from worker.settings import Settings

PEOPLE = 20_000
ASKED = 20
PAGES_EACH = 150
"""More than the entries and checks of one that is asked for touch, fewer than any of these tables has."""

# As many people as a small agency has, each with a question that was answered and one that is open.
_HISTORY = (
    """
    INSERT INTO address (state, status_id, created_by)
    SELECT 'TX', status_id, created_by FROM driver, generate_series(1, :people) WHERE driver.id = :driver
    """,
    """
    INSERT INTO license (state_code, status_id, created_by)
    SELECT 'TX', status_id, created_by FROM driver, generate_series(1, :people) WHERE driver.id = :driver
    """,
    """
    INSERT INTO driver (license_id, status_id, created_by)
    SELECT license.id, license.status_id, license.created_by FROM license WHERE license.id NOT IN (
        SELECT license_id FROM driver)
    """,
    """
    INSERT INTO integration_request (
        integration_id, configuration_id, driver_id, user_id, endpoint, correlation_id, tenant, question,
        request_status, status_id, created_by)
    SELECT configuration.integration_id, configuration.id, driver.id, driver.created_by, 'x', 'x', 'system',
        'about ' || driver.id, status, driver.status_id, driver.created_by
    FROM integration_configuration AS configuration, driver, unnest(ARRAY['completed', 'pending']) AS status
    """,
    """
    INSERT INTO asked_question (tenant, question, asker, open_until, answered_by, answer_until)
    SELECT tenant, question, id, now(), id, now() + interval '1 day' FROM integration_request
    WHERE request_status = 'completed'
    """,
    "ANALYZE address, license, driver, integration_request, asked_question",
)


@pytest.fixture
def asked(settings: Settings, db: Database) -> list[Verification]:
    keyring = Keyring.of(settings)
    with db.transaction() as connection:
        configure_sandbox(connection, keyring, "http://127.0.0.1:9")
        people = list(add_drivers(connection, keyring, [BY_LICENSE["TX00000001"]] * ASKED))
        for statement in _HISTORY:
            connection.execute(text(statement), {"people": PEOPLE, "driver": people[0]})
    return [Verification(INTEGRATION, driver_id=person) for person in people]


def test_a_bulk_reads_no_table_whole(db: Database, asked: list[Verification]) -> None:
    """Once it was planned without nested loops: what went the single way within read every licence and address, and so
    did whoever asked for a single one on that connection afterwards; looking for answers read every request."""
    twice = [Verification(one.integration, one.driver_id, idempotency_key=str(one.driver_id)) for one in asked] * 2
    touched = {}
    for name, some in {"set by set": asked, "many by themselves": twice}.items():
        with db.transaction() as connection:
            before = pages(connection)
            assert not any(isinstance(one, Refused) for one in enqueue_verifications(connection, some))
            touched[name] = (pages(connection) - before) / len(some)
            connection.rollback()
    assert max(touched.values()) < PAGES_EACH, touched


EXPLAINED = """
    LOAD 'auto_explain';
    SET auto_explain.log_min_duration = 0; SET auto_explain.log_nested_statements = on;
    SET auto_explain.log_analyze = on; SET auto_explain.log_timing = off;
    SET client_min_messages = log
"""


def test_no_job_of_a_bulk_is_compared_with_all_others(
    servers: EmbeddedServers, database: DatabaseUrls, asked: list[Verification]
) -> None:
    """Once those that were inserted were joined with those that were asked for, one with each: ten thousand took three
    seconds rather than one."""
    drivers = [one.driver_id for one in asked] * 10
    plans: list[str] = []
    superuser = servers.admin_database_url.removesuffix("postgres") + database.name
    with psycopg.connect(superuser, autocommit=True) as connection:
        connection.execute(EXPLAINED)
        connection.add_notice_handler(lambda notice: plans.append(notice.message_primary or ""))
        found = connection.execute(
            "SELECT how FROM try_enqueue_verifications(CAST(%s AS jsonb))",
            [json.dumps([{"integration": INTEGRATION, "driver_id": driver} for driver in drivers])],
        ).fetchall()
    (written,) = [plan for plan in plans if "Insert on integration_request" in plan]
    compared = [int(rows) for rows in re.findall(r"Rows Removed by Join Filter: (\d+)", written)]
    assert len(found) == len(drivers)
    assert sum(compared) < 5 * len(drivers), written
