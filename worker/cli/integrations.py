"""`worker integrations`: how providers are called, for whom, and switching that on and off."""

from typing import Annotated, Any
from uuid import UUID

import typer

program = typer.Typer(help="See, switch and configure the ways to providers.", no_args_is_help=True)

Id = Annotated[int, typer.Argument(help="The configuration's id.", metavar="ID", show_default=False)]
By = Annotated[str | None, typer.Option(help="Your account name, kept with what you do. Default: the system user's.")]
As = Annotated[UUID | None, typer.Option("--as", help="Use only the rights of this user, by its id.")]


@program.command("list")
def list_(json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False) -> None:
    """List the configurations, without their credentials."""
    from worker.cli.printing import print_json, print_table
    from worker.cli.transaction import transaction
    from worker.configuration import configurations

    with transaction("list the configurations") as connection:
        found = configurations.configurations(connection)
    if json:
        print_json(found)
        return
    print_table(
        ("ID", "INTEGRATION", "ENVIRONMENT", "SCOPE", "STATE", "SETTINGS"),
        [
            (
                one.id,
                one.integration,
                one.environment,
                " ".join(part for part in (one.level, one.program, one.producer) if part),
                "integration off" if not one.is_active else "on" if one.is_enabled else "off",
                " ".join(f"{name}={value}" for name, value in one.settings.items() if value is not None),
            )
            for one in found
        ],
    )


@program.command()
def enable(configuration_id: Id, by: By = None, as_: As = None) -> None:
    """Switch a configuration on."""
    from worker.cli.transaction import acting, actor, transaction
    from worker.configuration import configurations

    with transaction("enable the configuration", by=by) as connection:
        configurations.enable(connection, acting(as_), configuration_id, by=actor(by))
    typer.echo(f"Configuration {configuration_id} is on.")


@program.command()
def disable(configuration_id: Id, by: By = None, as_: As = None) -> None:
    """Switch a configuration off; jobs that wait for it end as integration_disabled."""
    from worker.cli.transaction import acting, actor, transaction
    from worker.configuration import configurations

    with transaction("disable the configuration", by=by) as connection:
        configurations.disable(connection, acting(as_), configuration_id, by=actor(by))
    typer.echo(f"Configuration {configuration_id} is off.")


@program.command("set")
def set_(
    configuration_id: Id,
    settings: Annotated[list[str], typer.Argument(help="name=value, such as timeout_seconds=20 or none.")],
    by: By = None,
    as_: As = None,
) -> None:
    """Change settings of a configuration, all or none."""
    from worker.cli.transaction import acting, actor, transaction
    from worker.configuration import configurations

    changes = dict(map(_setting, settings))
    with transaction("configure", by=by) as connection:
        configurations.configure(connection, acting(as_), configuration_id, changes, by=actor(by))
    typer.echo(f"Configuration {configuration_id}: changed {', '.join(sorted(changes))}.")


def _setting(given: str) -> tuple[str, Any]:
    """`timeout_seconds=20` with the value as its setting wants it."""
    from decimal import Decimal, InvalidOperation

    from worker.configuration.configurations import SETTINGS
    from worker.errors import BadRequest

    name, equals, value = given.partition("=")
    if not equals:
        raise BadRequest("bad_setting", f"{given!r} is not of the form name=value")
    kinds = SETTINGS.get(name, (str,))
    if value in ("true", "false") and bool in kinds:
        return name, value == "true"
    if value == "none" and type(None) in kinds:
        return name, None
    if str in kinds:
        return name, value
    try:
        number = Decimal(value)
    except InvalidOperation:
        return name, value
    return name, int(number) if number.is_finite() and number == number.to_integral_value() else number
