"""One trace from the request or the application to the provider and the saved result; ids and codes in it, no more."""

from collections.abc import Iterator
from uuid import UUID

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import text

from tasks.rating.task import recalculate_many
from tasks.verification.task import verify
from tests.chaos.conftest import Ask, ask, sandbox
from tests.tasks.verification.factories import insert_quote
from worker import spans
from worker.batch import Callback, enqueue_batch
from worker.crypto import Keyring
from worker.database import Database
from worker.dev.demo.sample import INTEGRATION
from worker.dev.sandbox.server import SandboxServer
from worker.enqueue import enqueue, enqueue_verification
from worker.job import Surroundings
from worker.process.engine import Engine
from worker.settings import Settings
from worker.traces import continued

__all__ = ["ask", "sandbox"]  # fixtures

VERA = "TX00000001"
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


@pytest.fixture
def exported() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    spans.use(provider)
    yield exporter
    spans.close()


@pytest.fixture
def engine(settings: Settings, db: Database) -> Iterator[Engine]:
    engine = Engine(db, Surroundings(settings, Keyring.of(settings)), on_room=lambda: None)
    yield engine
    engine.close()


def context_of(db: Database, job_id: UUID) -> str | None:
    with db.transaction() as connection:
        found: str | None = connection.execute(
            text("SELECT trace_context FROM job WHERE id = :id"), {"id": job_id}
        ).scalar_one()
        return found


def run(engine: Engine, job_id: UUID) -> None:
    engine.begin(verify, [job_id])
    engine.drain()


def test_spans_of_a_job_belong_to_the_span_it_was_asked_for_in(
    exported: InMemorySpanExporter, db: Database, engine: Engine, ask: Ask, sandbox: SandboxServer
) -> None:
    with spans.span("the application"):
        (job_id,) = ask(VERA)
    run(engine, job_id)
    found: dict[str, ReadableSpan] = {span.name: span for span in exported.get_finished_spans()}
    assert set(found) == {"the application", "verification.verify", "act", "provider", "save"}
    names = {span.context.span_id: name for name, span in found.items() if span.context is not None}
    parents = {name: names[span.parent.span_id] if span.parent else None for name, span in found.items()}
    assert parents == {
        "the application": None,
        "verification.verify": "the application",
        "act": "verification.verify",
        "provider": "act",
        "save": "verification.verify",
    }
    attributes = {name: value for span in found.values() for name, value in (span.attributes or {}).items()}
    assert attributes.pop("job.waited_ms") is not None
    assert attributes == {
        "job.id": str(job_id),
        "job.attempt": 0,
        "job.fence": 1,
        "job.outcome": "done",
        "provider.integration": "DCS_HOUSEHOLD_DRIVERS",
        "provider.environment": "sandbox",
        "provider.outcome": "answered",
    }
    assert not any(span.events for span in found.values()), "texts of exceptions may hold a person's data"
    assert not any("traceparent" in str(entry).lower() for entry in sandbox.journal()), "the provider is told nothing"


def test_what_a_run_asks_for_comes_below_it(
    exported: InMemorySpanExporter, db: Database, engine: Engine, ask: Ask
) -> None:
    """A verification has a quote rated again, and the callback of its batch; neither knew of the trace."""
    ask(VERA)
    with db.transaction() as connection:
        update = text("UPDATE driver SET quote_id = :quote RETURNING id")
        driver = connection.execute(update, {"quote": insert_quote(connection)}).scalar_one()
        job_id = enqueue_verification(connection, integration=INTEGRATION, driver_id=driver, force=True).job_id
        enqueue_batch(connection, [[job_id]], name="test", callback=Callback(recalculate_many))
    run(engine, job_id)
    (own,) = [span.context for span in exported.get_finished_spans() if span.name == "verification.verify"]
    assert own is not None
    with db.transaction() as connection:
        asked = connection.execute(text("SELECT kind, trace_context FROM job WHERE queue = 'rating'")).all()
    context = f"00-{own.trace_id:032x}-{own.span_id:016x}-{own.trace_flags:02x}"
    assert dict(asked) == {"rating.recalculate": context, "rating.recalculate_many": context}


def test_a_job_keeps_the_trace_of_a_request_also_where_nobody_exports_spans(
    db: Database, settings: Settings, ask: Ask
) -> None:
    with continued(PARENT):
        (job_id,) = ask(VERA)
    assert context_of(db, job_id) == PARENT


@pytest.mark.parametrize("header", [None, "", "Ann Example", PARENT.upper(), f"{PARENT}-more", "00-0-0-01"])
def test_what_is_no_trace_context_is_none(header: str | None, db: Database, ask: Ask) -> None:
    with continued(header):
        (job_id,) = ask(VERA)
    assert context_of(db, job_id) is None


def test_a_transaction_in_sql_says_its_trace_and_the_next_one_has_none(db: Database) -> None:
    def asked(*said: str) -> str | None:
        with db.transaction() as connection:
            for context in said:
                connection.execute(text("SELECT set_config('worker.traceparent', :said, true)"), {"said": context})
            job_id = enqueue(connection, verify, {}).job_id
        return context_of(db, job_id)

    assert asked(PARENT) == PARENT
    assert asked() is None
    assert asked("a person's name") is None
