"""`worker mappings nodes | add-node | deprecate-node`: the fields of an answer that can be mapped."""

from typing import Annotated
from uuid import UUID

import typer

Integration = Annotated[str, typer.Option(help="Its code, such as DCS_HOUSEHOLD_DRIVERS.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
By = Annotated[str | None, typer.Option(help="Your account name, kept with what you do. Default: the system user's.")]
As = Annotated[UUID | None, typer.Option("--as", help="Use only the rights of this user, by its id.")]


def join(program: typer.Typer) -> None:
    """Have these commands among those of mappings."""
    program.command("nodes")(list_)
    program.command("add-node")(add)
    program.command("deprecate-node")(deprecate)


def list_(integration: Integration, json: Json = False) -> None:
    """List the fields of an integration's answers that can be mapped, and the columns they can be mapped to."""
    from worker.cli.printing import print_json, print_table
    from worker.cli.transaction import transaction
    from worker.configuration.field_mapping import versions
    from worker.configuration.field_mapping.nodes import nodes as nodes_of
    from worker.configuration.integrations import scope_of

    with transaction("list the nodes") as connection:
        found = nodes_of(connection, scope_of(connection, integration).integration_id)
        targets = versions.targets(connection)
    if json:
        print_json({"nodes": found, "targets": sorted(targets)})
        return
    print_table(
        ("NODE", "TYPE", "REQUIRED", "SINCE", "STATE"),
        [
            (
                node.path,
                f"list of {node.data_type}" if node.is_array else node.data_type,
                "yes" if node.is_required else "no",
                node.api_version,
                "deprecated" if node.is_deprecated else "current",
            )
            for node in found
        ],
    )
    typer.echo(f"\nColumns that may be mapped: {', '.join(sorted(targets))}")


def add(
    path: Annotated[str, typer.Argument(help="Where it stands, such as driver_data.license_info.license_type.")],
    integration: Integration,
    type_: Annotated[str, typer.Option("--type", help="Its type: string, integer, date, ...")] = "string",
    is_list: Annotated[bool, typer.Option("--list", help="Its value is a list.")] = False,
    is_required: Annotated[bool, typer.Option("--required", help="Note answers without it.")] = False,
    pii_class: Annotated[
        str | None, typer.Option("--personal", help="Mask it as a value of this class: name, contact, ...")
    ] = None,
    by: By = None,
    as_: As = None,
) -> None:
    """Describe a field of an answer, so that it can be mapped."""
    from worker.cli.transaction import acting, actor, transaction
    from worker.configuration.field_mapping import nodes
    from worker.configuration.integrations import scope_of

    with transaction("describe the node", by=by) as connection:
        scope = scope_of(connection, integration)
        name = actor(by)
        nodes.add_node(
            *(connection, acting(as_), scope, path, type_),
            is_array=is_list,
            is_required=is_required,
            pii_class=pii_class,
            by=name,
        )
    typer.echo(f"Described {path}.")


def deprecate(
    path: Annotated[str, typer.Argument(help="The node's path.", show_default=False)],
    integration: Integration,
    since: Annotated[str, typer.Option(help="The API version that gives it up.", show_default=False)],
    by: By = None,
    as_: As = None,
) -> None:
    """Note that the provider gives a field up; its mappings go on and say so in each answer."""
    from worker.cli.transaction import acting, actor, transaction
    from worker.configuration.field_mapping import nodes
    from worker.configuration.integrations import scope_of

    with transaction("deprecate the node", by=by) as connection:
        nodes.deprecate_node(connection, acting(as_), scope_of(connection, integration), path, since, by=actor(by))
    typer.echo(f"Deprecated {path} since version {since}.")
