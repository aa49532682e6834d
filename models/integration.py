"""Outside providers: what they offer, how we may call them, and which of their fields goes into which of our columns.

Configurations, mappings and permissions hang on a scope (system, program, producer); the most specific row wins as a
whole, its defaults included.
"""

import uuid
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    Numeric,
    String,
    Text,
    UniqueConstraint,
    false,
    func,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Audited, Base, BigId, Confidence, Price, choice
from models.facts import NOT_PERSONAL, encrypted, kept_while_used, personal
from models.vocabularies import AuthType, DataClass, Environment, NodeDataType, PermissionType, ProviderApi, Scope

CONFIGURATION = kept_while_used("it is configuration, and requests refer to it")


def scope_fits(level: str) -> CheckConstraint:
    """The scope's columns say the same as its name: a system row names nobody, a program row a program only."""
    return CheckConstraint(
        f"({level} = 'system' AND program_id IS NULL AND producer_id IS NULL)"
        f" OR ({level} = 'program' AND program_id IS NOT NULL AND producer_id IS NULL)"
        f" OR ({level} = 'producer' AND producer_id IS NOT NULL)",
        name="scope",
    )


class ThirdPartyIntegration(Audited, Base):
    """An API of a provider. Its defaults serve where no configuration says otherwise; timeouts are seconds.

    `mapping_stamp` changes with each change of its nodes and field mappings: whoever has compiled them looks at it.
    """

    __tablename__ = "third_party_integration"
    __table_args__ = (
        CheckConstraint("default_timeout_seconds > 0", name="default_timeout_seconds"),
        CheckConstraint("default_retry_attempts >= 0", name="default_retry_attempts"),
        CheckConstraint(
            r"array_position(allowed_hosts, '') IS NULL AND array_to_string(allowed_hosts, ' ', '?') ~"
            r" '^((((\*\.)?[a-z0-9_.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?)( |$))*$'",
            name="allowed_hosts",
        ),
        {"info": CONFIGURATION},
    )

    id: Mapped[BigId]
    code: Mapped[str] = mapped_column(String(50), unique=True, info=NOT_PERSONAL)
    name: Mapped[str] = mapped_column(String(100), info=NOT_PERSONAL)
    description: Mapped[str | None] = mapped_column(info=NOT_PERSONAL)
    provider_name: Mapped[str] = mapped_column(String(100), info=NOT_PERSONAL)
    api_version: Mapped[str | None] = mapped_column(String(20), info=NOT_PERSONAL)
    base_url: Mapped[str | None] = mapped_column(String(255), info=NOT_PERSONAL)
    documentation_url: Mapped[str | None] = mapped_column(String(255), info=NOT_PERSONAL)
    is_active: Mapped[bool] = mapped_column(server_default=true(), index=True)
    auth_type: Mapped[AuthType] = mapped_column(choice("auth_type", AuthType))
    api: Mapped[ProviderApi | None] = mapped_column(choice("api", ProviderApi))
    """Which of the provider's APIs it speaks: what it asks about, and how answers are read. NULL: none we know."""

    requires_sandbox: Mapped[bool] = mapped_column(server_default=false())
    default_timeout_seconds: Mapped[int] = mapped_column(server_default=text("30"))
    default_retry_attempts: Mapped[int] = mapped_column(server_default=text("3"))
    mapping_stamp: Mapped[uuid.UUID] = mapped_column(server_default=func.gen_random_uuid())
    allowed_hosts: Mapped[list[str] | None] = mapped_column(ARRAY(Text), info=NOT_PERSONAL)
    """In lower case: `host` with any allowed port, `host:port`, `*.domain`. NULL is any public host."""


