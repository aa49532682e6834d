"""Every person the sandbox knows, through the database and over the line, ends as the contract says."""

import asyncio
from dataclasses import dataclass
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
    make_job,
    provider,
    row,
)
from worker.crypto import Keyring
from worker.database import Database
from worker.dev.sandbox.personas import PERSONAS
from worker.dev.sandbox.server import SandboxServer
from worker.job import Finished, Job
from worker.outcomes import Outcome, Retry, Snooze

DRIVERS = [persona for persona in PERSONAS if persona.api == "drivers"]


@dataclass
class Ended:
    household: Household
    request_id: int
    outcome: Outcome[Any]


def comes_back_soon(outcome: Outcome[Any]) -> bool:
    return isinstance(outcome, Retry | Snooze) and outcome.after < timedelta(hours=1)


def run_to_the_end(db: Database, jobs: list[Job], keyring: Keyring, redis_url: str) -> dict[int, Outcome[Any]]:
    """Load, act and save all jobs together, again for those that come back within the hour, without their waits."""

    async def act(inputs: dict[Any, Any], running: list[Job]) -> list[Outcome[Any]]:
        async with provider(redis_url, keyring) as opened:
            return await asyncio.gather(*(verify.act(inputs[job.id], opened) for job in running))

    outcomes: dict[int, Outcome[Any]] = {}
    while jobs:
        with db.transaction() as connection:
            inputs = dict(load(connection, jobs))
        ends = asyncio.run(act(inputs, jobs))
        with db.transaction() as connection:
            save(connection, [Finished(job, inputs[job.id], end) for job, end in zip(jobs, ends, strict=True)])
        outcomes |= {job.args["request_id"]: end for job, end in zip(jobs, ends, strict=True)}
        jobs = [job for job, end in zip(jobs, ends, strict=True) if comes_back_soon(end)]
    return outcomes


def test_every_persona_ends_as_the_contract_says(
    db: Database, settings: Any, redis_url: str, sandbox: SandboxServer
) -> None:
    keyring = Keyring.parse(settings.encryption_keys.get_secret_value(), settings.blind_index_key.get_secret_value())
    with db.transaction() as connection:
        insert_configuration(connection, keyring, sandbox.url, timeout=1)
        households = {persona.scenario: insert_driver(connection, keyring, persona) for persona in DRIVERS}
        requests = {scenario: enqueue(connection, household.driver_id) for scenario, household in households.items()}

    run_to_the_end(db, [make_job(request_id) for request_id in requests.values()], keyring, redis_url)

    differing = {}
    with db.transaction() as connection:
        for persona in DRIVERS:
            household, request_id = households[persona.scenario], requests[persona.scenario]
            request = row(connection, "integration_request", request_id)
            results: dict[str, str] = dict(
                connection.execute(
                    text(
                        """SELECT verification_type, verification_status FROM integration_verification_result
                           WHERE request_id = :id"""
                    ),
                    {"id": request_id},
                ).all()
            )
            expected = persona.expected
            seen = (
                request["request_status"],
                results.get("household"),
                results.get("license"),
                row(connection, "driver", household.driver_id)["external_verification_status"],
                row(connection, "license", household.license_id)["external_verification_status"],
            )
            result = expected.result_status or "error"
            wanted = (
                expected.request_status if expected.finishes else "pending",
                result if expected.finishes else None,
                result if expected.finishes else None,
                expected.driver_status or "not_verified",
                expected.license_status or "not_verified",
            )
            if seen != wanted:
                differing[persona.scenario] = (seen, wanted, request["error_message"])
    assert differing == {}
