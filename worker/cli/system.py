"""`worker up` and `worker demo`."""

from pathlib import Path
from typing import Annotated

import typer


def up(
    home: Annotated[
        Path | None, typer.Option(help="Where data, keys and logs are kept; else $WORKER_HOME, else .worker.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Verification worker processes.")] = 2,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the API; 0 takes any free one.")] = 8000,
    flower_port: Annotated[int, typer.Option(min=0, max=65535, help="Port of Flower; 0 takes any free one.")] = 5555,
    sandbox_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the provider's sandbox; 0 takes any free one.")
    ] = 0,
) -> None:
    """Run the whole system here until Ctrl-C: servers, workers, clock, Flower, API and the provider's sandbox.

    Set DATABASE_URL and REDIS_URL (and the keys) to use servers of your own; then nothing embedded starts.
    """
    from worker.dev.system import parts
    from worker.dev.system.nursery import open_nursery

    with open_nursery(parts.IMPORTED_BY_SEVERAL) as nursery:
        from rich.console import Console  # all that takes long to import comes after the nursery has begun to

        from worker.dev.system import up as system
        from worker.settings import home_directory

        request = system.Request(
            home=home.absolute() if home else home_directory(),
            workers=workers,
            api_port=port,
            flower_port=flower_port,
            sandbox_port=sandbox_port,
        )
        system.up(request, Console(), nursery)


def demo(
    jobs: Annotated[int, typer.Option(min=1, max=100_000, help="How many verifications to ask for.")] = 200,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Worker processes.")] = 2,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the temporary directory with data and logs.")] = False,
    home: Annotated[
        Path | None, typer.Option(help="Use this new directory instead of a temporary one, and keep it.")
    ] = None,
) -> None:
    """Verify sample drivers on servers of its own, show how every job ended, and leave nothing behind.

    Exit status 0 only if every job ended as the person it was for demands.
    """
    from worker.dev.system import parts
    from worker.dev.system.nursery import open_nursery

    with open_nursery(parts.IMPORTED_BY_SEVERAL) as nursery:
        from rich.console import Console

        from worker.dev.demo.run import Request, run

        raise typer.Exit(run(Request(jobs, workers, home, keep), Console(), nursery))