class IntegrationConfiguration(Audited, Base):
    """How an API is called in one environment for one scope.

    `retry_attempts` counts calls after the first; `cache_ttl_hours` 0 keeps no answer. Secrets inside `auth_config` are
    ciphertext leaves of the form `{"$enc": "..."}`. The two limits count for all calls with the same credentials,
    whatever process makes them; NULL is no limit. `price_per_call` is in US dollars; NULL is not known.

    A `confidence_score` below `verified_confidence` is partial at most, one below `partial_confidence` has failed; NULL
    trusts the provider's own verdict. Where the provider gives no score (criminal records, vehicles) it is the share of
    our fields that the answer confirms. `match_nicknames` takes Bill for William.
    """

    __tablename__ = "integration_configuration"
    __table_args__ = (
        UniqueConstraint(
            "integration_id",
            "configuration_level",
            "program_id",
            "producer_id",
            "environment",
            name="uq_integration_configuration_scope",
            postgresql_nulls_not_distinct=True,
        ),
        scope_fits("configuration_level"),
        CheckConstraint("timeout_seconds BETWEEN 1 AND 90", name="timeout_seconds"),
        CheckConstraint("retry_attempts >= 0", name="retry_attempts"),
        CheckConstraint("cache_ttl_hours >= 0", name="cache_ttl_hours"),
        # PostgreSQL's NaN is greater than every number, so the upper end refuses it too.
        CheckConstraint("max_requests_per_second BETWEEN 0.001 AND 100000", name="max_requests_per_second"),
        CheckConstraint("max_calls_in_flight > 0", name="max_calls_in_flight"),
        CheckConstraint("verified_confidence BETWEEN 0 AND 100", name="verified_confidence"),
        CheckConstraint("partial_confidence BETWEEN 0 AND 100", name="partial_confidence"),
        CheckConstraint("partial_confidence <= verified_confidence", name="confidence_order"),
        CheckConstraint("price_per_call BETWEEN 0 AND 1000000", name="price_per_call"),
        Index("idx_integration_configuration_level", "configuration_level"),
        {"info": CONFIGURATION},
    )

    id: Mapped[BigId]
    integration_id: Mapped[int] = mapped_column(ForeignKey("third_party_integration.id"), index=True)
    configuration_level: Mapped[Scope] = mapped_column(choice("configuration_level", Scope))
    program_id: Mapped[int | None] = mapped_column(ForeignKey("program.id"), index=True)
    producer_id: Mapped[int | None] = mapped_column(ForeignKey("producer.id"), index=True)
    environment: Mapped[Environment] = mapped_column(choice("environment", Environment), server_default="sandbox")
    endpoint_url: Mapped[str] = mapped_column(String(255), info=NOT_PERSONAL)
    auth_config: Mapped[dict[str, Any]] = mapped_column(info=encrypted("credential"))
    is_enabled: Mapped[bool] = mapped_column(server_default=false(), index=True)
    is_required: Mapped[bool] = mapped_column(server_default=false())
    timeout_seconds: Mapped[int] = mapped_column(server_default=text("30"))
    retry_attempts: Mapped[int] = mapped_column(server_default=text("3"))
    cache_ttl_hours: Mapped[int] = mapped_column(server_default=text("24"))
    max_requests_per_second: Mapped[Decimal | None] = mapped_column(Numeric)
    max_calls_in_flight: Mapped[int | None]
    keeps_owner_id: Mapped[bool] = mapped_column(server_default=false())
    """Of the number that a vehicle's title names its owner by, usually that of social security: the last four digits
    are kept. By default nothing of it is, and never the whole number."""
    price_per_call: Mapped[Decimal | None] = mapped_column(Price)

    verified_confidence: Mapped[Decimal | None] = mapped_column(Confidence)
    partial_confidence: Mapped[Decimal | None] = mapped_column(Confidence)
    match_nicknames: Mapped[bool] = mapped_column(server_default=false())


class IntegrationNode(Audited, Base):
    """A field of an API's answer, by its dotted path, in one version of the API.

    What `pii_class` says to be personal is masked, whatever the rules say about its key.
    """

    __tablename__ = "integration_node"
    __table_args__ = (
        UniqueConstraint("integration_id", "node_path", "api_version", name="uq_integration_node_version"),
        CheckConstraint(
            r"pii_class IS NULL OR node_path ~ '^[\w-]+(\[\*?\])*(\.[\w-]+(\[\*?\])*)*$'", name="personal_path"
        ),
        {"info": CONFIGURATION},
    )

    id: Mapped[BigId]
    integration_id: Mapped[int] = mapped_column(ForeignKey("third_party_integration.id"), index=True)
    node_path: Mapped[str] = mapped_column(String(255), index=True, info=NOT_PERSONAL)
    node_name: Mapped[str] = mapped_column(String(100), info=NOT_PERSONAL)
    node_description: Mapped[str | None] = mapped_column(info=NOT_PERSONAL)
    data_type: Mapped[NodeDataType] = mapped_column(choice("data_type", NodeDataType))
    is_required: Mapped[bool] = mapped_column(server_default=false())
    is_array: Mapped[bool] = mapped_column(server_default=false())
    sample_value: Mapped[str | None] = mapped_column(info=personal("free_text"))
    api_version: Mapped[str] = mapped_column(String(20), index=True, info=NOT_PERSONAL)
    deprecated_in_version: Mapped[str | None] = mapped_column(String(20), info=NOT_PERSONAL)
    pii_class: Mapped[DataClass | None] = mapped_column(choice("pii_class", DataClass))


