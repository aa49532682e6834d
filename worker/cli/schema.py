"""`worker migrate` and `worker seed`."""

from typing import Annotated

import typer


def migrate() -> None:
    """Bring the database to the newest revision. Safe to repeat, and from two places at once."""
    from worker.schema import migrate as upgrade

    before, after = upgrade()
    if before == after:
        typer.echo(f"The database is at revision {after} already.")
    else:
        typer.echo(f"The database went from {f'revision {before}' if before else 'nothing'} to revision {after}.")


def seed(
    sandbox_url: Annotated[str, typer.Option(help="Where `worker sandbox` answers.")] = "http://127.0.0.1:8081",
) -> None:
    """Add sample rows for trying things out: the way to the sandbox, its people as drivers, and their vehicles.

    Safe to repeat.
    """
    from worker.crypto import Keyring
    from worker.database import Database, reaching
    from worker.dev.demo import sample
    from worker.errors import BadRequest
    from worker.settings import load_settings

    if not sandbox_url.startswith(("http://", "https://")):
        raise BadRequest("bad_url", f"{sandbox_url!r} is not a URL: it must begin with http:// or https://")
    settings = load_settings()
    keyring = Keyring.of(settings)
    database = Database(settings)
    try:
        with reaching("seed"), database.transaction() as connection:
            seeded = sample.seed(connection, keyring, sandbox_url)
    finally:
        database.close()
    added = [("drivers", seeded.drivers), ("vehicles", seeded.vehicles)]
    changed = [f"{len(rows)} {what} added" for what, rows in added if rows]
    if seeded.integrations:
        changed.append(f"{', '.join(seeded.integrations)} at {sandbox_url}")
    typer.echo(f"{'; '.join(changed) or 'Nothing to add: the sample rows are there'}.")
