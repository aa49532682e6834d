"""`worker mappings`: which field of an answer goes into which column, its versions, and a rehearsal."""

from pathlib import Path
from typing import Annotated

import typer

from worker.cli import nodes
from worker.cli.nodes import As, By, Integration, Json

program = typer.Typer(help="Say which field of an answer goes into which column.", no_args_is_help=True)

Program = Annotated[str | None, typer.Option("--program", help="Only for this program, by its code.")]
Producer = Annotated[str | None, typer.Option("--producer", help="Only for this producer, by its code.")]
Id = Annotated[int, typer.Argument(help="The id of a version.", metavar="ID", show_default=False)]
Transform = Annotated[
    str | None, typer.Option("--transform", help='Transformation rules, such as \'{"trim": true, "uppercase": true}\'.')
]
Validate = Annotated[
    str | None, typer.Option("--validate", help='Validation rules, such as \'{"required": true, "max_length": 50}\'.')
]


@program.command("list")
def list_(
    integration: Integration,
    history: Annotated[bool, typer.Option("--history", help="Those that were replaced or retired, too.")] = False,
    json: Json = False,
) -> None:
    """List an integration's mappings: the nearest scope that has one for a column decides."""
    from worker.cli.printing import print_json, print_table
    from worker.cli.transaction import transaction
    from worker.configuration.field_mapping import versions
    from worker.configuration.integrations import scope_of

    with transaction("list the mappings") as connection:
        scope = scope_of(connection, integration)
        found = versions.versions(connection, scope.integration_id, all_versions=history)
    if json:
        print_json(found)
        return
    print_table(
        ("ID", "TARGET", "NODE", "SCOPE", "VERSION", "STATE"),
        [
            (
                one.id,
                one.target,
                one.node,
                " ".join(part for part in (one.level, one.program, one.producer) if part),
                one.version,
                "active" if one.is_active else "ended",
            )
            for one in found
        ],
    )


@program.command()
def show(mapping_id: Id) -> None:
    """Show one version with its rules, as JSON."""
    from worker.cli.printing import print_json
    from worker.cli.transaction import transaction
    from worker.configuration.field_mapping import versions

    with transaction("show the mapping") as connection:
        print_json(versions.version(connection, mapping_id))


@program.command()
def add(
    integration: Integration,
    node: Annotated[str, typer.Option(help="The path of the field in the answer.", show_default=False)],
    target: Annotated[str, typer.Option(help="The column, such as license.license_type.", show_default=False)],
    transform: Transform = None,
    validate: Validate = None,
    program_code: Program = None,
    producer: Producer = None,
    by: By = None,
    as_: As = None,
) -> None:
    """Map a field to a column, for everybody or for a program or producer."""
    from worker.cli.transaction import acting, actor, transaction
    from worker.configuration.field_mapping import versions
    from worker.configuration.integrations import scope_of

    with transaction("add the mapping", by=by) as connection:
        mapping_id = versions.add(
            connection,
            acting(as_),
            scope_of(connection, integration, program=program_code, producer=producer),
            node,
            target,
            transformation=_rules(transform, "--transform"),
            validation=_rules(validate, "--validate"),
            by=actor(by),
        )
    typer.echo(f"Added mapping {mapping_id}: {node} to {target}.")


@program.command()
def replace(
    mapping_id: Id,
    node: Annotated[str | None, typer.Option(help="Another field. Default: the same.")] = None,
    transform: Transform = None,
    validate: Validate = None,
    by: By = None,
    as_: As = None,
) -> None:
    """Put a new version in the place of an active one; rules that are not given are none."""
    from worker.cli.transaction import acting, actor, transaction
    from worker.configuration.field_mapping import versions

    with transaction("replace the mapping", by=by) as connection:
        new_id = versions.replace(
            connection,
            acting(as_),
            mapping_id,
            node=node,
            transformation=_rules(transform, "--transform"),
            validation=_rules(validate, "--validate"),
            by=actor(by),
        )
    typer.echo(f"Mapping {new_id} replaces {mapping_id}.")


