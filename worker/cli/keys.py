"""`worker keys`: which keys the stored data needs, and encrypting all of it with the first one."""

from typing import Annotated

import typer

program = typer.Typer(help="See which keys stored data needs; encrypt it with the newest.", no_args_is_help=True)


@program.command()
def status(json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False) -> None:
    """Show how many values each key encrypts, and which key may leave the settings.

    Exit status 1 if something can't be read with the keys of the settings.
    """
    from worker import keys
    from worker.cli.printing import print_json, print_table
    from worker.cli.transaction import transaction
    from worker.crypto import Keyring
    from worker.settings import load_settings

    keyring = Keyring.of(load_settings())
    with transaction("count the keys' values") as connection:
        uses = keys.uses(connection)
    missing = sorted({use.key_id for use in uses if use.key_id and not keyring.holds(use.key_id)})
    idle = [key_id for key_id in keyring.older if all(use.key_id != key_id for use in uses)]
    if json:
        print_json({"primary": keyring.primary, "uses": uses, "missing": missing, "unused": idle})
    else:
        rows = [(use.key_id or "(in clear)", f"{use.table}.{use.column}", use.values) for use in uses]
        print_table(("KEY", "IN", "VALUES"), rows or [(keyring.primary, "nothing", 0)])
        typer.echo(f"Key {keyring.primary} encrypts.")
        for key_id in keyring.older:
            fate = (
                "encrypts nothing any more: take it out of ENCRYPTION_KEYS once no backup is left that needs it"
                if key_id in idle
                else "is still needed: `worker keys rotate`"
            )
            typer.echo(f"Key {key_id} {fate}.")
        for key_id in missing:
            typer.echo(f"Key {key_id} is needed and not in ENCRYPTION_KEYS.", err=True)
    if missing:
        raise typer.Exit(1)


@program.command()
def rotate(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Take everything back at the end.")] = False,
    by: Annotated[str | None, typer.Option(help="Your account name, for the audit trail.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs; no progress bar.")] = False,
) -> None:
    """Encrypt with the first key what older ones encrypt, while everything runs; Ctrl-C stops, another run goes on."""
    from worker.cli.run import run

    run("keys", dry_run=dry_run, confirm=False, by=by, json=json)
