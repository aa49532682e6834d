"""Follows one job to its end and says how it ended."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text

from worker.database import Database

LOOK_EVERY_S = 0.2

_STATE = text("SELECT state, attempt, waiting_for, error_code, error_message FROM job WHERE id = :id")
_REQUEST = text("""
    SELECT request_status, response_status_code, retry_count, response_time_ms
    FROM integration_request WHERE id = :id
""")


@dataclass(frozen=True, slots=True)
class End:
    """How a job ended, with a sentence about it that names no person."""

    is_done: bool
    sentence: str


def follow(database: Database, job_id: UUID, request_id: int, say: Callable[[str], None]) -> End:
    """Wait until the job has ended, however long that takes; `say` gets each change on the way."""
    last = ""
    while True:
        with database.transaction() as connection:
            job = connection.execute(_STATE, {"id": job_id}).one()
            if job.state not in ("ready", "running"):
                request = connection.execute(_REQUEST, {"id": request_id}).one()
                break
        if (now := _describe(job.state, job.attempt, job.waiting_for)) != last:
            say(now)
            last = now
        time.sleep(LOOK_EVERY_S)
    if job.state == "done":
        took = f" in {request.response_time_ms} ms" if request.response_time_ms is not None else ""
        retries = f" after {request.retry_count} retries" if request.retry_count else ""
        return End(True, f"done: request {request_id} {request.request_status}{retries}; the provider answered{took}")
    reason = f" ({job.error_code})" if job.error_code else ""
    return End(False, f"job {job_id} {job.state}{reason}: {job.error_message or 'no further explanation'}")


def _describe(state: str, attempt: int, waiting_for: str | None) -> str:
    tries = f", try {attempt + 1}" if attempt else ""
    return f"{state}{tries}" + (f", waiting for {waiting_for}" if waiting_for else "")
