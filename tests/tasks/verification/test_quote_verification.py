"""A quote's drivers, then its vehicles and criminal records, then its premium: in this order, and once."""

from collections.abc import Iterator
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from tasks.rating.task import recalculate
from tasks.verification.task import verify
from tests.tasks.verification.factories import insert_quote
from tests.tasks.verification.system import BY_SCENARIO, CRIMINAL, DRIVERS, System
from tests.waiting import until
from worker.errors import BadRequest
from worker.job import Surroundings
from worker.process.engine import Engine
from worker.quote_verification import EnqueuedQuoteVerification, enqueue_quote_verification
from worker.settings import Settings

KINDS = {kind.name: kind for kind in (verify, recalculate)}


@pytest.fixture
def engine(system: System, settings: Settings) -> Iterator[Engine]:
    engine = Engine(system.db, Surroundings(settings, system.keyring), on_room=lambda: None)
    yield engine
    engine.close()


@pytest.fixture
def quote(system: System) -> UUID:
    """Two drivers, of whom the provider knows both, and a vehicle; a second one has nothing to be found by."""
    for scenario in ("ok", "household"):
        system.driver(replace(BY_SCENARIO[scenario], last_name="Clear"))
    system.vehicle(vin="1SANDBX0000000001")
    system.vehicle(make="X")
    with system.db.transaction() as connection:
        quote = insert_quote(connection)
    system.change("UPDATE driver SET quote_id = :quote", quote=quote)
    system.change("UPDATE vehicle SET quote_id = :quote", quote=quote)
    return quote


def ask(system: System, quote: UUID, key: str | None = None) -> EnqueuedQuoteVerification:
    with system.db.transaction() as connection:
        return enqueue_quote_verification(connection, quote_id=quote, idempotency_key=key)


def run(system: System, engine: Engine) -> bool:
    """Whether all jobs are over; runs those that may."""
    for job in system.rows("SELECT id, kind FROM job WHERE state = 'ready' AND run_at <= now()"):
        engine.begin(KINDS[job["kind"]], [job["id"]])
    return system.rows("SELECT FROM job WHERE state IN ('ready', 'running')") == []


def test_vehicles_and_records_come_after_the_drivers_and_the_premium_last(
    system: System, engine: Engine, quote: UUID
) -> None:
    asked = ask(system, quote)
    assert (len(asked.drivers), len(asked.others)) == (2, 3)
    until(lambda: run(system, engine))
    paths = [entry["path"] for entry in system.calls()]
    assert sorted(paths[:2]) == ["/v2.7/household-drivers"] * 2
    assert sorted(paths[2:]) == ["/v1.0/criminal"] * 2 + ["/v2.3/household-vehicles"]
    rated = system.rows("SELECT args FROM job WHERE kind = 'rating.recalculate' AND args ? 'batch_id'")
    assert [job["args"]["batch_id"] for job in rated] == [str(asked.batch_id)]
    assert rated[0]["args"]["quote_id"] == str(quote)


def test_the_same_key_gives_the_same_batch(system: System, quote: UUID) -> None:
    first, again = ask(system, quote, "k"), ask(system, quote, "k")
    assert (first.is_new, again.is_new, again.batch_id) == (True, False, first.batch_id)
    assert len(system.rows("SELECT FROM job")) == 5


def test_one_that_is_refused_leaves_nothing_behind(system: System, quote: UUID) -> None:
    system.change("UPDATE third_party_integration SET is_active = false WHERE code = :code", code=CRIMINAL)
    with pytest.raises(BadRequest, match=CRIMINAL):
        ask(system, quote)
    assert system.rows("SELECT FROM job") == system.rows("SELECT FROM integration_request") == []


def test_a_quote_that_is_unknown_or_empty_is_refused_by_name(system: System) -> None:
    with system.db.transaction() as connection:
        empty = insert_quote(connection)
    for quote, code in ((uuid4(), "unknown_quote"), (empty, "nothing_to_verify")):
        with pytest.raises(BadRequest, match=str(quote)) as refused:
            ask(system, quote)
        assert refused.value.code == code


def test_parts_can_be_left_out(system: System, quote: UUID) -> None:
    with system.db.transaction() as connection:
        asked = enqueue_quote_verification(connection, quote_id=quote, vehicles=None, criminal=None)
    assert (len(asked.drivers), asked.others) == (2, [])
    asked_of = system.rows("SELECT DISTINCT resource FROM job")
    assert asked_of == [{"resource": DRIVERS}]
