"""Rotation of refresh tokens with detection of reuse, and expiry of access tokens, sessions and clients.

New functions and new bodies of two; no table changes.
"""

from importlib import import_module

from alembic import op

revision = "029"
down_revision = "028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(REVOKE_FAMILY)
    op.execute(ROTATE)
    op.execute("DROP FUNCTION revoke_user_tokens(uuid, text)")
    op.execute(REVOKE_USER)
    op.execute(CLEANUP)


def downgrade() -> None:
    before = import_module("migrations.versions.009_add_missing_oauth2_tables")
    op.execute(before.CLEANUP.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"))
    op.execute("DROP FUNCTION revoke_user_tokens(uuid, text)")
    op.execute(before.REVOKE)
    op.execute("DROP FUNCTION rotate_refresh_token(uuid, varchar, varchar, interval, interval, varchar, inet, text)")
    op.execute("DROP FUNCTION revoke_token_family(uuid, text)")


# The caller holds the family's lock. Used members are revoked as well, which ends the grace of the last rotation.
# Revoking a refresh token ends the access tokens that came with it (RFC 7009).
REVOKE_FAMILY = """
    CREATE FUNCTION revoke_token_family(p_family_id uuid, p_reason text) RETURNS integer
    LANGUAGE sql VOLATILE AS $$
      WITH revoked AS (
        UPDATE oauth2_refresh_tokens SET revoked_at = now(), revoke_reason = left(p_reason, 100)
         WHERE family_id = p_family_id AND revoked_at IS NULL AND expires_at > now()
        RETURNING client_id, user_id, token_hash, access_token_hash, revoke_reason
      ), access AS (
        UPDATE oauth2_access_tokens a SET revoked_at = now()
          FROM revoked
         WHERE a.token_hash = revoked.access_token_hash AND a.revoked_at IS NULL AND a.expires_at > now()
        RETURNING a.client_id, revoked.user_id, a.token_hash, revoked.revoke_reason
      ), logged AS (
        INSERT INTO oauth2_token_logs (client_id, user_id, token_type, token_hash, action, reason)
        SELECT client_id, user_id, 'refresh_token', token_hash, 'revoked', revoke_reason FROM revoked
        UNION ALL
        SELECT client_id, user_id, 'access_token', token_hash, 'revoked', revoke_reason FROM access
        RETURNING token_type
      )
      SELECT count(*)::integer FROM logged WHERE token_type = 'refresh_token'
    $$
"""

# Answers with an outcome instead of an error, so that what it logs is committed with it:
#   rotated   p_new_hash is a token now, and the old one is used up
#   graced    the same, for a client that asks again within p_grace because an answer was lost or two requests crossed
#   reused    the old token had been used before: its family is revoked, and whoever has the rest of it must log in
#   expired, revoked, unknown, client_over: nothing changed
#
# Two locks make it safe against callers at the same time. The family's: a rotation that is under way would else add a
# child that the revocation of its family does not see. The user's, shared by rotations, for the same reason against
# revoke_user_tokens. The rotation itself is one conditional UPDATE, so it can never fork a family by accident.
#
# Grace is for the immediately preceding token only: once its child has been used, it is a token of the past. A family
# that was revoked on purpose has no grace.
ROTATE = """
    CREATE FUNCTION rotate_refresh_token(
      p_client_id uuid,
      p_old_hash varchar,
      p_new_hash varchar,
      p_lifetime interval DEFAULT interval '30 days',
      p_grace interval DEFAULT interval '30 seconds',
      p_access_hash varchar DEFAULT NULL,
      p_ip inet DEFAULT NULL,
      p_user_agent text DEFAULT NULL,
      OUT outcome text,
      OUT token_id uuid,
      OUT family uuid,
      OUT token_user uuid,
      OUT token_scopes jsonb
    ) LANGUAGE plpgsql VOLATILE AS $$
    DECLARE
      old oauth2_refresh_tokens;
      revoked integer;
    BEGIN
      IF p_new_hash IS NULL OR p_new_hash = p_old_hash THEN
        RAISE invalid_parameter_value USING MESSAGE = 'p_new_hash must be the hash of a new token';
      END IF;
      IF p_lifetime IS NULL OR p_lifetime <= interval '0' THEN
        RAISE invalid_parameter_value USING MESSAGE = 'p_lifetime must be longer than nothing';
      END IF;
      IF p_grace IS NULL OR p_grace NOT BETWEEN interval '0' AND interval '60 seconds' THEN
        RAISE invalid_parameter_value USING MESSAGE = 'p_grace must lie between 0 and 60 seconds';
      END IF;

      SELECT * INTO old FROM oauth2_refresh_tokens WHERE token_hash = p_old_hash AND client_id = p_client_id;
      IF NOT FOUND THEN
        outcome := 'unknown';  -- also where it is another client's, who is not told of it
        RETURN;
      END IF;
      IF old.user_id IS NOT NULL THEN
        PERFORM pg_advisory_xact_lock_shared(hashtextextended('tokens of user ' || old.user_id, 0));
      END IF;
      PERFORM pg_advisory_xact_lock(hashtextextended('tokens of family ' || old.family_id, 0));
      IF NOT EXISTS (SELECT FROM oauth2_clients WHERE id = p_client_id AND is_active
                        AND (expires_at IS NULL OR expires_at > clock_timestamp())) THEN
        outcome := 'client_over';
        RETURN;
      END IF;

      -- The clock, not the transaction's time: that may be older than a use which this call waited for.
      UPDATE oauth2_refresh_tokens SET used_at = clock_timestamp()
       WHERE id = old.id AND used_at IS NULL AND revoked_at IS NULL AND expires_at > clock_timestamp()
      RETURNING 'rotated' INTO outcome;
      IF NOT FOUND THEN
        SELECT * INTO old FROM oauth2_refresh_tokens WHERE id = old.id;
        outcome := CASE
          WHEN old.id IS NULL THEN 'unknown'
          WHEN old.revoked_at IS NOT NULL THEN 'revoked'
          WHEN old.used_at IS NULL THEN 'expired'
          WHEN old.used_at > clock_timestamp() - p_grace AND old.expires_at > clock_timestamp()
               AND NOT EXISTS (SELECT FROM oauth2_refresh_tokens child
                                WHERE child.parent_token_id = old.id
                                  AND (child.used_at IS NOT NULL OR child.revoked_at IS NOT NULL)) THEN 'graced'
          WHEN NOT EXISTS (SELECT FROM oauth2_refresh_tokens member
                            WHERE member.family_id = old.family_id AND member.expires_at > clock_timestamp())
            THEN 'expired'
          ELSE 'reused'
        END;
      END IF;
      family := old.family_id;
      token_user := old.user_id;

      IF outcome IN ('rotated', 'graced') THEN
        INSERT INTO oauth2_refresh_tokens (client_id, user_id, token_hash, access_token_hash, scopes, family_id,
                                           parent_token_id, expires_at, ip_address, user_agent)
        VALUES (old.client_id, old.user_id, p_new_hash, p_access_hash, old.scopes, old.family_id,
                old.id, clock_timestamp() + p_lifetime, p_ip, p_user_agent)
        RETURNING id INTO token_id;
        token_scopes := old.scopes;
        INSERT INTO oauth2_token_logs (client_id, user_id, token_type, token_hash, action, reason, risk_score,
                                       security_flags, ip_address, user_agent)
        VALUES (old.client_id, old.user_id, 'refresh_token', p_new_hash, 'refreshed',
                CASE outcome WHEN 'graced' THEN 'repeated_within_grace' END,
                CASE outcome WHEN 'graced' THEN 0.30 END,
                CASE outcome WHEN 'graced' THEN '["grace"]'::jsonb ELSE '[]' END, p_ip, p_user_agent);
      ELSIF outcome = 'reused' THEN
        revoked := revoke_token_family(old.family_id, 'refresh_token_reuse');
        INSERT INTO oauth2_token_logs (client_id, user_id, token_type, token_hash, action, reason, risk_score,
                                       security_flags, ip_address, user_agent)
        VALUES (old.client_id, old.user_id, 'refresh_token', old.token_hash, 'used', 'refresh_token_reuse', 0.90,
                '["refresh_token_reuse", "family_revoked"]', p_ip, p_user_agent);
        INSERT INTO audit_logs (user_id, action, resource_type, resource_id, risk_score, security_alerts, details)
        VALUES (old.user_id, 'tokens.reused', 'oauth2_token_family', old.family_id, 0.90, '["refresh_token_reuse"]',
                jsonb_build_object('client_id', old.client_id, 'tokens_revoked', revoked));
      ELSIF outcome = 'revoked' THEN
        -- Once a minute: somebody who tries on and on shall not fill the log.
        INSERT INTO oauth2_token_logs (client_id, user_id, token_type, token_hash, action, reason, risk_score,
                                       security_flags, ip_address, user_agent)
        SELECT old.client_id, old.user_id, 'refresh_token', old.token_hash, 'used', 'revoked_token', 0.60,
               '["refused"]', p_ip, p_user_agent
         WHERE NOT EXISTS (SELECT FROM oauth2_token_logs l
                            WHERE l.token_hash = old.token_hash AND l.reason = 'revoked_token'
                              AND l.created_at > now() - interval '1 minute');
      END IF;
    END $$
"""

# As in 009: one UPDATE feeds the log. New: it waits for rotations that are under way, and takes access tokens along.
REVOKE_USER = """
    CREATE FUNCTION revoke_user_tokens(p_user_id uuid, p_reason text DEFAULT 'revoked_by_user') RETURNS integer
    LANGUAGE plpgsql VOLATILE AS $$
    DECLARE
      revoked_count integer;
    BEGIN
      PERFORM pg_advisory_xact_lock(hashtextextended('tokens of user ' || p_user_id, 0));
      WITH revoked AS (
        UPDATE oauth2_refresh_tokens
           SET revoked_at = now(), revoke_reason = left(p_reason, 100)
         WHERE user_id = p_user_id AND revoked_at IS NULL AND expires_at > now()
        RETURNING client_id, user_id, token_hash, access_token_hash, revoke_reason
      ), access AS (
        UPDATE oauth2_access_tokens a SET revoked_at = now()
          FROM revoked
         WHERE a.token_hash = revoked.access_token_hash AND a.revoked_at IS NULL AND a.expires_at > now()
        RETURNING a.client_id, revoked.user_id, a.token_hash, revoked.revoke_reason
      ), logged AS (
        INSERT INTO oauth2_token_logs (client_id, user_id, token_type, token_hash, action, reason)
        SELECT client_id, user_id, 'refresh_token', token_hash, 'revoked', revoke_reason FROM revoked
        UNION ALL
        SELECT client_id, user_id, 'access_token', token_hash, 'revoked', revoke_reason FROM access
        RETURNING token_type
      )
      SELECT count(*) FROM logged WHERE token_type = 'refresh_token' INTO revoked_count;
      IF revoked_count > 0 THEN
        INSERT INTO audit_logs (user_id, action, resource_type, resource_id, details)
        VALUES (p_user_id, 'tokens.revoked', 'user', p_user_id, jsonb_build_object('tokens_revoked', revoked_count));
      END IF;
      RETURN revoked_count;
    END $$
"""

# As in 009, with access tokens beside refresh tokens and codes.
CLEANUP = """
    CREATE OR REPLACE FUNCTION cleanup_expired_oauth2_tokens(p_batch integer DEFAULT 5000) RETURNS integer
    LANGUAGE plpgsql VOLATILE AS $$
    DECLARE
      token_grace CONSTANT interval := '7 days';
      code_grace CONSTANT interval := '24 hours';
      access_grace CONSTANT interval := '1 day';
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

      -- A used access token expires like an unused one: it is good for any number of calls until then.
      INSERT INTO oauth2_token_logs (client_id, token_type, token_hash, action)
      SELECT a.client_id, 'access_token', a.token_hash, 'expired'
        FROM oauth2_access_tokens a
       WHERE a.expires_at <= now() AND a.revoked_at IS NULL
         AND NOT EXISTS (SELECT FROM oauth2_token_logs l WHERE l.token_type = 'access_token'
                            AND l.token_hash = a.token_hash AND l.action = 'expired')
       ORDER BY a.expires_at
       LIMIT p_batch
         FOR UPDATE OF a SKIP LOCKED
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

      DELETE FROM oauth2_access_tokens WHERE token_hash IN (
        SELECT a.token_hash
          FROM oauth2_access_tokens a
         WHERE a.expires_at < now() - access_grace
           AND (a.revoked_at IS NOT NULL
                OR EXISTS (SELECT FROM oauth2_token_logs l WHERE l.token_type = 'access_token'
                              AND l.token_hash = a.token_hash AND l.action = 'expired'))
         ORDER BY a.expires_at
         LIMIT p_batch
           FOR UPDATE OF a SKIP LOCKED);
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
