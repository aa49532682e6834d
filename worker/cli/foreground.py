"""Runs one job in this process, or watches whoever was quicker to take it, until it is over."""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any
from uuid import UUID

from sqlalchemy import text

from worker.audit import audit
from worker.crypto import Keyring
from worker.database import Database, reaching
from worker.enqueue import enqueue
from worker.errors import BadRequest
from worker.job import Kind, Surroundings
from worker.operating import control
from worker.process.engine import Engine
from worker.process.leases import LeaseRenewal
from worker.process.presence import Presence
from worker.settings import Settings

_LOOK_EVERY_S = 0.2
_JOB = text("SELECT id, state, progress, waiting_for, run_at <= now() AS is_due, error_code, error_message"
            " FROM job WHERE id = :id")  # fmt: skip


def follow_run(
    settings: Settings, kind: Kind, args: Mapping[str, Any], by: str, show: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Ask for a job and run it here; gives its row at the end. `show` gets the row on the way.

    Whenever the job waits and is due (after a retry, or for another run of its kind) this process takes it again.
    Ctrl-C asks for its cancellation and waits for that.
    """
    database = Database(settings)
    engine = Engine(database, Surroundings(settings, Keyring.of(settings)), on_room=lambda: None)
    leases = LeaseRenewal(settings, database, engine, Presence(database, engine, [], calls_in_flight=1))
    try:
        with reaching(f"run {kind.name}"):
            # A connection that sends no hints after its commit: the job is this process's, if nobody is quicker.
            with database.engine.begin() as connection:
                job_id = enqueue(connection, kind, args).job_id
                audit(
                    connection,
                    action="maintenance.asked_for",
                    resource_type="job",
                    resource_id=job_id,
                    details={"by": by, "kind": kind.name, **args},
                )
            leases.start()
            return _to_its_end(database, engine, kind, job_id, by, show)
    finally:
        engine.close()
        leases.close()
        database.close()


def _to_its_end(
    database: Database, engine: Engine, kind: Kind, job_id: UUID, by: str, show: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    is_cancelled = False
    while True:
        try:
            with database.transaction() as connection:
                job = dict(connection.execute(_JOB, {"id": job_id}).mappings().one())
            show(job)
            if job["state"] not in ("ready", "running"):
                return job
            if job["state"] == "ready" and (job["is_due"] or is_cancelled):
                engine.begin(kind, [job_id])
            time.sleep(_LOOK_EVERY_S)
        except KeyboardInterrupt:
            if is_cancelled:
                raise
            is_cancelled = True
            with suppress(BadRequest), database.transaction() as connection:  # it may be over by now
                control.cancel(connection, job_id, by)
