"""Refresh tokens, authorization codes, their log, and the functions that expire and revoke tokens."""

import sqlalchemy as sa
from alembic import op

from migrations.columns import (
    Hash,
    Inet,
    Instant,
    choice,
    drop_tables,
    json_list,
    made_at,
    reference,
    required,
    user,
    uuid_id,
)

revision = "009"
down_revision = "008"
branch_labels = None
depends_on = None

# One UPDATE feeds the log: selecting the tokens again by their time of revocation would log those of an earlier call in
# the same transaction a second time. Used tokens are revoked as well, which ends the grace that rotation may give them.
REVOKE = """
    CREATE FUNCTION revoke_user_tokens(p_user_id uuid, p_reason text DEFAULT 'revoked_by_user') RETURNS integer
    LANGUAGE sql VOLATILE AS $$
      WITH revoked AS (
        UPDATE oauth2_refresh_tokens
           SET revoked_at = now(), revoke_reason = left(p_reason, 100)
         WHERE user_id = p_user_id AND revoked_at IS NULL AND expires_at > now()
        RETURNING client_id, user_id, token_hash, revoke_reason
      ), logged AS (
        INSERT INTO oauth2_token_logs (client_id, user_id, token_type, token_hash, action, reason)
        SELECT client_id, user_id, 'refresh_token', token_hash, 'revoked', revoke_reason FROM revoked
        RETURNING 1
      )
      SELECT count(*)::integer FROM logged
    $$
"""

# Every step takes at most p_batch rows; the result counts rows written and removed, so a caller repeats until 0.
# - One caller at a time: the others have nothing to do and return 0.
# - The event first, the row later, and no row without its event.
# - A refresh token stays while any member of its family has not expired: without the used and revoked members a
#   stolen token would not be recognised.
# - The log itself is an audit trail with a retention of its own; nothing is removed from it here.
CLEANUP = """
    CREATE FUNCTION cleanup_expired_oauth2_tokens(p_batch integer DEFAULT 5000) RETURNS integer
    LANGUAGE plpgsql VOLATILE AS $$
    DECLARE
      token_grace CONSTANT interval := '7 days';
      code_grace CONSTANT interval := '24 hours';
      changed integer := 0;
      step integer;
    BEGIN
      IF p_batch IS NULL OR p_batch < 1 THEN
        RAISE invalid_parameter_value USING MESSAGE = 'p_batch must be at least 1';
      END IF;
      IF NOT pg_try_advisory_xact_lock(hashtextextended('cleanup_expired_oauth2_tokens', 0)) THEN
        RETURN 0;
      END IF;

      INSERT INTO oauth2_token_logs (client_id, user_id, token_type, token_hash, action)
      SELECT t.client_id, t.user_id, 'refresh_token', t.token_hash, 'expired'
        FROM oauth2_refresh_tokens t
       WHERE t.expires_at <= now() AND t.used_at IS NULL AND t.revoked_at IS NULL
         AND NOT EXISTS (SELECT FROM oauth2_token_logs l WHERE l.token_type = 'refresh_token'
                            AND l.token_hash = t.token_hash AND l.action = 'expired')
       ORDER BY t.expires_at, t.id
       LIMIT p_batch
         FOR UPDATE OF t SKIP LOCKED
      ON CONFLICT DO NOTHING;
      GET DIAGNOSTICS step = ROW_COUNT;
      changed := changed + step;

      INSERT INTO oauth2_token_logs (client_id, user_id, token_type, token_hash, action)
      SELECT c.client_id, c.user_id, 'authorization_code', c.code_hash, 'expired'
        FROM oauth2_authorization_codes c
       WHERE c.expires_at <= now() AND c.used_at IS NULL
         AND NOT EXISTS (SELECT FROM oauth2_token_logs l WHERE l.token_type = 'authorization_code'
                            AND l.token_hash = c.code_hash AND l.action = 'expired')
       ORDER BY c.expires_at, c.id
       LIMIT p_batch
         FOR UPDATE OF c SKIP LOCKED
      ON CONFLICT DO NOTHING;
      GET DIAGNOSTICS step = ROW_COUNT;
      changed := changed + step;

      DELETE FROM oauth2_refresh_tokens WHERE id IN (
        SELECT t.id
          FROM oauth2_refresh_tokens t
         WHERE t.expires_at < now() - token_grace
           AND NOT EXISTS (SELECT FROM oauth2_refresh_tokens member
                            WHERE member.family_id = t.family_id AND member.expires_at > now())
           AND (t.used_at IS NOT NULL OR t.revoked_at IS NOT NULL
                OR EXISTS (SELECT FROM oauth2_token_logs l WHERE l.token_type = 'refresh_token'
                              AND l.token_hash = t.token_hash AND l.action = 'expired'))
         ORDER BY t.expires_at, t.id
         LIMIT p_batch
           FOR UPDATE OF t SKIP LOCKED);
      GET DIAGNOSTICS step = ROW_COUNT;
      changed := changed + step;

      DELETE FROM oauth2_authorization_codes WHERE id IN (
        SELECT c.id
          FROM oauth2_authorization_codes c
         WHERE c.expires_at < now() - code_grace
           AND (c.used_at IS NOT NULL
                OR EXISTS (SELECT FROM oauth2_token_logs l WHERE l.token_type = 'authorization_code'
                              AND l.token_hash = c.code_hash AND l.action = 'expired'))
         ORDER BY c.expires_at, c.id
         LIMIT p_batch
           FOR UPDATE OF c SKIP LOCKED);
      GET DIAGNOSTICS step = ROW_COUNT;
      RETURN changed + step;
    END $$
"""


