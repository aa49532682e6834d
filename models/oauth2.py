"""OAuth2: clients, access tokens, rotating refresh tokens, single-use codes and the log of what happened to each.

Tokens are known by their SHA-256 only. All tokens that come from one grant are a family; a token that is presented
after it was used betrays a thief, which is why used and revoked members stay until the whole family is over.
"""

import uuid
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, func, text, true
from sqlalchemy.dialects.postgresql import INET
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Hash, IpAddress, RiskScore, Timestamped, UuidId, choice
from models.facts import NOT_PERSONAL, kept, kept_while_used, personal
from models.vocabularies import CodeChallengeMethod, TokenAction, TokenType

NO_ENTRIES = text("'[]'::jsonb")


class OAuth2Client(Timestamped, Base):
    """An application that may ask for tokens. A client without a secret is public."""

    __tablename__ = "oauth2_clients"
    __table_args__ = (
        CheckConstraint("validate_grant_types(allowed_grant_types)", name="allowed_grant_types"),
        CheckConstraint("jsonb_typeof(redirect_uris) = 'array'", name="redirect_uris"),
        CheckConstraint("jsonb_typeof(allowed_scopes) = 'array'", name="allowed_scopes"),
        CheckConstraint("jsonb_typeof(tenants) = 'array'", name="tenants"),
        CheckConstraint("rate_limit_per_minute > 0", name="rate_limit_per_minute"),
        CheckConstraint("rate_limit_per_hour > 0", name="rate_limit_per_hour"),
        {"info": kept_while_used("the token log refers to it")},
    )

    id: Mapped[UuidId]
    client_id: Mapped[str] = mapped_column(String(100), unique=True, info=NOT_PERSONAL)
    client_secret_hash: Mapped[str | None] = mapped_column(String(255), info=personal("credential"))
    client_name: Mapped[str] = mapped_column(String(100), info=NOT_PERSONAL)
    redirect_uris: Mapped[list[Any]] = mapped_column(server_default=NO_ENTRIES, info=NOT_PERSONAL)
    allowed_grant_types: Mapped[list[Any]] = mapped_column(
        server_default=text("""'["authorization_code", "refresh_token"]'::jsonb"""), info=NOT_PERSONAL
    )
    allowed_scopes: Mapped[list[Any]] = mapped_column(server_default=NO_ENTRIES, info=NOT_PERSONAL)
    rate_limit_per_minute: Mapped[int] = mapped_column(server_default=text("60"))
    rate_limit_per_hour: Mapped[int] = mapped_column(server_default=text("1000"))
    is_active: Mapped[bool] = mapped_column(server_default=true())
    expires_at: Mapped[datetime | None]
    tenants: Mapped[list[Any]] = mapped_column(server_default=NO_ENTRIES, info=NOT_PERSONAL)
    """Whose jobs it may ask for and see, as `job.tenant` has them; with none it sees nothing."""


class OAuth2AccessToken(Base):
    """An opaque token of the client credentials grant: good for a few minutes, worth nothing once it is revoked."""

    __tablename__ = "oauth2_access_tokens"
    __table_args__ = (
        CheckConstraint("jsonb_typeof(scopes) = 'array'", name="scopes"),
        {"info": kept(1, since="expires_at", why="whoever still presents it is told that it has expired")},
    )

    token_hash: Mapped[Hash] = mapped_column(primary_key=True, info=personal("credential"))
    client_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("oauth2_clients.id"), index=True)
    scopes: Mapped[list[Any]] = mapped_column(server_default=NO_ENTRIES, info=NOT_PERSONAL)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime] = mapped_column(index=True)
    used_at: Mapped[datetime | None]
    """When it was first used."""

    revoked_at: Mapped[datetime | None]


class OAuth2RequestCount(Base):
    """How often a client has asked since `began_at`, the begin of its current span of `span_s` seconds."""

    __tablename__ = "oauth2_request_counts"
    __table_args__ = ({"info": kept_while_used("a row for each client and span, counted anew in each span")},)

    client_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("oauth2_clients.id"), primary_key=True)
    span_s: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    began_at: Mapped[datetime]
    requests: Mapped[int]


