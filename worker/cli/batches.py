"""`worker batches`: how far they are, and cancelling one with all its jobs."""

from typing import Annotated
from uuid import UUID

import typer

program = typer.Typer(help="See how far batches of jobs are; cancel one.", no_args_is_help=True)

Id = Annotated[UUID, typer.Argument(help="The batch's id.", metavar="ID", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


@program.command("list")
def list_(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None,
    is_open: Annotated[bool, typer.Option("--open", help="Only those that are not over.")] = False,
    limit: Annotated[int, typer.Option(help="At most so many, the newest first.")] = 50,
    json: Json = False,
) -> None:
    """List batches, the newest first."""
    from worker.cli.printing import print_json, print_table
    from worker.cli.transaction import transaction
    from worker.operating.batch_progress import batches

    with transaction("list batches") as connection:
        found = batches(connection, tenant=tenant, is_open=is_open, limit=limit)
    if json:
        print_json(found)
        return
    print_table(
        ("ID", "NAME", "TENANT", "STEP", "JOBS", "OPEN", "DONE", "ASKED FOR (UTC)", "OVER (UTC)"),
        [(b.id, b.name, b.tenant, b.step, b.jobs, b.open, b.done, b.created_at, b.finished_at) for b in found],
    )
    if len(found) == limit:
        typer.echo(f"These are the newest {limit}; ask for more with --limit.", err=True)


@program.command()
def show(batch_id: Id, json: Json = False) -> None:
    """Show one batch: how each step stands, and what comes at the end."""
    from dataclasses import asdict

    from worker.cli.printing import print_json, print_table
    from worker.cli.transaction import transaction
    from worker.operating.batch_progress import progress

    with transaction("show the batch") as connection:
        found = progress(connection, batch_id)
    if json:
        print_json(found)
        return
    print_table(("BATCH", ""), [(name, value) for name, value in asdict(found.batch).items() if value is not None])
    typer.echo()
    print_table(
        ("STEP", "READY", "RUNNING", "DONE", "FAILED", "CANCELLED", "EXPIRED"),
        [(s.step, s.ready, s.running, s.done, s.failed, s.cancelled, s.expired) for s in found.steps],
    )


@program.command()
def cancel(
    batch_id: Id,
    by: Annotated[
        str | None, typer.Option(help="Your account name, kept with what you do. Default: the system user's.")
    ] = None,
) -> None:
    """Ask all jobs of a batch to stop; its callback is not asked for."""
    from worker import batch
    from worker.cli.transaction import actor, transaction

    with transaction("cancel the batch") as connection:
        asked = batch.cancel(connection, batch_id, actor(by))
    typer.echo(f"Asked {asked} jobs of batch {batch_id} to stop.")
