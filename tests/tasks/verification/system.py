"""A database with configurations of all three APIs, verified over real HTTP against the sandbox."""

import asyncio
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from sqlalchemy import text

from tasks.verification.question_store import load
from tasks.verification.store import save
from tasks.verification.task import verify
from tests.tasks.verification.factories import (
    Household,
    enqueue,
    insert_configuration,
    insert_driver,
    insert_vehicle,
    make_job,
    provider,
    row,
)
from worker.crypto import Keyring
from worker.database import Database
from worker.dev.sandbox.personas import PERSONAS, Persona
from worker.dev.sandbox.server import SandboxServer
from worker.job import Finished, Job
from worker.outcomes import Outcome, Retry, Snooze

DRIVERS, CRIMINAL, VEHICLES = "DCS_HOUSEHOLD_DRIVERS", "DCS_CRIMINAL", "DCS_HOUSEHOLD_VEHICLES"
BY_SCENARIO = {persona.scenario: persona for persona in PERSONAS}


@dataclass
class System:
    """Shorthand for asking, and for looking at what came of it."""

    db: Database
    keyring: Keyring
    redis_url: str
    sandbox: SandboxServer

    def driver(self, persona: Persona, **changes: Any) -> Household:
        """Criminal records are found by name: any licence will do."""
        persona = replace(persona, license_number=persona.license_number or "TX77777777", **changes)
        with self.db.transaction() as connection:
            return insert_driver(connection, self.keyring, persona)

    def vehicle(self, **columns: Any) -> int:
        with self.db.transaction() as connection:
            return insert_vehicle(connection, **columns)

    @classmethod
    def set_up(cls, db: Database, keyring: Keyring, redis_url: str, sandbox: SandboxServer) -> "System":
        with db.transaction() as connection:
            for code in (DRIVERS, CRIMINAL, VEHICLES):
                insert_configuration(connection, keyring, sandbox.url, code)
        return cls(db, keyring, redis_url, sandbox)

    def verify(self, driver_id: int | None, code: str, **subject: Any) -> dict[str, Any]:
        """Ask, run to the end, and give the request's row."""
        with self.db.transaction() as connection:
            request_id = enqueue(connection, driver_id, code, **subject)
        self.run_to_the_end(make_job(request_id))
        return self.row("integration_request", request_id)

    def ask(self, driver_id: int | None, code: str, **subject: Any) -> Job:
        with self.db.transaction() as connection:
            return make_job(enqueue(connection, driver_id, code, **subject))

    def run(self, job: Job) -> Outcome[Any]:
        """Once."""
        return run_once(self.db, [job], self.keyring, self.redis_url)[job.args["request_id"]]

    def run_to_the_end(self, *jobs: Job) -> None:
        run_to_the_end(self.db, list(jobs), self.keyring, self.redis_url)

    def calls(self) -> list[dict[str, Any]]:
        """What the provider was asked, tokens apart."""
        return [entry for entry in self.sandbox.journal() if entry["path"] != "/oauth2/token"]

    def request(self, job: Job) -> dict[str, Any]:
        return self.row("integration_request", job.args["request_id"])

    def results(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        return self.rows("SELECT * FROM integration_verification_result WHERE request_id = :id ORDER BY id", **request)

    def rows(self, statement: str, **values: Any) -> list[dict[str, Any]]:
        with self.db.transaction() as connection:
            return [dict(found) for found in connection.execute(text(statement), values).mappings()]

    def row(self, table: str, id_: int) -> dict[str, Any]:
        with self.db.transaction() as connection:
            return row(connection, table, id_)

    def change(self, statement: str, **values: Any) -> None:
        with self.db.transaction() as connection:
            connection.execute(text(statement), values)


def matches(result: dict[str, Any]) -> set[str]:
    return {noted["match"] for noted in result["discrepancies"] or ()}


def kept_anywhere(db: Database) -> str:
    """Requests and results, every column."""
    with db.transaction() as connection:
        return "".join(
            str(value)
            for table in ("integration_request", "integration_verification_result", "job", "job_event")
            for value in connection.scalars(text(f"SELECT to_jsonb(t)::text FROM {table} t"))  # noqa: S608 - our names
        )


def _comes_back_soon(outcome: Outcome[Any]) -> bool:
    return isinstance(outcome, Retry | Snooze) and outcome.after < timedelta(hours=1)


def run_once(db: Database, jobs: list[Job], keyring: Keyring, redis_url: str) -> dict[int, Outcome[Any]]:
    """Load, act and save all jobs together, as an engine would."""

    async def act(inputs: dict[Any, Any], running: list[Job]) -> list[Outcome[Any]]:
        async with provider(redis_url, keyring) as opened:
            return await asyncio.gather(*(verify.act(inputs[job.id], opened) for job in running))

    with db.transaction() as connection:
        inputs = dict(load(connection, jobs))
    ends = asyncio.run(act(inputs, jobs))
    with db.transaction() as connection:
        save(connection, [Finished(job, inputs[job.id], end) for job, end in zip(jobs, ends, strict=True)])
    return {job.args["request_id"]: end for job, end in zip(jobs, ends, strict=True)}


def run_to_the_end(db: Database, jobs: list[Job], keyring: Keyring, redis_url: str) -> None:
    """Run them, again those that come back within the hour, without their waits."""
    while jobs:
        ends = run_once(db, jobs, keyring, redis_url)
        jobs = [job for job in jobs if _comes_back_soon(ends[job.args["request_id"]])]
