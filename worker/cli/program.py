"""`worker`, the commands a person types.

Each command imports what it needs when it runs, so that `worker --help` is quick and a production machine never loads
the development servers.
"""

import sys

import typer

from worker.cli import (
    batches,
    calls,
    check,
    clients,
    enqueue,
    health,
    household,
    integrations,
    jobs,
    keys,
    mappings,
    queues,
    quotes,
    rates,
    reconcile,
    run,
    schedule,
    schema,
    services,
    status,
    system,
)
from worker.errors import WorkerError

BAD_INPUT = 2

program = typer.Typer(
    name="worker",
    help="Background jobs of the integration platform. `worker demo` shows them at work; `worker up` runs everything.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
program.command()(system.up)
program.command()(system.demo)
program.command()(schema.migrate)
program.command()(schema.seed)
program.command()(services.sandbox)
program.command()(services.api)
program.command()(services.flower)
program.command()(run.run)
program.command()(status.status)
program.command()(health.health)
program.add_typer(enqueue.program, name="enqueue")
program.add_typer(jobs.program, name="jobs")
program.add_typer(batches.program, name="batches")
program.add_typer(queues.program, name="queues")
program.add_typer(schedule.program, name="schedule")
program.add_typer(household.program, name="household")
program.add_typer(quotes.program, name="quotes")
program.add_typer(rates.program, name="rates")
program.add_typer(clients.program, name="clients")
program.add_typer(integrations.program, name="integrations")
program.add_typer(mappings.program, name="mappings")
program.command()(calls.calls)
program.add_typer(calls.program, name="budgets")
program.command()(reconcile.reconcile)
program.add_typer(check.program, name="check")
program.add_typer(keys.program, name="keys")


def main() -> None:
    """Run the command of this process's arguments. Exit status 0: fine, 1: the work failed, 2: the request is wrong."""
    try:
        program()
    except WorkerError as error:
        sys.stderr.write(f"worker: {error}\n")
        sys.exit(BAD_INPUT)
