"""`worker check`: what is wrong with this installation; and proofs to run on a staging system."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from worker.doctor.finding import Finding  # not at run time, so that --help loads nothing

program = typer.Typer(help="Find what is wrong with this installation, and how to mend it.")

_WITHOUT_POLICY = {
    "oauth2_access_tokens", "oauth2_authorization_codes", "oauth2_refresh_tokens",  # tokens.expire removes them
}  # fmt: skip


@program.callback(invoke_without_command=True)
def check(
    context: typer.Context, json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False
) -> None:
    """Look at settings, keys, Celery, PostgreSQL and Redis, and say in a line each what is wrong and what to do.

    Reads only. Exit status 0 if there is no problem, though there may be warnings; 1 if there is one.
    """
    if context.invoked_subcommand is not None:
        return
    from worker.cli.printing import print_json
    from worker.doctor.finding import problem
    from worker.errors import Misconfigured

    try:
        found = _examine()
    except Misconfigured as error:
        found = [problem("settings_wrong", " ".join(str(error).split()), "README.md lists all settings.")]
    if json:
        print_json(found)
    else:
        for finding in found:
            typer.echo(f"{finding.level} {finding.code}: {finding.what} {finding.remedy}")
        if not found:
            typer.echo("Nothing wrong was found.")
    if any(finding.level == "problem" for finding in found):
        raise typer.Exit(1)


def _examine() -> "list[Finding]":
    import os

    from worker.settings import load_settings

    settings = load_settings()  # before the app, which can't be loaded with wrong ones

    from models import Base
    from models.facts import retention_of
    from worker.app import app
    from worker.doctor.examine import examine

    kept = {table.name for table in Base.metadata.tables.values() if retention_of(table).days is not None}
    return examine(settings, app.conf, os.environ, frozenset(kept - _WITHOUT_POLICY))


@program.command()
def leaks(
    log: Annotated[list[Path] | None, typer.Option(help="A log file, or a directory of them; repeat it.")] = None,
    flower: Annotated[str | None, typer.Option(help="Flower's address.")] = None,
    flower_login: Annotated[
        str | None, typer.Option(envvar="FLOWER_BASIC_AUTH", help="user:password; better in the environment.")
    ] = None,
    api: Annotated[str | None, typer.Option(help="The API's address: its errors are provoked too.")] = None,
    page: Annotated[list[str] | None, typer.Option(help="Another address to search, such as one of metrics.")] = None,
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
        print_table(("SEARCHED FOR", "VALUES"), report.canaries.items())
        typer.echo()
        print_table(("SEARCHED", "BYTES"), sorted(report.looked_at.items()))
        if report.leaks:
            typer.echo()
            print_table(("FOUND IN", "WHAT"), [(place, ", ".join(kinds)) for place, kinds in report.leaks.items()])
        for code in report.not_asked:
            typer.echo(f"Nobody was asked about through {code}: it has no sandbox configuration of the system's.")
        ends = ", ".join(f"{count} {state}" for state, count in sorted(report.ended.items()))
        typer.echo(f"{report.people} people, {ends}: {len(report.leaks)} places with personal data or secrets.")
    if report.leaks:
        raise typer.Exit(1)
