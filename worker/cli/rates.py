"""`worker rates`: putting drafts of rates, plans and rules in force."""

from typing import Annotated
from uuid import UUID

import typer

program = typer.Typer(help="Put drafts of rates in force.", no_args_is_help=True)


@program.callback()
def _group() -> None:
    """Put drafts of rates in force."""


@program.command()
def activate(
    table: Annotated[
        str,
        typer.Argument(help="rate_tables, rating_plans, discount_rules, surcharge_rules or state_rating_rules."),
    ],
    row_id: Annotated[UUID, typer.Argument(help="The row's id.", metavar="ID")],
) -> None:
    """Put a draft in force: what it follows ends on its first day, and the quotes it touches are recalculated.

    `worker quotes recalculate --dry-run --draft ID` shows beforehand what would change.
    """
    from worker.cli.transaction import transaction
    from worker.configuration.rates import activate_rating

    with transaction("activate") as connection:
        was_draft = activate_rating(connection, table, row_id)
    typer.echo(
        "It is in force; the quotes it touches will be recalculated." if was_draft else "It was in force already."
    )
