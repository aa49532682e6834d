"""`worker clients`: applications that may use the HTTP API. A secret is shown once, when it is made."""

from typing import Annotated

import typer

program = typer.Typer(help="Let applications use the HTTP API.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


@program.command()
def add(
    name: Annotated[str, typer.Argument(help="What people call the application.", show_default=False)],
    scope: Annotated[
        list[str],
        typer.Option(help="What it may do: verifications:write, verifications:read, jobs:write, jobs:read. Repeat."),
    ],
    tenant: Annotated[list[str], typer.Option(help="Whose jobs it may ask for and see: a producer's code. Repeat.")],
    per_minute: Annotated[int, typer.Option(help="Requests it may make in a minute.")] = 600,
    per_hour: Annotated[int, typer.Option(help="Requests it may make in an hour.")] = 20_000,
    lasts: Annotated[
        str | None, typer.Option(help="It may ask for tokens for so long: 90d, 12h. Default: ever.")
    ] = None,
    json: Json = False,
) -> None:
    """Make a client; prints its id and its secret. The secret is stored nowhere: keep it."""
    from worker.api import clients
    from worker.cli.duration import parse_duration
    from worker.cli.printing import print_json
    from worker.cli.transaction import transaction

    length = parse_duration(lasts) if lasts else None
    with transaction("add the client") as connection:
        made = clients.add(
            connection, name, scopes=scope, tenants=tenant, per_minute=per_minute, per_hour=per_hour, lasts=length
        )
    if json:
        print_json(made)
        return
    typer.echo(f"Client id      {made.client_id}")
    typer.echo(f"Client secret  {made.client_secret}")
    typer.echo("Keep the secret: it is not shown again.", err=True)


@program.command("list")
def list_(json: Json = False) -> None:
    """List the clients, without their secrets."""
    from worker.api import clients
    from worker.cli.printing import print_json, print_table
    from worker.cli.transaction import transaction

    with transaction("list the clients") as connection:
        found = clients.listed(connection)
    if json:
        print_json(found)
        return
    print_table(
        ("CLIENT ID", "NAME", "SCOPES", "TENANTS", "A MINUTE", "AN HOUR", "STATE", "EXPIRES (UTC)"),
        [
            (
                client.client_id,
                client.name,
                " ".join(client.scopes),
                " ".join(client.tenants),
                client.rate_limit_per_minute,
                client.rate_limit_per_hour,
                "active" if client.is_active else "disabled",
                client.expires_at,
            )
            for client in found
        ],
    )


@program.command()
def disable(client_id: Annotated[str, typer.Argument(help="The client's id.", show_default=False)]) -> None:
    """Let a client ask for nothing any more; its access tokens are worth nothing at once."""
    from worker.api import clients
    from worker.cli.transaction import transaction

    with transaction("disable the client") as connection:
        revoked = clients.disable(connection, client_id)
    typer.echo(f"Disabled {client_id}; {revoked} access token{'' if revoked == 1 else 's'} revoked.")