@program.command()
def retire(mapping_id: Id, by: By = None, as_: As = None) -> None:
    """End a mapping; what a wider scope says of the column counts again."""
    from worker.cli.transaction import acting, actor, transaction
    from worker.configuration.field_mapping import versions

    with transaction("retire the mapping", by=by) as connection:
        versions.retire(connection, acting(as_), mapping_id, by=actor(by))
    typer.echo(f"Retired mapping {mapping_id}.")


@program.command()
def check(
    integration: Integration,
    document: Annotated[Path | None, typer.Option(help="A JSON file with an answer; - reads standard input.")] = None,
    request: Annotated[int | None, typer.Option(help="The stored answer of this request.")] = None,
    node: Annotated[str | None, typer.Option(help="Try a rule that is not saved: from this field ...")] = None,
    target: Annotated[str | None, typer.Option(help="... to this column.")] = None,
    transform: Transform = None,
    validate: Validate = None,
    root: Annotated[str, typer.Option(help="Look at each item of this list, such as vehicles[].")] = "",
    program_code: Program = None,
    producer: Producer = None,
    values: Annotated[bool, typer.Option("--values", help="Show the values too: personal data.")] = False,
    json: Json = False,
    by: By = None,
    as_: As = None,
) -> None:
    """Rehearse the mappings, or one that is not saved, with an answer: nothing is written."""
    from dataclasses import asdict
    from datetime import UTC, datetime

    from worker.cli.printing import print_json, print_table
    from worker.cli.transaction import acting, actor, transaction
    from worker.configuration.field_mapping import documents, rehearsal
    from worker.configuration.integrations import scope_of
    from worker.errors import BadRequest

    if (document is None) == (request is None):
        raise BadRequest("no_document", "name one answer: a file with --document, or a stored one with --request")
    if (node is None) != (target is None):
        raise BadRequest("half_a_mapping", "a rule that is not saved needs both --node and --target")
    with transaction("check the mappings", by=by) as connection:
        scope = scope_of(connection, integration, program=program_code, producer=producer)
        if node is not None and target is not None:
            rules = _rules(transform, "--transform"), _rules(validate, "--validate")
            field_map = rehearsal.on_trial(connection, scope, node, target, *rules, root=root)
        else:
            field_map = rehearsal.in_force(connection, scope, root=root)
        if request is not None:
            said = documents.stored(connection, acting(as_), scope, request, shows_values=values, by=actor(by))
        else:
            said = documents.read(document)
    today = datetime.now(UTC).date()
    rows = [
        (n, row)
        for n, item in enumerate(documents.items(said, root), 1)
        for row in rehearsal.rehearse(field_map, item, today)
    ]
    if json:
        hidden = () if values else ("value",)
        print_json(
            [
                {"item": number} | {name: told for name, told in asdict(row).items() if name not in hidden}
                for number, row in rows
            ]
        )
        return
    headings = ("TARGET", "NODE", "VERDICT", "LENGTH", *(("VALUE",) if values else ()))
    print_table(
        headings,
        [
            (row.target or "-", ", ".join(row.nodes), row.verdict, row.length, *((row.value,) if values else ()))
            for _, row in rows
        ],
    )


nodes.join(program)


def _rules(given: str | None, option: str) -> dict[str, object] | None:
    import json

    from worker.errors import BadRequest

    if given is None:
        return None
    try:
        rules = json.loads(given)
    except ValueError:
        raise BadRequest(
            "bad_rule", f"{option} is not JSON: quote it for the shell, such as '{{\"trim\": true}}'"
        ) from None
    if not isinstance(rules, dict):
        raise BadRequest("bad_rule", f"{option} must be a JSON object, such as '{{\"trim\": true}}'")
    return rules
