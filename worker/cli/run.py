"""`worker run`: maintenance in the foreground, as the job in the ledger that it is at night, with a progress bar."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from worker.job import Kind  # not at run time, so that --help loads no job


def run(
    name: Annotated[str, typer.Argument(help="What to run: retention, tokens, partitions and the like.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Take everything back at the end; the numbers are the real ones.")
    ] = False,
    confirm: Annotated[
        bool, typer.Option("--confirm", help="Do also what is refused because it would remove too much.")
    ] = False,
    by: Annotated[str | None, typer.Option(help="Your account name, for the audit trail.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs; no progress bar.")] = False,
) -> None:
    """Run one kind of maintenance now and wait for its end; Ctrl-C cancels it after the batch it is at.

    Exit status 1 if it does not end as done.
    """
    from worker import logs
    from worker.cli.foreground import follow_run
    from worker.cli.printing import print_json, print_table
    from worker.cli.transaction import actor
    from worker.settings import load_settings

    who = actor(by)
    settings = load_settings()
    kind = _kind(name)
    logs.configure(settings.model_copy(update={"log_level": "WARNING"}))
    with _bar(is_shown=not json) as show:
        end = follow_run(settings, kind, {"dry_run": dry_run, "confirm": confirm}, who, show)
    progress = end["progress"] or {}
    if json:
        print_json({"job": end["id"], "state": end["state"], "error_code": end["error_code"], **progress})
    else:
        counts = progress.get("counts", {})
        lines = [(table, what, count) for table, whats in counts.items() for what, count in whats.items()]
        print_table(("IN", "WHAT", "COUNT"), lines or [("everything", "nothing to do", 0)])
        for left in progress.get("unfinished", ()):
            typer.echo(f"Its time was up before {left} was finished; the next run goes on there.")
        for alarm in progress.get("alarms", ()):
            typer.echo(alarm["message"], err=True)
        kept = " Nothing was changed: this was a dry run." if dry_run else ""
        typer.echo(f"Job {end['id']} is {end['state']}.{kept}")
        if end["error_message"]:
            typer.echo(end["error_message"], err=True)
    if end["state"] != "done":
        raise typer.Exit(1)


def _kind(name: str) -> "Kind":
    """A kind by its name, or the first one of its folder."""
    from importlib import import_module

    from worker.errors import BadRequest
    from worker.maintenance.kind import maintenance_kinds
    from worker.task_modules import TASK_MODULES

    for module in TASK_MODULES:
        import_module(module)
    kinds = maintenance_kinds()
    for known, kind in kinds.items():
        if name in (known, known.split(".")[0]):
            return kind
    raise BadRequest("unknown_kind", f"there is no maintenance called {name}; there is {', '.join(sorted(kinds))}")


@contextmanager
def _bar(*, is_shown: bool) -> Iterator[Any]:
    """Gives a function that shows a job's progress: on a terminal as a bar, else not at all."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    if not (is_shown and console.is_terminal):
        yield lambda _: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("waiting", total=None)

        def show(job: dict[str, Any]) -> None:
            progress = job["progress"] or {}
            description = progress.get("stage") or job["waiting_for"] or job["state"]
            bar.update(task, total=progress.get("total"), completed=progress.get("done", 0), description=description)

        yield show
