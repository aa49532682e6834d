"""Follows a recalculation to its end, and tells what came of it."""

import time
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import typer
from sqlalchemy import text

from worker.cli.explaining import histogram
from worker.cli.printing import print_json
from worker.database import Database

LOOK_EVERY_S = 0.2

_JOB = text("SELECT id, state, waiting_for, progress, error_code, error_message FROM job WHERE id = :id")


def follow(database: Database, job_id: UUID, say: Callable[[str], None]) -> dict[str, Any]:
    """Wait until the job has ended; `say` gets each change on the way. Gives the job's row."""
    last = ""
    while True:
        with database.transaction() as connection:
            job = dict(connection.execute(_JOB, {"id": job_id}).mappings().one())
        if job["state"] not in ("ready", "running"):
            return job
        if (now := _describe(job)) != last:
            say(now)
            last = now
        time.sleep(LOOK_EVERY_S)


def _describe(job: Mapping[str, Any]) -> str:
    progress = job["progress"]
    if not progress or not progress.get("ranges"):
        return f"{job['state']}{', waiting for ' + job['waiting_for'] if job['waiting_for'] else ''}"
    return f"{progress['ranges_done']} of {progress['ranges']} ranges, {progress['quotes']} quotes looked at"


def tell(job: Mapping[str, Any], *, as_json: bool) -> None:
    """The end, for people or programs."""
    if as_json:
        print_json(job)
        return
    if job["state"] != "done":
        reason = f" ({job['error_code']}): {job['error_message']}" if job["error_code"] else ""
        typer.echo(f"Job {job['id']} {job['state']}{reason}", err=True)
        return
    progress = job["progress"]
    if progress is None:
        typer.echo("done")
        return
    refused = "".join(f", {count} refused ({code})" for code, count in progress["refused"].items())
    waiting = f", {progress['waiting']} wait for a verification" if progress["waiting"] else ""
    again = f", {progress['again']} changed meanwhile and are done again" if progress["again"] else ""
    word = "would be rated anew" if "differences" in progress else "rated anew"
    typer.echo(
        f"{progress['quotes']} quotes: {progress['rated']} {word}, {progress['unchanged']} unchanged"
        f"{refused}{waiting}{again}."
    )
    if differences := progress.get("differences"):
        _tell_differences(differences, progress["histogram"])


def _tell_differences(differences: Mapping[str, Any], bins: list[list[Any]]) -> None:
    if not differences["count"]:
        typer.echo("No premium would change.")
        return
    typer.echo(
        f"{differences['up']} premiums would rise and {differences['down']} fall: by {differences['min']} at the least,"
        f" {differences['median']} in the middle, {differences['max']} at the most, {differences['total']} US dollars"
        " together."
    )
    typer.echo("\n".join(histogram(bins)))
