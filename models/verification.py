"""Calls to providers and what they told us. The request is the record of one question, its results are the answers."""

import uuid
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    String,
    UniqueConstraint,
    Uuid,
    desc,
    false,
    func,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from models.base import VACUUMED_SOON, Audited, Base, BigId, Confidence, choice
from models.facts import NOT_PERSONAL, kept, personal
from models.vocabularies import (
    HttpRequestStatus,
    TargetEntityType,
    VehicleSearch,
    VerificationStatus,
    VerificationType,
)


class IntegrationRequest(Audited, Base):
    """One question to a provider and the raw answer.

    Headers pass an allow-list before they are stored. A body that is not JSON is kept as `{"_raw": "..."}`.
    `retry_count` counts calls after the first. `retention_until` is set at insert from the retention policy;
    `pii_masked` is set last, with the version of the rules in `pii_rule_version`.
    """

    __tablename__ = "integration_request"
    __table_args__ = (
        CheckConstraint("retry_count >= 0", name="retry_count"),
        CheckConstraint("response_time_ms >= 0", name="response_time_ms"),
        Index("idx_integration_request_retention", "retention_until"),
        Index(
            "idx_integration_request_overdue",
            "retention_until",
            "id",
            postgresql_where=text("retention_until IS NOT NULL"),
        ),
        Index(
            "idx_integration_request_unmasked",
            "created_at",
            "id",
            postgresql_where=text("contains_pii AND NOT pii_masked"),
        ),
        Index(
            "idx_integration_request_mask_at",
            "mask_at",
            "id",
            postgresql_where=text("contains_pii AND NOT pii_masked AND mask_at IS NOT NULL"),
        ),
        Index("idx_integration_request_created_at", "created_at"),
        Index(
            "idx_integration_request_question",
            "tenant",
            "question",
            postgresql_where=text("request_status IN ('pending', 'sent')"),
        ),
        {
            "info": kept(
                2555,
                since="created_at",
                mask_after_days=90,
                why="a rated policy must be explainable for six years after it ends; the person's data is not needed",
            ),
            "postgresql_with": VACUUMED_SOON,
        },
    )

    id: Mapped[BigId]
    integration_id: Mapped[int] = mapped_column(ForeignKey("third_party_integration.id"), index=True)
    configuration_id: Mapped[int] = mapped_column(ForeignKey("integration_configuration.id"), index=True)
    quote_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("quotes.id"), index=True)
    driver_id: Mapped[int | None] = mapped_column(ForeignKey("driver.id"), index=True)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"), index=True)
    endpoint: Mapped[str] = mapped_column(String(255), info=NOT_PERSONAL)
    http_method: Mapped[str] = mapped_column(String(10), server_default="POST", info=NOT_PERSONAL)
    request_headers: Mapped[dict[str, Any] | None] = mapped_column(info=personal("document"))
    request_body: Mapped[dict[str, Any] | None] = mapped_column(info=personal("document"))
    response_status_code: Mapped[int | None]
    response_headers: Mapped[dict[str, Any] | None] = mapped_column(info=personal("document"))
    response_body: Mapped[dict[str, Any] | None] = mapped_column(info=personal("document"))
    response_time_ms: Mapped[int | None]
    request_status: Mapped[HttpRequestStatus] = mapped_column(
        choice("request_status", HttpRequestStatus), server_default="pending", index=True
    )
    error_message: Mapped[str | None] = mapped_column(info=personal("free_text"))
    retry_count: Mapped[int] = mapped_column(server_default=text("0"))
    external_transaction_id: Mapped[str | None] = mapped_column(String(100), index=True, info=NOT_PERSONAL)
    correlation_id: Mapped[str] = mapped_column(String(100), index=True, info=NOT_PERSONAL)
    contains_pii: Mapped[bool] = mapped_column(server_default=true())
    pii_masked: Mapped[bool] = mapped_column(server_default=false())
    pii_rule_version: Mapped[int | None]
    retention_until: Mapped[date | None]
    job_id: Mapped[uuid.UUID | None]
    """The ledger's row for it, which is forgotten earlier."""

    vehicle_id: Mapped[int | None] = mapped_column(ForeignKey("vehicle.id"), index=True)
    address_id: Mapped[int | None] = mapped_column(ForeignKey("address.id"), index=True)
    """Of a search for the vehicles at an address; a driver's address is not repeated here."""

    search_by: Mapped[VehicleSearch | None] = mapped_column(choice("search_by", VehicleSearch))
    poll_url: Mapped[str | None] = mapped_column(info=NOT_PERSONAL)
    """Where an answer will be that the provider has promised for later; NULL again once it has come."""

    pending_since: Mapped[datetime | None]
    tenant: Mapped[str | None] = mapped_column(info=NOT_PERSONAL)
    sent_at: Mapped[datetime | None]
    """When a run last began to ask; while the status is `sent`, its calls are not in `provider_call` yet."""

    calls_at_most: Mapped[int | None]
    """Of that run."""

    is_forced: Mapped[bool] = mapped_column(server_default=false())
    """The provider is asked even if the answer is here."""

    question: Mapped[str | None] = mapped_column(info=NOT_PERSONAL)
    """What is asked, as ids and versions of rows; NULL for what is always asked anew."""

    answered_by: Mapped[int | None] = mapped_column(BigInteger)
    """The request whose answer it waits for, or has."""

    mask_at: Mapped[datetime | None]
    """Set at its end where the policy is to mask at once: then, or when its answer is of no more use to others."""

    program_id: Mapped[int | None] = mapped_column(BigInteger)
    producer_id: Mapped[int | None] = mapped_column(BigInteger)
    """For whom it was asked, whose field mappings count. No foreign keys: checking them would hold up a live table."""


