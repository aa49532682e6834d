"""`worker queues`: how the queues stand, and pausing and resuming what waits in them."""

from typing import Annotated

import typer

program = typer.Typer(help="See how the queues stand; pause and resume what waits.", no_args_is_help=True)

Queue = Annotated[str | None, typer.Option(help="The jobs of this queue.")]
Kind = Annotated[str | None, typer.Option(help="The jobs of this kind, such as verification.verify.")]
Tenant = Annotated[str | None, typer.Option(help="The jobs of this tenant.")]
Resource = Annotated[str | None, typer.Option(help="The jobs that need this, such as DCS_HOUSEHOLD_DRIVERS.")]
By = Annotated[str | None, typer.Option(help="Your account name, kept with what you do. Default: the system user's.")]


@program.command()
def status(json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False) -> None:
    """Show each queue: what waits and runs there, since when, who listens; and what is paused."""
    from worker.cli.printing import print_json, print_table
    from worker.cli.transaction import transaction
    from worker.operating import inspection

    with transaction("look at the queues") as connection:
        queues, pauses = inspection.queues(connection)
    if json:
        print_json({"queues": queues, "pauses": pauses})
        return
    paused = {pause.scope.queue for pause in pauses if str(pause.scope) == f"queue {pause.scope.queue}"}
    print_table(
        ("QUEUE", "READY", "DUE", "PAUSED", "RUNNING", "OLDEST DUE", "WORKERS", "IN FLIGHT"),
        [
            (
                queue.queue,
                queue.ready,
                queue.due,
                f"{queue.held} (all)" if queue.queue in paused else queue.held,
                queue.running,
                queue.oldest_due,
                queue.workers or "nobody listens",
                f"{queue.in_flight}/{queue.calls_in_flight}",
            )
            for queue in queues
        ],
    )
    if pauses:
        typer.echo()
        print_table(
            ("PAUSED", "BY", "SINCE (UTC)", "UNTIL (UTC)", "BECAUSE"),
            [(p.scope, p.paused_by, p.paused_at, p.until or "resumed", p.reason) for p in pauses],
        )


@program.command()
def pause(
    reason: Annotated[str, typer.Option(help="Why; others read it at night. No names of customers.")],
    queue: Queue = None,
    kind: Kind = None,
    tenant: Tenant = None,
    resource: Resource = None,
    until: Annotated[str | None, typer.Option(help="Resume by itself after 30m, 2h, 1d.")] = None,
    by: By = None,
) -> None:
    """Hold back waiting jobs that match all that is named; running ones run on."""
    from worker import pauses
    from worker.cli.printing import cell
    from worker.cli.transaction import actor, ahead, transaction

    scope = pauses.Scope(queue, kind, tenant, resource)
    with transaction("pause") as connection:
        end = ahead(connection, until)
        held = pauses.pause(connection, scope, actor(by), reason, end)
    last = f"until {cell(end)} UTC" if end else "until somebody resumes it"
    typer.echo(f"Paused {scope} {last}: {held} jobs wait there now.")


@program.command()
def resume(
    queue: Queue = None,
    kind: Kind = None,
    tenant: Tenant = None,
    resource: Resource = None,
    by: By = None,
) -> None:
    """End the pause of exactly this scope."""
    from worker import pauses
    from worker.cli.transaction import actor, transaction

    scope = pauses.Scope(queue, kind, tenant, resource)
    with transaction("resume") as connection:
        pauses.resume(connection, scope, actor(by))
    typer.echo(f"Resumed {scope}.")
