"""`worker status`: the whole system on one screen."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType  # not at run time, so that --help loads no table

    from worker.operating.status import Status


def status(
    watch: Annotated[bool, typer.Option("--watch", help="Look again every two seconds, until Ctrl-C.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Show alarms, queues, processes, providers, the night's runs, budgets and recent failures on one screen."""
    import time

    from rich.live import Live

    from worker.cli.printing import console, print_json
    from worker.errors import BadRequest
    from worker.operating.status import alarms

    if json:
        if watch:
            raise BadRequest("bad_option", "--json is printed once; leave --watch out")
        found = _look()
        print_json({"alarms": alarms(found), "status": found})
        return
    screen = console()
    if not watch:
        screen.print(_screen(_look()))
        return
    try:
        with Live(_screen(_look()), console=screen, screen=True, auto_refresh=False) as live:
            while True:
                time.sleep(2)
                live.update(_screen(_look()), refresh=True)
    except KeyboardInterrupt:
        pass


def _look() -> "Status":
    from importlib import import_module

    from worker.cli.transaction import transaction
    from worker.clock.entries import lines
    from worker.operating import providers
    from worker.operating.status import status
    from worker.settings import load_settings

    import_module("worker.app")  # declares the kinds that the clock names
    gates = providers.gates(load_settings().redis_url.get_secret_value())
    with transaction("look at the system") as connection:
        return status(connection, lines(), gates)


def _screen(status: "Status") -> "RenderableType":
    from worker.cli.status_screen import screen

    return screen(status)
