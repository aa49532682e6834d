"""`worker quotes` and `worker rates`: why a premium is what it is, and bringing premiums up to date by hand."""

import threading
from collections.abc import Iterator
from decimal import Decimal
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.cli.here import run_here
from tests.cli.operator import Worker, read, refused, said
from tests.conftest import DatabaseUrls, environment_of
from tests.tasks.rating.saved import add_quote, file_plan, file_rates, forget_jobs, jobs, quote_of, run_all
from worker.crypto import Keyring
from worker.database import Database
from worker.job import Surroundings
from worker.process.engine import Engine
from worker.settings import Settings


@pytest.fixture
def worker(settings: Settings, tmp_path: Path) -> Worker:
    return partial(run_here, cwd=tmp_path, environment=environment_of(settings, tmp_path))


@pytest.fixture
def sql(database: DatabaseUrls) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database.app_url, autocommit=True) as connection:
        file_plan(connection)
        forget_jobs(connection)
        yield connection


@pytest.fixture
def engine(settings: Settings, db: Database) -> Iterator[Engine]:
    engine = Engine(db, Surroundings(settings, Keyring.of(settings)), on_room=lambda: None)
    yield engine
    engine.close()


@pytest.fixture
def working(engine: Engine, db: Database, sql: psycopg.Connection, database: DatabaseUrls) -> Iterator[None]:
    """Somebody takes jobs of rating while the test runs."""
    is_over = threading.Event()

    def work() -> None:
        with psycopg.connect(database.app_url, autocommit=True) as connection:
            while not is_over.wait(0.05):
                run_all(engine, db, connection)

    thread = threading.Thread(target=work)
    thread.start()
    yield
    is_over.set()
    thread.join()


def test_a_quote_is_recalculated_and_explained(worker: Worker, sql: psycopg.Connection, working: None) -> None:
    quote_id = add_quote(sql)
    answer = worker("quotes", "recalculate", str(quote_id), "--wait")
    assert answer.returncode == 0, answer.stderr
    assert UUID(answer.stdout.split()[0]) == jobs(sql, "rating.recalculate")[0]["id"]
    table = said(worker("quotes", "explain", str(quote_id)))
    rows = [" ".join(line.split()) for line in table.splitlines()]
    assert rows[1].startswith("base rate BI, vehicle 1, driver 1 +200.000000 200.000000 rate table")
    assert rows[2].startswith("territory BI, vehicle 1, driver 1 101 1.15 +30.000")
    assert "is quoted at 269.51 US dollars" in rows[-1]
    plot = said(worker("quotes", "explain", str(quote_id), "--plot")).splitlines()
    assert plot[0] == "BI, vehicle 1, driver 1"
    assert plot[1].split()[2:] == ["█" * len(plot[1].split()[2]), "+200.00", "200.00"]
    assert any("░" in line and "-29.95" in line for line in plot)
    assert read(worker("quotes", "explain", str(quote_id), "--json"))["premium"] == "269.51"


def test_why_there_is_no_premium_is_said(worker: Worker, sql: psycopg.Connection, working: None) -> None:
    quote_id = add_quote(sql)
    answer = worker("quotes", "explain", str(quote_id))
    assert (answer.returncode, "has not been rated yet" in answer.stderr) == (1, True)
    sql.execute("UPDATE quotes SET rating_inputs = '{}'")
    answer = worker("quotes", "recalculate", str(quote_id), "--wait")
    assert (answer.returncode, "missing_input" in answer.stderr) == (1, True)
    answer = worker("quotes", "explain", str(quote_id))
    assert "It is not up to date: the quote lacks quote.territory" in answer.stderr


def test_a_draft_is_tried_and_activated(worker: Worker, sql: psycopg.Connection, working: None) -> None:
    quote_id = add_quote(sql, status="quoted", premium="250.00")
    draft = str(file_rates(sql, base="220", effective_date="2026-05-01", is_active=False))
    answer = worker("quotes", "recalculate", "--state", "TX", "--dry-run", "--draft", draft)
    assert answer.returncode == 0, answer.stderr
    assert "1 quotes: 1 would be rated anew, 0 unchanged." in answer.stdout
    assert "1 premiums would rise and 0 fall: by 46.47 at the least" in answer.stdout
    assert quote_of(sql, quote_id)["premium"] == 250
    assert "will be recalculated" in said(worker("rates", "activate", "rate_tables", draft))
    assert "in force already" in said(worker("rates", "activate", "rate_tables", draft))
    answer = worker("quotes", "recalculate", "--state", "TX", "--wait", "--json")
    assert answer.returncode == 0, answer.stderr
    assert quote_of(sql, quote_id)["premium"] == Decimal("296.47")


def test_a_wrong_request_is_refused_in_a_sentence(worker: Worker, sql: psycopg.Connection) -> None:
    nobody = str(uuid4())
    assert f"no quote {nobody}" in refused(worker("quotes", "explain", nobody))
    assert f"no quote {nobody}" in refused(worker("quotes", "recalculate", nobody)).lower()
    assert "say which quotes" in refused(worker("quotes", "recalculate"))
    assert "not both" in refused(worker("quotes", "recalculate", nobody, "--state", "TX"))
    assert "no table of rates users" in refused(worker("rates", "activate", "users", nobody))
