"""`worker schedule`: how the clock stands; running, pausing and resuming its entries."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from worker.clock.entries import Line  # not at run time, so that --help loads no job
    from worker.clock.schedule import EntryStatus

program = typer.Typer(help="See what runs when and how it went; run, pause and resume entries of the clock.")

Name = Annotated[str, typer.Argument(metavar="ENTRY", help="The entry's name, as `worker schedule` lists it.")]
By = Annotated[str | None, typer.Option(help="Your account name, kept with what you do. Default: the system user's.")]


@program.callback(invoke_without_command=True)
def status(
    context: typer.Context, json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False
) -> None:
    """Show each entry: its last run, how it ended and what it did, its next slot, and what is not as it should be."""
    if context.invoked_subcommand is not None:
        return
    from worker.cli.printing import print_json, print_table
    from worker.cli.transaction import transaction
    from worker.clock import schedule
    from worker.clock.entries import rounds

    lines = _lines()
    with transaction("look at the clock") as connection:
        entries = schedule.status(connection, lines)
    if json:
        print_json(entries)
        return
    print_table(
        ("ENTRY", "SCHEDULE", "LAST RUN", "OUTCOME", "TOOK", "NEXT (UTC)"),
        [
            (
                entry.name,
                entry.schedule if entry.zone == "UTC" else f"{entry.schedule} {entry.zone}",
                entry.last_slot or "never",
                " ".join(word for word in (entry.last_outcome, entry.last_error_code) if word),
                entry.took,
                entry.next_slot,
            )
            for entry in entries
        ],
    )
    by_itself = ", ".join(f"{name} every {every_s:g} s" for name, every_s in rounds().items())
    typer.echo(f"Each worker does by itself: {by_itself}.")
    for entry in entries:
        for sentence in (*_notes(entry), *_report(entry.progress or {})):
            typer.echo(f"{entry.name}: {sentence}")


@program.command()
def run(name: Name, by: By = None) -> None:
    """Have an entry's job run now, beside its slots; paused or not."""
    from worker.cli.transaction import actor, transaction
    from worker.clock import schedule

    line = schedule.find(_lines(), name)
    with transaction("run an entry") as connection:
        job_id = schedule.run(connection, line, actor(by))
    typer.echo(f"Job {job_id} is asked for. How it goes: worker jobs show {job_id}")


@program.command()
def pause(
    name: Name, reason: Annotated[str, typer.Option(help="Why; others read it at night. No names.")], by: By = None
) -> None:
    """Have no beat run an entry until it is resumed. What passes meanwhile is not made up for."""
    from worker.cli.transaction import actor, transaction
    from worker.clock import schedule

    line = schedule.find(_lines(), name)
    with transaction("pause an entry") as connection:
        schedule.pause(connection, line, actor(by), reason)
    typer.echo(f"Paused {line.name} until somebody resumes it.")


@program.command()
def resume(name: Name, by: By = None) -> None:
    """Have an entry run again from its next slot on."""
    from worker.cli.printing import cell
    from worker.cli.transaction import actor, transaction
    from worker.clock import schedule

    line = schedule.find(_lines(), name)
    with transaction("resume an entry") as connection:
        schedule.resume(connection, line, actor(by))
        (entry,) = schedule.status(connection, [line])
    typer.echo(f"Resumed {line.name}: it runs next at {cell(entry.next_slot)} UTC.")


def _lines() -> "list[Line]":
    from importlib import import_module

    from worker.clock.entries import lines

    import_module("worker.app")  # declares the kinds
    return lines()


def _notes(entry: "EntryStatus") -> Iterator[str]:
    """What is not as it should be, or not as the schedule says."""
    from worker.cli.printing import cell

    if entry.paused_at is not None:
        yield f"paused by {entry.paused_by} at {cell(entry.paused_at)}: {entry.pause_reason}"
    if entry.overdue_since is not None:
        yield f"overdue since {cell(entry.overdue_since)}"
    if entry.due_since is not None:
        waits = f", comes after {', '.join(entry.after)}" if entry.after else ""
        yield f"due since {cell(entry.due_since)}{waits}"
    if entry.missed_runs:
        yield f"{entry.missed_runs} slots passed without a run"


def _report(progress: Mapping[str, Any]) -> Iterator[str]:
    """What the last run did, as its job says; only maintenance says it in these words."""
    for where, counts in progress.get("counts", {}).items():
        yield f"{where}: {', '.join(f'{number} {what}' for what, number in counts.items())}"
    for left in progress.get("unfinished", ()):
        yield f"its time was up before {left} was finished; the next run goes on there"
    for told in (*progress.get("problems", ()), *progress.get("alarms", ())):
        yield told["message"]
