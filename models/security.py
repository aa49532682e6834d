"""How users prove who they are: identity providers, second factors and sessions.

Secrets that must be read back are ciphertext (`…_encrypted`), all others are hashes.
"""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, false, func, text, true
from sqlalchemy.dialects.postgresql import INET
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Hash, IpAddress, Timestamped, UuidId, choice
from models.facts import NOT_PERSONAL, encrypted, kept, kept_while_used, kept_with, personal
from models.vocabularies import MfaMethod, SsoProviderType


class SsoProvider(Timestamped, Base):
    """An identity provider for single sign-on."""

    __tablename__ = "sso_providers"
    __table_args__ = ({"info": kept_while_used("it is configuration")},)

    id: Mapped[UuidId]
    provider_name: Mapped[str] = mapped_column(String(100), unique=True, info=NOT_PERSONAL)
    provider_type: Mapped[SsoProviderType] = mapped_column(choice("provider_type", SsoProviderType))
    client_id: Mapped[str] = mapped_column(String(255), info=NOT_PERSONAL)
    client_secret_encrypted: Mapped[str | None] = mapped_column(info=encrypted("credential"))
    configuration: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"), info=NOT_PERSONAL)
    is_enabled: Mapped[bool] = mapped_column(server_default=true())


class UserMfaSettings(Timestamped, Base):
    """A user's second factors. Secret, telephone number and recovery codes are ciphertext."""

    __tablename__ = "user_mfa_settings"
    __table_args__ = ({"info": kept_with("users")},)

    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"), primary_key=True)
    preferred_method: Mapped[MfaMethod | None] = mapped_column(choice("preferred_method", MfaMethod))
    totp_enabled: Mapped[bool] = mapped_column(server_default=false())
    totp_secret_encrypted: Mapped[str | None] = mapped_column(info=encrypted("credential"))
    webauthn_enabled: Mapped[bool] = mapped_column(server_default=false())
    webauthn_credentials: Mapped[list[Any]] = mapped_column(
        server_default=text("'[]'::jsonb"), info=personal("credential")
    )
    sms_enabled: Mapped[bool] = mapped_column(server_default=false())
    sms_phone_encrypted: Mapped[str | None] = mapped_column(info=encrypted("contact"))
    recovery_codes_encrypted: Mapped[str | None] = mapped_column(info=encrypted("credential"))


class UserSession(Base):
    """A login that is open until `expires_at` or `revoked_at`; known by the SHA-256 of its token."""

    __tablename__ = "user_sessions"
    __table_args__ = (
        Index("idx_user_sessions_unmasked", "expires_at", "id", postgresql_where=text("pii_rule_version IS NULL")),
        {
            "info": kept(
                90, since="expires_at", mask_after_days=30, why="long enough to look into a break-in reported late"
            )
        },
    )

    id: Mapped[UuidId]
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"), index=True)
    session_token_hash: Mapped[Hash] = mapped_column(unique=True, info=personal("credential"))
    sso_provider_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("sso_providers.id"), index=True)
    ip_address: Mapped[IpAddress | None] = mapped_column(INET, info=personal("network"))
    user_agent: Mapped[str | None] = mapped_column(info=personal("network"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime] = mapped_column(index=True)
    revoked_at: Mapped[datetime | None]
    pii_rule_version: Mapped[int | None]
    """Of the rules that address and browser were masked by."""
