"""python -m benchmarks [SECTION ...]: measures, prints tables, writes JSON and a plot."""

import dataclasses
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks import report, results
from benchmarks.contenders import CHECKOUT, CONTENDERS
from benchmarks.effort import FULL, QUICK, smallest
from benchmarks.machine import this_machine
from benchmarks.place import open_place
from benchmarks.sections import SECTIONS, Run


def main(
    sections: Annotated[list[str] | None, typer.Argument(help=f"Some of: {', '.join(SECTIONS)}.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Only enough to see that everything runs.")] = False,
    out: Annotated[Path, typer.Option(help="Where JSON and the plot go.")] = CHECKOUT / ".worker" / "benchmarks",
    only: Annotated[list[str] | None, typer.Option(help="Only this peer beside ours; may be repeated.")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Rounds of throughput at each latency.")] = None,
    jobs: Annotated[int | None, typer.Option(min=20, help="This system alone, with so many jobs a round.")] = None,
    soak_minutes: Annotated[float | None, typer.Option(min=0.05, help="Length of the soak.")] = None,
) -> None:
    """Measure this system beside others. Sections can be measured in runs of their own: each has a file of results."""
    console = Console()
    chosen = sections or [name for name, section in SECTIONS.items() if section.is_quick or not quick]
    if unknown := set(chosen) - set(SECTIONS):
        raise typer.BadParameter(f"there is no section {', '.join(sorted(unknown))}: take {', '.join(SECTIONS)}")
    names = {one.name for one in CONTENDERS if not one.is_ours}
    if unknown := set(only or ()) - names:
        raise typer.BadParameter(f"nobody is called {', '.join(sorted(unknown))}: take {', '.join(sorted(names))}")
    if jobs is None and (missing := {one.group for one in CONTENDERS if one.group and not one.is_installed}):
        raise typer.BadParameter(f"the environments of {', '.join(sorted(missing))} are missing: run make peers")
    effort = smallest(jobs) if jobs is not None else QUICK if quick else FULL
    if only:
        effort = dataclasses.replace(effort, peers=tuple(only))
    if rounds is not None:
        effort = dataclasses.replace(effort, rounds=dict.fromkeys(effort.rounds, rounds))
    if soak_minutes is not None:
        effort = dataclasses.replace(effort, soak_minutes=soak_minutes)
    machine = this_machine()
    minutes = sum(SECTIONS[name].minutes for name in chosen)
    console.print(
        f"{machine.processor}, {machine.cores} cores, {machine.memory_gb:g} GB, {machine.system}", highlight=False
    )
    console.print(f"About {'two' if quick else f'{minutes:g}'} minutes; load now {machine.load:g}.", highlight=False)
    with open_place() as place:
        run = Run(place, effort, lambda line: console.print(f"  {line}", highlight=False, soft_wrap=True), {})
        for name in chosen:
            start = time.monotonic()
            console.print(f"[bold]{name}[/]")
            records = []
            for record in SECTIONS[name].measure(run):
                records.append(record)
                results.write(out, name, records)  # so that what a run has by then outlives it
            console.print(f"  took {time.monotonic() - start:.0f} s", style="dim")
    report.show(console, out)
    report.plot(out)
    console.print(f"Results are in {out}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
