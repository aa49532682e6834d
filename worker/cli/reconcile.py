"""`worker reconcile`: account for every job and every call."""

from typing import Annotated

import typer


def reconcile(json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False) -> None:
    """Account for every job ever accepted and every call ever sent. Exit status 1 if something does not add up."""
    from worker.cli.printing import print_json, print_table
    from worker.cli.transaction import transaction
    from worker.operating import reconciliation

    with transaction("reconcile") as connection:
        account = reconciliation.reconcile(connection)
    if json:
        print_json(account)
    else:
        print_table(("KIND", "STATE", "JOBS"), [(jobs.kind, jobs.state, jobs.count) for jobs in account.jobs])
        calls = account.calls
        typer.echo(
            f"\nCalls: {calls.certain} made, {calls.uncertain} perhaps made by workers that died,"
            f" {calls.under_way} at most under way; {calls.avoided} avoided."
        )
        if account.findings:
            typer.echo()
            print_table(
                ("DOES NOT ADD UP", "ROWS", "WHICH", "MEANING"),
                [(f.code, f.count, " ".join(f.examples), f.meaning) for f in account.findings],
            )
        else:
            typer.echo("Everything adds up.")
    if account.findings:
        raise typer.Exit(1)
