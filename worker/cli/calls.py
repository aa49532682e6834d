"""`worker calls` and `worker budgets`: what was asked of providers, what it cost, and what it may cost."""

from decimal import Decimal, InvalidOperation
from typing import Annotated

import typer

program = typer.Typer(help="Set what a tenant may spend on calls in a day of UTC.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
By = Annotated[str | None, typer.Option(help="Your account name, kept with what you do. Default: the system user's.")]
Tenant = Annotated[str, typer.Argument(help="The tenant: usually a producer's code.", show_default=False)]


def calls(
    since: Annotated[str | None, typer.Option(help="Only those of the last 15m, 2h, 7d.")] = "7d",
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None,
    integration: Annotated[str | None, typer.Option(help="Only of this integration's code.")] = None,
    json: Json = False,
) -> None:
    """Show the calls to providers by day, tenant and integration, what for, and what they cost.

    UNCERTAIN are calls that workers may have made before they died; AVOIDED are requests that took a known answer.
    """
    from worker.cli.printing import print_json, print_table
    from worker.cli.transaction import ago, transaction
    from worker.operating import calls as ledger

    with transaction("look at the calls") as connection:
        found = ledger.spent(connection, since=ago(connection, since), tenant=tenant, integration=integration)
        under_way = ledger.under_way(connection, tenant=tenant, integration=integration)
    if json:
        print_json({"calls": found, "under_way": under_way})
        return
    print_table(
        ("DAY (UTC)", "TENANT", "INTEGRATION", "ENVIRONMENT", "FIRST", "RETRY", "AFTER CRASH", "POLL", "UNCERTAIN",
         "AVOIDED", "COST (USD)"),
        [
            (s.day, s.tenant, s.integration, s.environment, s.first, s.retry, s.after_crash, s.poll, s.uncertain,
             s.avoided, f"{s.cost:.2f}" + ("" if not s.unpriced else f", {s.unpriced} without price"))
            for s in found
        ],
    )  # fmt: skip
    if under_way.runs:
        typer.echo(f"\nRuns under way: {under_way.runs}, with {under_way.calls_at_most} calls at most.")


@program.command("list")
def list_(json: Json = False) -> None:
    """List the budgets, what is spent of them today, and how many jobs wait for money."""
    from worker.cli.printing import print_json, print_table
    from worker.cli.transaction import transaction
    from worker.operating import budgets

    with transaction("list the budgets") as connection:
        found = budgets.budgets(connection)
    if json:
        print_json(found)
        return
    print_table(
        ("TENANT", "SOFT", "HARD", "SPENT TODAY", "SET ASIDE", "JOBS WAIT", "SET BY", "SET AT (UTC)"),
        [(b.tenant, b.soft_limit, b.hard_limit, b.spent, b.reserved, b.waiting, b.set_by, b.set_at) for b in found],
    )


@program.command("set")
def set_(
    tenant: Tenant,
    soft: Annotated[str | None, typer.Option(help="US dollars a day from which somebody is told.")] = None,
    hard: Annotated[str | None, typer.Option(help="US dollars a day beyond which jobs wait.")] = None,
    by: By = None,
) -> None:
    """Give a tenant a budget, in place of the one it has. Jobs that wait for money look again."""
    from worker.cli.transaction import actor, transaction
    from worker.operating import budgets

    limits = {name: _dollars(name, said) for name, said in (("soft", soft), ("hard", hard))}
    with transaction("set the budget") as connection:
        woken = budgets.set_budget(connection, tenant, actor(by), **limits)
    typer.echo(f"Set the budget of {tenant}; {woken} waiting jobs look again.")


@program.command()
def remove(tenant: Tenant, by: By = None) -> None:
    """Let a tenant spend what it likes."""
    from worker.cli.transaction import actor, transaction
    from worker.operating import budgets

    with transaction("remove the budget") as connection:
        woken = budgets.remove_budget(connection, tenant, actor(by))
    typer.echo(f"Removed the budget of {tenant}; {woken} waiting jobs look again.")


def _dollars(name: str, said: str | None) -> Decimal | None:
    from worker.errors import BadRequest

    try:
        return None if said is None else Decimal(said)
    except InvalidOperation:
        raise BadRequest("bad_budget", f"--{name} is no number of dollars") from None
