"""Whom and what a quote covers: drivers with licences and addresses, and vehicles, with what verification found.

A driver points at the current licence, a licence at its driver; the first key is nullable and cleared when the licence
goes, so that a household can be deleted in either order.
"""

import uuid
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, String, false, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import VACUUMED_SOON, Audited, Base, BigId, Confidence, Hash, StateCode, choice
from models.facts import MAPPABLE, NOT_PERSONAL, encrypted, kept_with, personal
from models.vocabularies import (
    DeliveryPointValidation,
    DriverVerificationStatus,
    LicenseVerificationStatus,
    OfferDecision,
    VehicleVerificationStatus,
)

QuestionVersion = Annotated[int, mapped_column(server_default=text("1"))]
"""Raised by a trigger when a column changes that providers are told."""


class Address(Audited, Base):
    """A postal address in the United States."""

    __tablename__ = "address"
    __table_args__ = (
        CheckConstraint("standardization_confidence BETWEEN 0 AND 100", name="standardization_confidence"),
        Index("idx_address_standardized_by", "standardized_by_source"),
        Index("idx_address_delivery_validation", "delivery_point_validation"),
        {"info": kept_with("driver", leftovers_days=90)},
    )

    id: Mapped[BigId]
    street_1: Mapped[str | None] = mapped_column(String(255), info=personal("street") | MAPPABLE)
    street_2: Mapped[str | None] = mapped_column(String(255), info=personal("street") | MAPPABLE)
    city: Mapped[str | None] = mapped_column(String(100), info=personal("region") | MAPPABLE)
    state: Mapped[StateCode | None] = mapped_column(info=personal("region") | MAPPABLE)
    zip_code: Mapped[str | None] = mapped_column(String(10), info=personal("region") | MAPPABLE)
    zip_4: Mapped[str | None] = mapped_column(String(4), info=personal("street") | MAPPABLE)
    standardized_by_source: Mapped[str | None] = mapped_column(String(100), info=NOT_PERSONAL)
    standardization_confidence: Mapped[Decimal | None] = mapped_column(Confidence)
    delivery_point_validation: Mapped[DeliveryPointValidation] = mapped_column(
        choice("delivery_point_validation", DeliveryPointValidation), server_default="unknown"
    )
    last_standardization_date: Mapped[datetime | None]
    question_version: Mapped[QuestionVersion]


class Driver(Audited, Base):
    """A person on a quote, the named insured or another member of the household."""

    __tablename__ = "driver"
    __table_args__ = (
        CheckConstraint("verification_confidence BETWEEN 0 AND 100", name="verification_confidence"),
        Index("idx_driver_verification_status", "external_verification_status"),
        Index("idx_driver_last_verification", "last_verification_date"),
        Index("idx_driver_external_id", "external_driver_id"),
        {"info": kept_with("quotes", leftovers_days=90)},
    )

    id: Mapped[BigId]
    quote_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("quotes.id"), index=True)
    first_name: Mapped[str | None] = mapped_column(String(100), info=personal("name") | MAPPABLE)
    last_name: Mapped[str | None] = mapped_column(String(100), info=personal("name") | MAPPABLE)
    date_of_birth: Mapped[date | None] = mapped_column(info=personal("birth_date"))
    license_id: Mapped[int | None] = mapped_column(
        BigInteger,
        ForeignKey("license.id", name="fk_driver_license_id", ondelete="SET NULL", use_alter=True),
        index=True,
    )
    address_id: Mapped[int | None] = mapped_column(ForeignKey("address.id"), index=True)
    is_named_insured: Mapped[bool] = mapped_column(server_default=false())
    external_verification_status: Mapped[DriverVerificationStatus] = mapped_column(
        choice("external_verification_status", DriverVerificationStatus), server_default="not_verified"
    )
    last_verification_date: Mapped[datetime | None]
    verification_source: Mapped[str | None] = mapped_column(String(100), info=NOT_PERSONAL)
    verification_confidence: Mapped[Decimal | None] = mapped_column(Confidence)
    external_driver_id: Mapped[str | None] = mapped_column(String(100), info=NOT_PERSONAL)
    question_version: Mapped[QuestionVersion]