class IntegrationFieldMapping(Audited, Base):
    """One version of the rule that copies a node into a column. Only one version of a rule is active in a scope.

    A trigger refuses targets that are not `MAPPABLE`, rules that are none, and every change of a version but its end: a
    changed rule is a new version, which names the one it replaced.
    """

    __tablename__ = "integration_field_mapping"
    __table_args__ = (
        scope_fits("mapping_scope"),
        CheckConstraint("version_number >= 1", name="version_number"),
        Index("idx_integration_field_mapping_target", "target_table", "target_column"),
        Index("idx_integration_field_mapping_scope", "mapping_scope", "program_id", "producer_id"),
        Index("idx_integration_field_mapping_version", "version_number", "is_active_version"),
        Index(
            "uq_integration_field_mapping_active",
            "integration_id",
            "source_node_id",
            "target_table",
            "target_column",
            "mapping_scope",
            "program_id",
            "producer_id",
            unique=True,
            postgresql_nulls_not_distinct=True,
            postgresql_where=text("is_active_version"),
        ),
        UniqueConstraint(
            "integration_id",
            "source_node_id",
            "target_table",
            "target_column",
            "mapping_scope",
            "program_id",
            "producer_id",
            "version_number",
            name="uq_integration_field_mapping_version",
            postgresql_nulls_not_distinct=True,
        ),
        {"info": CONFIGURATION},
    )

    id: Mapped[BigId]
    integration_id: Mapped[int] = mapped_column(ForeignKey("third_party_integration.id"), index=True)
    mapping_scope: Mapped[Scope] = mapped_column(choice("mapping_scope", Scope), server_default="system")
    program_id: Mapped[int | None] = mapped_column(ForeignKey("program.id"), index=True)
    producer_id: Mapped[int | None] = mapped_column(ForeignKey("producer.id"), index=True)
    source_node_id: Mapped[int] = mapped_column(ForeignKey("integration_node.id"), index=True)
    target_table: Mapped[str] = mapped_column(String(100), info=NOT_PERSONAL)
    target_column: Mapped[str] = mapped_column(String(100), info=NOT_PERSONAL)
    transformation_rules: Mapped[dict[str, Any] | None] = mapped_column(info=NOT_PERSONAL)
    version_number: Mapped[int] = mapped_column(server_default=text("1"))
    is_active_version: Mapped[bool] = mapped_column(server_default=true())
    replaced_mapping_id: Mapped[int | None] = mapped_column(
        BigInteger, ForeignKey("integration_field_mapping.id"), index=True
    )
    validation_rules: Mapped[dict[str, Any] | None] = mapped_column(info=NOT_PERSONAL)


class IntegrationPermission(Audited, Base):
    """What a user, role or group may do with an integration inside a scope.

    Roles and groups have no tables: `permission_target_id` is their name, or the user's UUID as text.
    """

    __tablename__ = "integration_permission"
    __table_args__ = (
        UniqueConstraint(
            "integration_id",
            "permission_type",
            "permission_target_id",
            "scope_level",
            "program_id",
            "producer_id",
            name="uq_integration_permission",
            postgresql_nulls_not_distinct=True,
        ),
        scope_fits("scope_level"),
        CheckConstraint(
            "permission_type <> 'user'"
            " OR permission_target_id ~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$'",
            name="target",
        ),
        Index("idx_integration_permission_permission_target", "permission_type", "permission_target_id"),
        Index("idx_integration_permission_scope", "scope_level", "program_id", "producer_id"),
        {"info": CONFIGURATION},
    )

    id: Mapped[BigId]
    integration_id: Mapped[int] = mapped_column(ForeignKey("third_party_integration.id"), index=True)
    permission_type: Mapped[PermissionType] = mapped_column(choice("permission_type", PermissionType))
    permission_target_id: Mapped[str] = mapped_column(String(36), info=NOT_PERSONAL)
    can_configure: Mapped[bool] = mapped_column(server_default=false())
    can_view_raw_responses: Mapped[bool] = mapped_column(server_default=false())
    can_manage_mappings: Mapped[bool] = mapped_column(server_default=false())
    can_enable_disable: Mapped[bool] = mapped_column(server_default=false())
    can_force_calls: Mapped[bool] = mapped_column(server_default=false())
    """May have the provider asked, and paid, although an answer is at hand."""

    scope_level: Mapped[Scope] = mapped_column(choice("scope_level", Scope), server_default="producer")
    program_id: Mapped[int | None] = mapped_column(ForeignKey("program.id"), index=True)
    producer_id: Mapped[int | None] = mapped_column(ForeignKey("producer.id"), index=True)
