"""What household vehicles 2.3 says, without what we must not have.

An owner's number is usually the social security number: nothing of it is kept, or its last four digits where the
configuration says so. `privacy_opt_out_code` 3 restricts the release: then everything about owners goes, at once.
"""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from tasks.verification.contract import Date, Flag, Many, Part
from tasks.verification.question import Account
from tasks.verification.reading import Form

RESTRICTED = 3
_DIGITS_KEPT = 4
_KEPT = re.compile(r"\*{3}-\*{2}-[0-9]{4}")


def _last_digits(value: Any) -> Any:
    """The form that stays: nobody ever holds the whole number, not even the model. Of its own form it makes itself."""
    if not isinstance(value, str):
        return None
    if _KEPT.fullmatch(value):
        return value
    digits = "".join(c for c in value if c.isascii() and c.isdigit())
    return f"***-**-{digits[-_DIGITS_KEPT:]}" if len(digits) > 2 * _DIGITS_KEPT else None


class VehicleData(Part):
    vin: str | None = None
    model_year: int | None = Field(None, ge=1880, le=2200)
    make: str | None = None
    model: str | None = None
    body_type: str | None = None
    odometer_reading: int | None = None
    vin_error: Flag = False


class Place(Part):
    street_1: str | None = None
    street_2: str | None = None
    city: str | None = None
    state: str | None = None
    zip_code: str | None = None


class Flags(Part):
    stolen: Flag = False
    flood: Flag = False
    junk: Flag = False
    lemon_law: Flag = False
    bonded: Flag = False
    reconditioned: Flag = False
    reconstructed: Flag = False
    title_revoked: Flag = False
    exported: Flag = False
    government_owned: Flag = False
    hot_check: Flag = False
    obsolete: Flag = False

    def raised(self) -> tuple[str, ...]:
        return tuple(name for name, is_raised in self if is_raised)


class TitleInfo(Part):
    title_number: str | None = None
    title_date: Date = None
    owner_name_1: str | None = None
    owner_name_2: str | None = None
    owner_id: Annotated[str | None, BeforeValidator(_last_digits)] = None
    owner_address: Place | None = None
    previous_owner_name: str | None = None
    privacy_opt_out_code: int | None = None
    flags: Flags = Flags()


class RegistrationInfo(Part):
    tag: str | None = None
    expiration_year: int | None = None
    expiration_month: int | None = None
    effective_date: Date = None
    invalid: Flag = False


class LienInfo(Part):
    lienholder_name: str | None = None
    lienholder_address: Place | None = None
    lien_date: Date = None


class FoundVehicle(Part):
    vehicle_search_status: str | None = None
    vehicle_data: VehicleData
    title_info: TitleInfo | None = None
    registration_info: RegistrationInfo | None = None
    lien_info: LienInfo | None = None

    @property
    def is_found(self) -> bool:
        return (self.vehicle_search_status or "FOUND") == "FOUND"


class VehicleAnswer(Part):
    transaction_id: str | None = None
    vehicles: Annotated[tuple[FoundVehicle, ...], Many]


NOTHING_FOUND = VehicleAnswer(vehicles=())

_OWNER = ("owner_name_1", "owner_name_2", "owner_id", "owner_address", "previous_owner_name")


def parse(said: dict[str, Any], account: Account) -> VehicleAnswer:
    """Raises `ValidationError`."""
    answer = VehicleAnswer.model_validate(said)
    allowed = tuple(_allowed(vehicle, keeps_owner_id=account.keeps_owner_id) for vehicle in answer.vehicles)
    return answer.model_copy(update={"vehicles": allowed})


def _allowed(vehicle: FoundVehicle, *, keeps_owner_id: bool) -> FoundVehicle:
    title = vehicle.title_info
    if title is None:
        return vehicle
    is_restricted = title.privacy_opt_out_code == RESTRICTED
    dropped = _OWNER if is_restricted else () if keeps_owner_id else ("owner_id",)
    return vehicle.model_copy(update={"title_info": title.model_copy(update=dict.fromkeys(dropped))})


FORM = Form(parse, NOTHING_FOUND, is_stripped=True)
