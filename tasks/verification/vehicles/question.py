"""What household vehicles is asked: one vehicle by its VIN or its plate, or the vehicles at one address."""

from collections.abc import Sequence
from typing import Any

from models.vocabularies import VehicleSearch
from tasks.verification.question import TRANSACTION, Basics, PostalAddress, Question, postal_address, searched
from worker.outcomes import GiveUp
from worker.values import value


@value(repr=False)
class OurVehicle:
    """A vehicle as the platform knows it."""

    id: int
    vin: str | None
    plate: str | None
    model_year: int | None
    make: str | None
    model: str | None


@value(kw_only=True)
class VehicleQuestion(Question):
    """`vehicles` are those an answer may be about: the one that is searched, or for an address the quote's.

    `address_id` and `address` are there exactly if `search_by` is address.
    """

    search_by: VehicleSearch
    vehicles: tuple[OurVehicle, ...]
    address_id: int | None
    address: PostalAddress | None


def vehicle_question(row: Any, basics: Basics) -> VehicleQuestion | GiveUp[Any]:
    """Of a row of `question_store.load`, or why it can't be asked."""
    vehicles = _vehicles(row.vehicles)
    address = None
    match row.search_by:
        case "address":
            if (address := postal_address(row)) is None or not address.state:
                return GiveUp("incomplete_address", f"Address {row.address_id} has no street or no state.")
        case "vin" | "plate":
            if not vehicles:
                return GiveUp("unknown_vehicle", f"Request {row.request_id} names no vehicle.")
            if not getattr(vehicles[0], row.search_by):
                return GiveUp("incomplete_vehicle", f"Vehicle {vehicles[0].id} has no {row.search_by}.")
        case _:
            return GiveUp("unknown_vehicle", f"Request {row.request_id} names neither vehicle nor address.")
    return VehicleQuestion(
        **basics,
        search_by=row.search_by,
        vehicles=vehicles,
        address_id=row.address_id if address is not None else None,
        address=address,
    )


def vehicle_body(question: VehicleQuestion) -> dict[str, Any]:
    """The body of a search, with exactly one of address, VINs and tags. Equal questions give equal bodies."""
    search: dict[str, Any]
    if question.address is not None:
        search = {"address": searched(question.address)}
    elif question.search_by == "vin":
        search = {"vins": [question.vehicles[0].vin]}
    else:
        search = {"tags": [question.vehicles[0].plate]}
    return {"transaction_info": TRANSACTION, "search": search}


def _vehicles(rows: Sequence[Any] | None) -> tuple[OurVehicle, ...]:
    return tuple(OurVehicle(**row) for row in rows or ())