class OAuth2RefreshToken(Base):
    """A refresh token. Rotation sets `used_at` and makes a child in the same family, in one conditional update."""

    __tablename__ = "oauth2_refresh_tokens"
    __table_args__ = (
        Index("idx_oauth2_refresh_tokens_expires_at", "expires_at", "id"),
        {"info": kept(7, since="expires_at", why="a stolen token is recognised only while its family is known")},
    )

    id: Mapped[UuidId]
    client_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("oauth2_clients.id"), index=True)
    user_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("users.id"), index=True)
    token_hash: Mapped[Hash] = mapped_column(unique=True, info=personal("credential"))
    access_token_hash: Mapped[Hash | None] = mapped_column(index=True, info=personal("credential"))
    scopes: Mapped[list[Any]] = mapped_column(server_default=NO_ENTRIES, info=NOT_PERSONAL)
    family_id: Mapped[uuid.UUID] = mapped_column(server_default=func.gen_random_uuid(), index=True)
    parent_token_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("oauth2_refresh_tokens.id", ondelete="SET NULL"), index=True
    )
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None] = mapped_column(index=True)
    revoke_reason: Mapped[str | None] = mapped_column(String(100), info=NOT_PERSONAL)
    ip_address: Mapped[IpAddress | None] = mapped_column(INET, info=personal("network"))
    user_agent: Mapped[str | None] = mapped_column(info=personal("network"))


class OAuth2TokenLog(Base):
    """One event in a token's life. It has no key to the tokens, which go earlier; a client with events cannot go."""

    __tablename__ = "oauth2_token_logs"
    __table_args__ = (
        CheckConstraint("risk_score BETWEEN 0 AND 1", name="risk_score"),
        Index("idx_oauth2_token_logs_created_at", "created_at", "id"),
        # A token expires once, however many cleanups see it.
        Index(
            "uq_oauth2_token_logs_expired",
            "token_type",
            "token_hash",
            unique=True,
            postgresql_where=text("action = 'expired'"),
        ),
        Index("idx_oauth2_token_logs_unmasked", "created_at", "id", postgresql_where=text("pii_rule_version IS NULL")),
        {
            "info": kept(
                730, since="created_at", mask_after_days=90, why="evidence for security audits, two reporting years"
            )
        },
    )

    id: Mapped[UuidId]
    client_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("oauth2_clients.id", ondelete="RESTRICT"), index=True)
    user_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"), index=True)
    token_type: Mapped[TokenType] = mapped_column(choice("token_type", TokenType))
    token_hash: Mapped[Hash | None] = mapped_column(index=True, info=personal("credential"))
    action: Mapped[TokenAction] = mapped_column(choice("action", TokenAction), index=True)
    reason: Mapped[str | None] = mapped_column(String(100), info=NOT_PERSONAL)
    risk_score: Mapped[Decimal | None] = mapped_column(RiskScore)
    security_flags: Mapped[list[Any]] = mapped_column(server_default=NO_ENTRIES, info=NOT_PERSONAL)
    ip_address: Mapped[IpAddress | None] = mapped_column(INET, info=personal("network"))
    user_agent: Mapped[str | None] = mapped_column(info=personal("network"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    pii_rule_version: Mapped[int | None]
    """Of the rules that address and browser were masked by."""


class OAuth2AuthorizationCode(Base):
    """A code that is exchanged for tokens once, with the PKCE challenge it must answer (RFC 7636)."""

    __tablename__ = "oauth2_authorization_codes"
    __table_args__ = (
        CheckConstraint("(code_challenge IS NULL) = (code_challenge_method IS NULL)", name="code_challenge"),
        Index("idx_oauth2_authorization_codes_expires_at", "expires_at", "id"),
        {"info": kept(1, since="expires_at", why="a replayed code is recognised for a day")},
    )

    id: Mapped[UuidId]
    client_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("oauth2_clients.id"), index=True)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"), index=True)
    code_hash: Mapped[Hash] = mapped_column(unique=True, info=personal("credential"))
    redirect_uri: Mapped[str] = mapped_column(info=NOT_PERSONAL)
    scopes: Mapped[list[Any]] = mapped_column(server_default=NO_ENTRIES, info=NOT_PERSONAL)
    code_challenge: Mapped[str | None] = mapped_column(String(128), info=personal("credential"))
    code_challenge_method: Mapped[CodeChallengeMethod | None] = mapped_column(
        choice("code_challenge_method", CodeChallengeMethod)
    )
    nonce: Mapped[str | None] = mapped_column(String(255), info=personal("credential"))
    ip_address: Mapped[IpAddress | None] = mapped_column(INET, info=personal("network"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