def upgrade() -> None:
    op.create_table(
        "oauth2_refresh_tokens",
        uuid_id(),
        reference("oauth2_clients", "client_id", sa.Uuid),
        user("user_id", nullable=True),
        required("token_hash", Hash, unique=True),
        sa.Column("access_token_hash", Hash, index=True),
        json_list("scopes"),
        required("family_id", sa.Uuid, server_default=sa.func.gen_random_uuid(), index=True),
        reference("oauth2_refresh_tokens", "parent_token_id", sa.Uuid, nullable=True, ondelete="SET NULL"),
        made_at(),
        required("expires_at", Instant),
        sa.Column("used_at", Instant),
        sa.Column("revoked_at", Instant, index=True),
        sa.Column("revoke_reason", sa.String(100)),
        sa.Column("ip_address", Inet),
        sa.Column("user_agent", sa.Text),
    )
    op.create_index("idx_oauth2_refresh_tokens_expires_at", "oauth2_refresh_tokens", ["expires_at", "id"])

    op.create_table(
        "oauth2_token_logs",
        uuid_id(),
        reference("oauth2_clients", "client_id", sa.Uuid, ondelete="RESTRICT"),
        reference("users", "user_id", sa.Uuid, nullable=True, ondelete="SET NULL"),
        choice("token_type", "access_token", "refresh_token", "authorization_code"),
        sa.Column("token_hash", Hash, index=True),
        choice("action", "issued", "refreshed", "revoked", "expired", "used", "introspected", index=True),
        sa.Column("reason", sa.String(100)),
        sa.Column("risk_score", sa.Numeric(3, 2)),
        json_list("security_flags"),
        sa.Column("ip_address", Inet),
        sa.Column("user_agent", sa.Text),
        made_at(),
        sa.CheckConstraint("risk_score BETWEEN 0 AND 1", name="risk_score"),
    )
    op.create_index("idx_oauth2_token_logs_created_at", "oauth2_token_logs", ["created_at", "id"])
    # A token expires once, however many cleanups see it.
    op.create_index(
        "uq_oauth2_token_logs_expired",
        "oauth2_token_logs",
        ["token_type", "token_hash"],
        unique=True,
        postgresql_where=sa.text("action = 'expired'"),
    )

    op.create_table(
        "oauth2_authorization_codes",
        uuid_id(),
        reference("oauth2_clients", "client_id", sa.Uuid),
        user("user_id"),
        required("code_hash", Hash, unique=True),
        required("redirect_uri", sa.Text),
        json_list("scopes"),
        sa.Column("code_challenge", sa.String(128)),
        choice("code_challenge_method", "S256", "plain", nullable=True),
        sa.Column("nonce", sa.String(255)),
        sa.Column("ip_address", Inet),
        made_at(),
        required("expires_at", Instant),
        sa.Column("used_at", Instant),
        sa.CheckConstraint("(code_challenge IS NULL) = (code_challenge_method IS NULL)", name="code_challenge"),
    )
    op.create_index("idx_oauth2_authorization_codes_expires_at", "oauth2_authorization_codes", ["expires_at", "id"])
    op.execute(REVOKE)
    op.execute(CLEANUP)


def downgrade() -> None:
    op.execute("DROP FUNCTION cleanup_expired_oauth2_tokens(integer)")
    op.execute("DROP FUNCTION revoke_user_tokens(uuid, text)")
    drop_tables("oauth2_authorization_codes", "oauth2_token_logs", "oauth2_refresh_tokens")