class License(Audited, Base):
    """A driving licence. The number is ciphertext; equal numbers of a state are found by their blind index."""

    __tablename__ = "license"
    __table_args__ = (
        Index("idx_license_external_verification", "external_verification_status"),
        Index("idx_license_last_verification", "last_verification_date"),
        Index("idx_license_number_bidx", "license_number_bidx"),
        Index("idx_license_encryption_key", text("split_part(license_number, ':', 3)")),
        {"info": kept_with("driver", leftovers_days=90)},
    )

    id: Mapped[BigId]
    driver_id: Mapped[int | None] = mapped_column(ForeignKey("driver.id"), index=True)
    license_number: Mapped[str | None] = mapped_column(info=encrypted("license"))
    license_number_bidx: Mapped[Hash | None] = mapped_column(info=personal("license"))
    state_code: Mapped[StateCode | None] = mapped_column(info=NOT_PERSONAL)
    license_type: Mapped[str | None] = mapped_column(String(20), info=NOT_PERSONAL | MAPPABLE)
    issue_date: Mapped[date | None] = mapped_column(info=MAPPABLE)
    expiration_date: Mapped[date | None] = mapped_column(info=MAPPABLE)
    external_verification_status: Mapped[LicenseVerificationStatus] = mapped_column(
        choice("external_verification_status", LicenseVerificationStatus), server_default="not_verified"
    )
    last_verification_date: Mapped[datetime | None]
    verification_source: Mapped[str | None] = mapped_column(String(100), info=NOT_PERSONAL)
    external_license_status: Mapped[str | None] = mapped_column(String(50), info=NOT_PERSONAL)
    verification_notes: Mapped[str | None] = mapped_column(info=personal("free_text"))
    question_version: Mapped[QuestionVersion]


class Vehicle(Audited, Base):
    """A vehicle on a quote. `title_flags` are what its title says against it: a list of words such as stolen."""

    __tablename__ = "vehicle"
    __table_args__ = ({"info": kept_with("quotes", leftovers_days=90)},)

    id: Mapped[BigId]
    quote_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("quotes.id"), index=True)
    vin: Mapped[str | None] = mapped_column(String(17), index=True, info=personal("vehicle_id"))
    model_year: Mapped[int | None] = mapped_column(info=MAPPABLE)
    make: Mapped[str | None] = mapped_column(String(50), info=NOT_PERSONAL | MAPPABLE)
    model: Mapped[str | None] = mapped_column(String(50), info=NOT_PERSONAL | MAPPABLE)
    plate: Mapped[str | None] = mapped_column(String(20), info=personal("vehicle_id"))
    external_verification_status: Mapped[VehicleVerificationStatus] = mapped_column(
        choice("external_verification_status", VehicleVerificationStatus), server_default="not_verified"
    )
    last_verification_date: Mapped[datetime | None]
    verification_source: Mapped[str | None] = mapped_column(String(100), info=NOT_PERSONAL)
    title_flags: Mapped[list[Any] | None] = mapped_column(info=NOT_PERSONAL)
    question_version: Mapped[QuestionVersion]


class HouseholdMemberOffer(Audited, Base):
    """Somebody whom a provider names at a driver's address, and whom nobody told us of.

    No driver is made of him until somebody accepts. The id is derived from the household and the person, so that a
    later answer finds the same row; the number of the licence is ciphertext bound to it.
    """

    __tablename__ = "household_member_offer"
    __table_args__ = (
        Index(
            "idx_household_member_offer_unmasked",
            "created_at",
            "id",
            postgresql_where=text("pii_rule_version IS NULL"),
        ),
        {"info": kept_with("driver"), "postgresql_with": VACUUMED_SOON},
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, sort_order=-1)
    driver_id: Mapped[int] = mapped_column(ForeignKey("driver.id", ondelete="CASCADE"), index=True)
    """The driver whose verification named him."""

    request_id: Mapped[int | None] = mapped_column(
        ForeignKey("integration_request.id", ondelete="SET NULL"), index=True
    )
    relationship: Mapped[str | None] = mapped_column(String(50), info=NOT_PERSONAL)
    first_name: Mapped[str | None] = mapped_column(String(100), info=personal("name"))
    middle_name: Mapped[str | None] = mapped_column(String(100), info=personal("name"))
    last_name: Mapped[str | None] = mapped_column(String(100), info=personal("name"))
    date_of_birth: Mapped[date | None] = mapped_column(info=personal("birth_date"))
    license_number: Mapped[str | None] = mapped_column(info=encrypted("license"))
    license_number_bidx: Mapped[Hash | None] = mapped_column(info=personal("license"))
    license_state: Mapped[StateCode | None] = mapped_column(info=NOT_PERSONAL)
    license_type: Mapped[str | None] = mapped_column(String(20), info=NOT_PERSONAL)
    external_license_status: Mapped[str | None] = mapped_column(String(50), info=NOT_PERSONAL)
    decision: Mapped[OfferDecision] = mapped_column(choice("decision", OfferDecision), server_default="open")
    decided_at: Mapped[datetime | None]
    accepted_driver_id: Mapped[int | None] = mapped_column(ForeignKey("driver.id", ondelete="SET NULL"), index=True)
    """The driver that was made of him."""

    pii_rule_version: Mapped[int | None]
    """By which rules the names were masked, with the request that told them; NULL while they are there."""
