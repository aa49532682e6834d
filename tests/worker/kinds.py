"""Kinds of jobs for tests of the machine: what they do stands in their arguments."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Connection, text

from worker.job import Finished, Job, Kind
from worker.outcomes import Done, GiveUp, Outcome, Retry, Snooze

LEFT_BEHIND = "CREATE TABLE effect (job_id uuid, outcome text)"
"""The effect of a run, without a unique key: a doubled one would be seen."""


def load(connection: Connection, jobs: Sequence[Job]) -> Mapping[UUID, dict[str, object]]:
    if any(job.args.get("load") == "fail" for job in jobs):
        raise RuntimeError("load failed")
    return {job.id: {"id": job.id, **job.args} for job in jobs}


def save(connection: Connection, finished: Sequence[Finished]) -> None:
    connection.execute(
        text("INSERT INTO effect SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:outcomes AS text[]))"),
        {
            "ids": [run.job.id for run in finished],
            "outcomes": [type(run.outcome).__name__.lower() for run in finished],
        },
    )
    if any(run.job.args.get("save") == "fail" and isinstance(run.outcome, Done) for run in finished):
        raise RuntimeError("save failed")


async def act(inputs: dict[str, object]) -> Outcome[None]:
    match inputs.get("do", "done"):
        case "done":
            await asyncio.sleep(float(str(inputs.get("s", 0))))
            return Done(None)
        case "retry":
            return Retry("test_retry", timedelta(0))
        case "snooze":
            return Snooze("test_snooze", timedelta(hours=1))
        case "give_up":
            return GiveUp("test_gave_up", "because the test says so")
        case "hang":
            await asyncio.sleep(3600)
    raise ValueError("a person's name")


TEST_KIND = Kind(
    "test.run", "verification", act, load, save, deadline_s=1, max_attempts=3, backoff=lambda _: timedelta(0)
)
