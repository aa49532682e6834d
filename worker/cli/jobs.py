"""`worker jobs`: find jobs, see why they are where they are, and cancel, retry or replay them."""

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

if TYPE_CHECKING:
    from worker.operating.control import Replay  # not at run time, so that --help loads no database

program = typer.Typer(help="Look at jobs, and cancel, retry or replay them.", no_args_is_help=True)

Id = Annotated[UUID, typer.Argument(help="The job's id.", metavar="ID", show_default=False)]
By = Annotated[str | None, typer.Option(help="Your account name, kept with what you do. Default: the system user's.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Kind = Annotated[str | None, typer.Option(help="Only this kind, such as verification.verify.")]
Tenant = Annotated[str | None, typer.Option(help="Only this tenant's.")]
Resource = Annotated[str | None, typer.Option(help="Only those that need this, such as DCS_HOUSEHOLD_DRIVERS.")]
Error = Annotated[str | None, typer.Option(help="Only those with this error code.")]


@program.command("list")
def list_(
    state: Annotated[
        str | None, typer.Option(help="ready, running, done, failed, cancelled or expired.", show_default=False)
    ] = None,
    kind: Kind = None,
    tenant: Tenant = None,
    resource: Resource = None,
    error: Error = None,
    since: Annotated[str | None, typer.Option(help="Only those asked for in the last 15m, 2h, 1d.")] = None,
    batch: Annotated[UUID | None, typer.Option(help="Only those of this batch.", metavar="ID")] = None,
    limit: Annotated[int, typer.Option(help="At most so many, the newest first.")] = 50,
    json: Json = False,
) -> None:
    """List jobs, the newest first."""
    from worker.cli.printing import print_json, print_table
    from worker.cli.transaction import ago, transaction
    from worker.operating import inspection

    with transaction("list jobs") as connection:
        found = inspection.jobs(
            connection,
            state=state,
            kind=kind,
            tenant=tenant,
            resource=resource,
            error_code=error,
            since=ago(connection, since),
            batch_id=batch,
            limit=limit,
        )
    if json:
        print_json(found)
        return
    headings = ("ID", "KIND", "TENANT", "STATE", "TRIES", "ASKED FOR (UTC)", "WAITING FOR OR ERROR")
    print_table(
        headings,
        [
            (job.id, job.kind, job.tenant, job.state, job.attempt, job.created_at, job.waiting_for or job.error_code)
            for job in found
        ],
    )
    if len(found) == limit:
        typer.echo(f"These are the newest {limit}; ask for more with --limit.", err=True)


@program.command()
def show(job_id: Id, json: Json = False) -> None:
    """Show one job: its row, what happened to it, and the state of its request."""
    from worker.cli.printing import print_json, print_table
    from worker.cli.transaction import transaction
    from worker.operating import inspection

    with transaction("show the job") as connection:
        found = inspection.details(connection, job_id)
    if json:
        print_json(found)
        return
    print_table(("JOB", ""), [(name, value) for name, value in found.job.items() if value is not None])
    typer.echo()
    print_table(
        ("WHEN (UTC)", "WHAT", "TRIES", "CODE", "AGAIN AT", "BY"),
        [(event.at, event.event, event.attempt, event.code, event.next_run_at, event.by) for event in found.events],
    )
    if found.request is not None:
        typer.echo()
        print_table(("REQUEST", ""), [(name, value) for name, value in found.request.items() if value is not None])


@program.command()
def why(job_id: Id, json: Json = False) -> None:
    """Say why a job is where it is: paused by whom, waiting for what, failed with what."""
    from worker.cli.printing import cell, print_json, print_table
    from worker.cli.transaction import transaction
    from worker.operating.why import why as ask

    with transaction("ask why") as connection:
        answer = ask(connection, job_id)
    if json:
        print_json(answer)
        return
    typer.echo(cell(answer.sentence))
    print_table(("CAUSE", answer.code), list(answer.facts.items()))


@program.command()
def cancel(job_id: Id, by: By = None) -> None:
    """Ask a job to stop, waiting or running."""
    from worker.cli.transaction import actor, transaction
    from worker.operating import control

    with transaction("cancel the job") as connection:
        state = control.cancel(connection, job_id, actor(by))
    end = "stops when its lease is renewed" if state == "running" else "is ended by the next worker that looks"
    typer.echo(f"Asked job {job_id} to stop; it was {state} and {end}.")


@program.command()
def retry(job_id: Id, by: By = None) -> None:
    """Have a failed, cancelled or expired job start anew."""
    from worker.cli.transaction import actor, transaction
    from worker.operating import control

    with transaction("retry the job") as connection:
        control.retry(connection, job_id, actor(by))
    typer.echo(f"Job {job_id} starts anew.")


@program.command()
def replay(
    kind: Kind = None,
    tenant: Tenant = None,
    resource: Resource = None,
    error: Error = None,
    since: Annotated[str | None, typer.Option(help="Only those that failed in the last 15m, 2h, 1d.")] = None,
    before: Annotated[str | None, typer.Option(help="Only those that failed longer ago than 15m, 2h, 1d.")] = None,
    limit: Annotated[int, typer.Option(help="At most so many, those first that failed first.")] = 10_000,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    by: By = None,
    json: Json = False,
) -> None:
    """Have many failed jobs start anew, once you have seen how many and what they may cost.

    Jobs in quarantine, whose workers died, take part only with --error worker_died. Exit status 1 if you say no.
    """
    from dataclasses import asdict

    from worker.cli.printing import print_json
    from worker.cli.transaction import actor, ago, transaction
    from worker.errors import BadRequest
    from worker.operating import control

    name = actor(by)
    if dry_run and yes:
        raise BadRequest("bad_options", "say either --dry-run or --yes")

    def run(*, is_dry: bool) -> control.Replay:
        with transaction("replay jobs") as connection:
            failed = control.Failed(kind, tenant, resource, error, ago(connection, since), ago(connection, before))
            return control.replay(connection, failed, name, dry_run=is_dry, limit=limit)

    if not (dry_run or yes):
        typer.echo(_told(run(is_dry=True), "would start"), err=True)
        try:
            is_wanted = typer.confirm("Do it?", err=True)
        except typer.Abort:
            raise BadRequest("no_answer", "nobody answered: say --dry-run to look, or --yes to do it") from None
        if not is_wanted:
            raise typer.Exit(1)
    done = run(is_dry=dry_run)
    if json:
        print_json({"dry_run": dry_run, **asdict(done)})
    else:
        typer.echo(_told(done, "would start" if dry_run else "start"))


def _told(replay: "Replay", start: str) -> str:
    return (
        f"{replay.jobs} of {replay.matching} failed jobs {start} anew,"
        f" at the cost of {replay.calls_at_most} provider calls at most"
        + (f", {replay.cost_at_most:.2f} US dollars." if replay.cost_at_most else ".")
    )
