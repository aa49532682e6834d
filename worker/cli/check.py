"""`worker check`: proofs that an operator can run on a staging system."""

from pathlib import Path
from typing import Annotated

import typer

program = typer.Typer(help="Prove something about a staging system.", no_args_is_help=True)


@program.callback()
def _checks() -> None:
    """Without this, Typer would take the only command for the whole program."""


@program.command()
def leaks(
    log: Annotated[list[Path] | None, typer.Option(help="A log file, or a directory of them; repeat it.")] = None,
    flower: Annotated[str | None, typer.Option(help="Flower's address.")] = None,
    flower_login: Annotated[
        str | None, typer.Option(envvar="FLOWER_BASIC_AUTH", help="user:password; better in the environment.")
    ] = None,
    api: Annotated[str | None, typer.Option(help="The API's address: its errors are provoked too.")] = None,
    page: Annotated[list[str] | None, typer.Option(help="Another address to search, such as one of metrics.")] = None,
    integration: Annotated[str, typer.Option(help="An integration that calls the sandbox.")] = "DCS_HOUSEHOLD_DRIVERS",
    within: Annotated[str, typer.Option(help="Cancel what has not ended by then.")] = "60s",
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Send invented people through the system and search Redis, logs, pages and the ledger for them.

    For staging systems whose provider is the sandbox; never for production. Exit status 1 if anything was found.
    """
    from worker.cli.duration import parse_duration
    from worker.cli.printing import print_json, print_table
    from worker.dev.leaks.run import Request, check
    from worker.errors import BadRequest
    from worker.settings import load_settings

    settings = load_settings()
    if not settings.allow_private_providers:
        raise BadRequest(
            "production", "WORKER_ALLOW_PRIVATE_PROVIDERS is not set, so this may be production: nothing was sent"
        )
    missing = [path for path in log or [] if not path.exists()]
    if missing:
        raise BadRequest("no_such_log", f"there is no {missing[0]}")
    request = Request(
        integration=integration,
        within_s=parse_duration(within).total_seconds(),
        logs=log or [],
        flower_url=flower,
        flower_login=flower_login,
        api_url=api,
        pages=page or [],
    )
    report = check(request, settings, lambda said: typer.echo(said, err=True))
    if json:
        print_json(report)
    else:
        print_table(("SEARCHED", "BYTES"), sorted(report.looked_at.items()))
        if report.leaks:
            typer.echo()
            print_table(("FOUND IN", "WHAT"), [(place, ", ".join(kinds)) for place, kinds in report.leaks.items()])
        ends = ", ".join(f"{count} {state}" for state, count in sorted(report.ended.items()))
        typer.echo(f"{report.people} people, {ends}: {len(report.leaks)} places with personal data or secrets.")
    if report.leaks:
        raise typer.Exit(1)
