"""What household drivers 2.7 says, as frozen values; three names are also read as the real service misspells them."""

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, model_validator

from tasks.verification.contract import Date, Flag, Many, Part, Score
from tasks.verification.reading import Form

ProviderStatus = Literal["verified", "partial", "failed", "not_found"]


class PersonalInfo(Part):
    first_name: str | None = None
    middle_name: str | None = None
    last_name: str | None = None
    suffix: str | None = None
    date_of_birth: Date = None
    gender: str | None = None


class LicenseInfo(Part):
    license_number: str | None = None
    state_code: str | None = None
    license_type: str | None = None
    status: str | None = None
    issue_date: Date = None
    expiration_date: Date = None
    last_transaction_date: Date = Field(
        None, validation_alias=AliasChoices("last_transaction_date", "last_transacton_date")
    )
    id_card: Flag = False
    restrictions: Annotated[tuple[Any, ...], Many] = Field(
        (), validation_alias=AliasChoices("restrictions", "restrictons")
    )
    endorsements: Annotated[tuple[Any, ...], Many] = ()


class CurrentAddress(Part):
    street_1: str | None = None
    street_2: str | None = None
    city: str | None = None
    state: str | None = None
    zip_code: str | None = None
    zip_4: str | None = None
    delivery_point_validation: Literal["valid", "invalid", "unknown"] | None = None


class AddressInfo(Part):
    current_address: CurrentAddress | None = None


class DriverData(Part):
    driver_id: str | None = None
    client_ref: str | None = None
    personal_info: PersonalInfo
    license_info: LicenseInfo | None = None
    address_info: AddressInfo | None = None
    associated_licenses: Annotated[tuple[Any, ...], Many] = Field(
        (), validation_alias=AliasChoices("associated_licenses", "asociated_licenses")
    )


class Member(Part):
    relationship: str | None = None
    requested: Flag = False
    driver_data: DriverData


class Difference(Part):
    """A node that the provider itself found to differ from the question."""

    node_path: str
    match: str


class Answer(Part):
    transaction_id: str | None = None
    verification_status: ProviderStatus
    confidence_score: Score | None = None
    address_search_status: str | None = None
    drivers_found: int | None = None
    records_returned: int | None = None
    truncated: Flag = False
    driver_data: DriverData | None = None
    household_members: Annotated[tuple[Member, ...], Many] = ()
    discrepancies: Annotated[tuple[Difference, ...], Many] = ()

    @model_validator(mode="after")
    def _is_about_somebody(self) -> "Answer":
        if self.verification_status in ("verified", "partial") and self.driver_data is None:
            raise ValueError("driver_data is missing")
        return self


NOTHING_FOUND = Answer(verification_status="not_found")

FORM = Form(lambda said, _account: Answer.model_validate(said), NOTHING_FOUND, is_stripped=False)