class IntegrationVerificationResult(Audited, Base):
    """What one request found out about one driver, vehicle or address.

    `target_entity_id` has no foreign key, it points into one of three tables; the database refuses to delete a row that
    a result points at, with the error a foreign key would give.
    """

    __tablename__ = "integration_verification_result"
    __table_args__ = (
        CheckConstraint("confidence_score BETWEEN 0 AND 100", name="confidence_score"),
        Index("idx_integration_verification_result_target_entity", "target_entity_type", "target_entity_id"),
        Index("idx_integration_verification_result_cache_expires", "cache_expires_at"),
        Index(
            "idx_integration_verification_result_cached_answer",
            "target_entity_type",
            "target_entity_id",
            "verification_type",
            desc("cache_expires_at"),
        ),
        {
            "info": kept(
                2555,
                since="created_at",
                mask_after_days=90,
                with_table="integration_request",
                why="as the request it answers; both are masked and deleted together",
            ),
            "postgresql_with": VACUUMED_SOON,
        },
    )

    id: Mapped[BigId]
    request_id: Mapped[int] = mapped_column(ForeignKey("integration_request.id"), index=True)
    verification_type: Mapped[VerificationType] = mapped_column(
        choice("verification_type", VerificationType), index=True
    )
    target_entity_type: Mapped[TargetEntityType] = mapped_column(choice("target_entity_type", TargetEntityType))
    target_entity_id: Mapped[int] = mapped_column(BigInteger)
    verification_status: Mapped[VerificationStatus] = mapped_column(
        choice("verification_status", VerificationStatus), index=True
    )
    confidence_score: Mapped[Decimal | None] = mapped_column(Confidence)
    verified_data: Mapped[dict[str, Any] | None] = mapped_column(info=personal("document"))
    discrepancies: Mapped[list[Any] | None] = mapped_column(info=personal("document"))
    cache_expires_at: Mapped[datetime | None]
    is_cached_result: Mapped[bool] = mapped_column(server_default=false())
    external_verification_id: Mapped[str | None] = mapped_column(String(100), index=True, info=NOT_PERSONAL)


class AskedQuestion(Base):
    """A question of a tenant: who asks it at the moment, who waits for that, and until when its answer is good.

    `asker` and `answered_by` are ids of requests. Until `open_until` nobody else asks, unless forced to.
    """

    __tablename__ = "asked_question"
    __table_args__ = (
        UniqueConstraint("tenant", "question", name="uq_asked_question_tenant"),
        Index("idx_asked_question_asked_at", "asked_at", "id"),
        {
            "info": kept(90, since="asked_at", why="longer than answers are used again; then a call is made anew"),
            "postgresql_with": {"fillfactor": "50"},  # each row is written again when its asker has ended
        },
    )

    id: Mapped[BigId]
    tenant: Mapped[str] = mapped_column(info=NOT_PERSONAL)
    question: Mapped[str] = mapped_column(info=NOT_PERSONAL)
    asker: Mapped[int] = mapped_column(BigInteger, index=True)
    open_until: Mapped[datetime]
    answered_by: Mapped[int | None] = mapped_column(BigInteger)
    answer_until: Mapped[datetime | None]
    waiting: Mapped[list[uuid.UUID]] = mapped_column(ARRAY(Uuid), server_default=text("'{}'::uuid[]"))
    """Jobs to wake when the asker has ended."""

    asked_at: Mapped[datetime] = mapped_column(server_default=func.now())
