"""`worker enqueue`: ask for one job by hand."""

from typing import Annotated
from uuid import UUID

import typer

program = typer.Typer(help="Ask for a job.", no_args_is_help=True)


_TOLD = {
    "repeated": "This key was used before; that is the job of then.",
    "joined": "The same is being asked already; the job takes that answer.",
    "cached": "The answer is here and valid; the job takes it without a call.",
}


@program.callback()
def _group() -> None:
    """Ask for a job."""


@program.command()
def verification(
    integration: Annotated[str, typer.Option(help="Code of the integration, such as DCS_HOUSEHOLD_DRIVERS.")],
    driver: Annotated[int | None, typer.Option(min=1, help="Id of the driver.")] = None,
    vehicle: Annotated[int | None, typer.Option(min=1, help="Id of the vehicle, searched by its VIN.")] = None,
    by_plate: Annotated[bool, typer.Option("--by-plate", help="Search the vehicle by its plate.")] = False,
    address: Annotated[int | None, typer.Option(min=1, help="Id of the address whose vehicles are searched.")] = None,
    quote: Annotated[UUID | None, typer.Option(help="Id of the quote it is for.")] = None,
    producer: Annotated[str | None, typer.Option(help="Code of the producer it is for.")] = None,
    program_code: Annotated[str | None, typer.Option("--program", help="Code of the program.")] = None,
    environment: Annotated[str, typer.Option(help="sandbox or production: which configuration is used.")] = "sandbox",
    priority: Annotated[int, typer.Option(min=0, max=9, help="0 is the most urgent.")] = 4,
    deadline: Annotated[str | None, typer.Option(help="Give up if not begun by then: 60s, 15m, 2h.")] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(help="Asking again with the same key gives the job that is there.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Ask the provider although a valid answer is here.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the job to its end.")] = False,
) -> None:
    """Ask for a verification of a driver, a vehicle or the vehicles at an address; prints the job's id.

    With --wait, exit status 1 if the job does not end as done.
    """
    from worker.cli.duration import parse_duration
    from worker.cli.follow import follow
    from worker.database import Database, reaching
    from worker.enqueue import enqueue_verification
    from worker.settings import load_settings

    time_left = parse_duration(deadline) if deadline else None
    database = Database(load_settings())
    try:
        with reaching("enqueue"):
            with database.transaction() as connection:
                enqueued = enqueue_verification(
                    connection,
                    integration=integration,
                    driver_id=driver,
                    vehicle_id=vehicle,
                    address_id=address,
                    search_by="plate" if by_plate else None,
                    quote_id=quote,
                    producer=producer,
                    program=program_code,
                    environment=environment,
                    priority=priority,
                    deadline=time_left,
                    idempotency_key=idempotency_key,
                    force=force,
                )
            typer.echo(str(enqueued.job_id))
            if told := _TOLD.get(enqueued.how):
                typer.echo(told, err=True)
            if not wait:
                return
            end = follow(database, enqueued.job_id, enqueued.request_id, lambda line: typer.echo(line, err=True))
    finally:
        database.close()
    typer.echo(end.sentence, err=not end.is_done)
    if not end.is_done:
        raise typer.Exit(1)
