"""`worker household`: people whom a provider named at a driver's address, and what a person decides about them."""

from typing import Annotated
from uuid import UUID

import typer

program = typer.Typer(help="Decide about people whom a provider named in a household.", no_args_is_help=True)

Offer = Annotated[UUID, typer.Argument(help="Id of the offer, as `worker household offers` shows it.")]


@program.command()
def offers(
    driver: Annotated[int, typer.Option(min=1, help="Id of the driver whose verifications named them.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Show whom the provider named, without their names: those stay in the database."""
    from worker.cli.printing import print_json, print_table
    from worker.cli.transaction import transaction
    from worker.operating.household import household_member_offers

    with transaction("look at the offers") as connection:
        found = household_member_offers(connection, driver)
    if json:
        print_json(found)
        return
    print_table(
        ("OFFER", "RELATIONSHIP", "DECISION", "DRIVER"),
        [(offer.id, offer.relationship or "-", offer.decision, offer.accepted_driver_id or "-") for offer in found],
    )


@program.command()
def accept(offer: Offer) -> None:
    """Make a driver of the person, on the same quote; prints the driver's id. Doing it again changes nothing."""
    from worker.cli.transaction import transaction
    from worker.crypto import Keyring
    from worker.operating.household import accept_household_member
    from worker.settings import load_settings

    keyring = Keyring.of(load_settings())
    with transaction("accept the person") as connection:
        driver_id = accept_household_member(connection, keyring, offer)
    typer.echo(str(driver_id))


@program.command()
def decline(offer: Offer) -> None:
    """Say that no driver shall be made of the person; later answers don't ask again."""
    from worker.cli.transaction import transaction
    from worker.operating.household import decline_household_member

    with transaction("decline the person") as connection:
        decline_household_member(connection, offer)
