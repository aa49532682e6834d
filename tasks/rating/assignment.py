"""Which driver rates which vehicle."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import orjson

from tasks.rating.refusal import Refused

Entry = Mapping[str, Any]
Rank = Callable[[Entry], Decimal]


@dataclass(frozen=True, slots=True)
class Assignment:
    """`unassigned` are the driver's fields of a vehicle that has no driver; None: there must be one."""

    rule: Literal["highest_to_highest", "as_given"]
    unassigned: Entry | None


@dataclass(frozen=True, slots=True)
class Pair:
    """A vehicle and its driver, both by their number on the quote, from 1. `driver` None: the unassigned one."""

    vehicle: int
    driver: int | None
    vehicle_fields: Entry
    driver_fields: Entry


def assign(
    assignment: Assignment, vehicles: Sequence[Entry], drivers: Sequence[Entry], rank_vehicle: Rank, rank_driver: Rank
) -> list[Pair]:
    """A pair for each vehicle, in their order. Raises `Refused` with code no_driver or unknown_driver.

    Highest to highest ranks both; entries of one rank are told apart by what they say, never by their place.
    """
    if assignment.rule == "as_given":
        chosen = {number: _given(number, vehicle, drivers) for number, vehicle in enumerate(vehicles)}
    else:
        ranked_vehicles, ranked_drivers = _ranked(vehicles, rank_vehicle), _ranked(drivers, rank_driver)
        chosen = dict.fromkeys(range(len(vehicles))) | dict(zip(ranked_vehicles, ranked_drivers, strict=False))
    return [_pair(assignment, number, vehicle, chosen[number], drivers) for number, vehicle in enumerate(vehicles)]


def _ranked(entries: Sequence[Entry], rank: Rank) -> list[int]:
    if len(entries) < 2:
        return list(range(len(entries)))
    return sorted(range(len(entries)), key=lambda number: (-rank(entries[number]), _canonical(entries[number])))


def _canonical(entry: Entry) -> bytes:
    return orjson.dumps(entry, default=str, option=orjson.OPT_SORT_KEYS)


def _given(number: int, vehicle: Entry, drivers: Sequence[Entry]) -> int | None:
    name = vehicle.get("driver")
    if name is None:
        return 0 if len(drivers) == 1 else None
    for place, driver in enumerate(drivers):
        if name in (driver.get("id"), driver.get("driver_id")):
            return place
    raise Refused("unknown_driver", f"vehicle {number + 1} names a driver who is not on the quote")


def _pair(assignment: Assignment, number: int, vehicle: Entry, driver: int | None, drivers: Sequence[Entry]) -> Pair:
    if driver is not None:
        return Pair(number + 1, driver + 1, vehicle, drivers[driver])
    if assignment.unassigned is None:
        raise Refused("no_driver", f"vehicle {number + 1} has no driver, and the plan says nothing of such vehicles")
    return Pair(number + 1, None, vehicle, assignment.unassigned)
