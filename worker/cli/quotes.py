"""`worker quotes`: why a premium is what it is, and bringing premiums up to date."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

if TYPE_CHECKING:
    from sqlalchemy import Connection  # not at run time, so that --help loads no database

    from worker.enqueue import Enqueued

program = typer.Typer(help="Explain premiums, and bring them up to date.", no_args_is_help=True)

Day = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], metavar="YYYY-MM-DD")]


@program.command()
def explain(
    quote_id: Annotated[UUID, typer.Argument(help="The quote's id.", metavar="ID", show_default=False)],
    plot: Annotated[bool, typer.Option("--plot", help="Draw the steps as a waterfall.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Show how a quote's premium came about, step by step; exit status 1 if it has none."""
    from sqlalchemy import text

    from worker.cli.explaining import lines, waterfall
    from worker.cli.printing import cell, print_json, print_table
    from worker.cli.transaction import transaction
    from worker.errors import BadRequest

    with transaction("explain the quote") as connection:
        found = (
            connection.execute(
                text(
                    "SELECT id, status, premium, coverage_premiums, plan_version, rated_at, rating_problem,"
                    " rating_trace FROM quotes WHERE id = :id"
                ),
                {"id": quote_id},
            )
            .mappings()
            .one_or_none()
        )
    if found is None:
        raise BadRequest("unknown_quote", f"there is no quote {quote_id}")
    if json:
        print_json({**found, "premium": found["premium"] and str(found["premium"])})
    elif found["rating_trace"] is not None:
        steps = list(lines(found["rating_trace"]))
        if plot:
            typer.echo("\n".join(waterfall(steps)))
        else:
            print_table(
                ("STEP", "OF", "KEY", "FACTOR", "AMOUNT", "PREMIUM", "FROM"),
                [(s.step, s.part, s.key, s.factor, f"{s.amount:+f}", f"{s.running:f}", s.source) for s in steps],
            )
        typer.echo(
            f"Quote {quote_id} is {found['status']} at {found['premium']} US dollars,"
            f" rated {cell(found['rated_at'])} UTC by plan version {found['plan_version'][:12]}."
        )
    if found["rating_problem"] is not None and not json:
        typer.echo(f"It is not up to date: {cell(found['rating_problem'])}.", err=True)
    if found["premium"] is None:
        if not json and found["rating_problem"] is None:
            typer.echo(f"Quote {quote_id} has not been rated yet.", err=True)
        raise typer.Exit(1)


@program.command()
def recalculate(
    quote_id: Annotated[
        UUID | None, typer.Argument(help="One quote; without it, all that match.", metavar="ID")
    ] = None,
    state: Annotated[str | None, typer.Option(help="Only quotes of this state, such as TX.")] = None,
    product: Annotated[str | None, typer.Option(help="Only this product: auto, home, renters or life.")] = None,
    since: Day = None,
    until: Day = None,
    everything: Annotated[bool, typer.Option("--all", help="Really every open quote.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing; show what would change.")] = False,
    draft: Annotated[
        list[UUID] | None, typer.Option(help="In a dry run: take this draft (rate table, plan or rule) for active.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the job to its end; a dry run always does.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the end as JSON, for programs.")] = False,
) -> None:
    """Bring premiums up to date: of one quote, or of all open ones that match; prints the job's id.

    --since and --until bound the day a quote's rates are taken from. With --wait, exit status 1 if the job fails.
    """
    from worker.cli.recalculation import follow, tell
    from worker.database import Database, reaching
    from worker.enqueue import enqueue_recalculation, enqueue_recalculations
    from worker.errors import BadRequest
    from worker.settings import load_settings

    chosen = any((state, product, since, until, draft))
    if quote_id is not None and (chosen or everything or dry_run):
        raise BadRequest("bad_options", "say either one quote or which ones, not both")
    if quote_id is None and not (chosen or everything):
        raise BadRequest("no_filter", "say which quotes: an id, --state, --product, --since, --until, or --all")

    def ask(connection: "Connection") -> "Enqueued":
        if quote_id is not None:
            return enqueue_recalculation(connection, quote_id=quote_id, reason="asked")
        return enqueue_recalculations(
            connection,
            state=state,
            product_type=product,
            since=since and since.date(),
            until=until and until.date(),
            dry_run=dry_run,
            drafts=draft or (),
        )

    database = Database(load_settings())
    try:
        with reaching("recalculate"):
            with database.transaction() as connection:
                job_id = ask(connection).job_id
            typer.echo(str(job_id), err=json)
            if not (wait or dry_run):
                return
            end: dict[str, Any] = follow(database, job_id, lambda line: typer.echo(line, err=True))
    finally:
        database.close()
    tell(end, as_json=json)
    if end["state"] != "done":
        raise typer.Exit(1)


@program.command()
def verify(
    quote_id: Annotated[UUID, typer.Argument(help="The quote's id.", metavar="ID", show_default=False)],
    producer: Annotated[str | None, typer.Option(help="Code of the producer it is for.")] = None,
    program_code: Annotated[str | None, typer.Option("--program", help="Code of the program.")] = None,
    environment: Annotated[str, typer.Option(help="sandbox or production: which configurations are used.")] = "sandbox",
    stop: Annotated[bool, typer.Option("--stop", help="Ask nothing more if a driver can't be verified.")] = False,
    idempotency_key: Annotated[
        str | None, typer.Option(help="Asking again with the same key gives the batch that is there.")
    ] = None,
) -> None:
    """Verify a quote's drivers, then its vehicles and criminal records, then rate it; prints the batch's id."""
    from worker.cli.transaction import transaction
    from worker.quote_verification import enqueue_quote_verification

    with transaction("verify the quote") as connection:
        asked = enqueue_quote_verification(
            connection,
            quote_id=quote_id,
            producer=producer,
            program=program_code,
            environment=environment,
            on_failure="stop" if stop else "continue",
            idempotency_key=idempotency_key,
        )
    typer.echo(str(asked.batch_id))
    typer.echo(
        f"{len(asked.drivers)} drivers, then {len(asked.others)} vehicles and criminal records;"
        f" worker batches show {asked.batch_id}",
        err=True,
    )
