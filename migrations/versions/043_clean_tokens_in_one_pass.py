"""Ending the last token takes no longer than the first: a pass goes on where it stopped, and looks up by index.

A new function, and a new body of the one that calls it; no table changes.
"""

from importlib import import_module

from alembic import op

revision = "043"
down_revision = "042"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(CLEAN)
    op.execute(CLEANUP)


def downgrade() -> None:
    before = import_module("migrations.versions.029_rotate_tokens")
    op.execute(before.CLEANUP)
    op.execute("DROP FUNCTION clean_oauth2_tokens(integer, jsonb)")


# Tokens that have said that they expired stay for days, and members of a living family for longer. So whoever calls
# again and again hands back as p_after what the last call gave as `after`: the time up to which each kind is done. It
# is NULL when nothing is left but what others have locked.
#
# A token leaves only once its event is there: no deletion goes past the events of its kind.
#
# The log is large and the tables' statistics are those of an hour ago, when they may have been empty. Left alone, the
# planner would compare each token with every row of the log; so it is told to look up, and OFFSET 0 keeps each EXISTS
# a look-up of its own.
CLEAN = """
    CREATE FUNCTION clean_oauth2_tokens(p_batch integer, p_after jsonb DEFAULT NULL) RETURNS jsonb
    LANGUAGE plpgsql VOLATILE
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
    DECLARE
      token_grace CONSTANT interval := '7 days';
      code_grace CONSTANT interval := '24 hours';
      access_grace CONSTANT interval := '1 day';
      since timestamptz;
      until timestamptz;
      expired integer := 0;
      removed integer := 0;
      step integer;
      taken integer;
      reached timestamptz;
      ends jsonb := '{}';
      is_over boolean := true;
    BEGIN
      IF p_batch IS NULL OR p_batch < 1 THEN
        RAISE invalid_parameter_value USING MESSAGE = 'p_batch must be at least 1';
      END IF;
      IF NOT pg_try_advisory_xact_lock(hashtextextended('cleanup_expired_oauth2_tokens', 0)) THEN
        RETURN jsonb_build_object('expired', 0, 'removed', 0, 'after', NULL);
      END IF;

      since := coalesce(p_after ->> 'refresh_token expired', '-infinity');
      WITH due AS MATERIALIZED (
        SELECT t.client_id, t.user_id, t.token_hash, t.expires_at
          FROM oauth2_refresh_tokens t
         WHERE t.expires_at >= since AND t.expires_at <= now() AND t.used_at IS NULL AND t.revoked_at IS NULL
           AND NOT EXISTS (SELECT FROM oauth2_token_logs l WHERE l.token_type = 'refresh_token'
                              AND l.token_hash = t.token_hash AND l.action = 'expired' OFFSET 0)
         ORDER BY t.expires_at, t.id
         LIMIT p_batch
           FOR UPDATE OF t SKIP LOCKED
      ), logged AS (
        INSERT INTO oauth2_token_logs (client_id, user_id, token_type, token_hash, action)
        SELECT client_id, user_id, 'refresh_token', token_hash, 'expired' FROM due
        ON CONFLICT DO NOTHING RETURNING true
      )
      SELECT (SELECT count(*) FROM logged), count(*), max(expires_at) INTO step, taken, reached FROM due;
      expired := expired + step;
      reached := CASE WHEN taken = p_batch THEN reached ELSE now() END;
      is_over := is_over AND taken < p_batch;
      ends := ends || jsonb_build_object('refresh_token expired', reached);

      since := coalesce(p_after ->> 'refresh_token removed', '-infinity');
      until := least(reached, now() - token_grace);
      WITH due AS MATERIALIZED (
        SELECT t.id, t.expires_at
          FROM oauth2_refresh_tokens t
         WHERE t.expires_at >= since AND t.expires_at <= until
           AND NOT EXISTS (SELECT FROM oauth2_refresh_tokens member
                            WHERE member.family_id = t.family_id AND member.expires_at > now() OFFSET 0)
           AND (t.used_at IS NOT NULL OR t.revoked_at IS NOT NULL
                OR EXISTS (SELECT FROM oauth2_token_logs l WHERE l.token_type = 'refresh_token'
                              AND l.token_hash = t.token_hash AND l.action = 'expired' OFFSET 0))
         ORDER BY t.expires_at, t.id
         LIMIT p_batch
           FOR UPDATE OF t SKIP LOCKED
      ), gone AS (
        DELETE FROM oauth2_refresh_tokens WHERE id = ANY (ARRAY(SELECT id FROM due)) RETURNING true
      )
      SELECT (SELECT count(*) FROM gone), count(*), max(expires_at) INTO step, taken, reached FROM due;
      removed := removed + step;
      is_over := is_over AND taken < p_batch;
      ends := ends || jsonb_build_object(
        'refresh_token removed', CASE WHEN taken = p_batch THEN reached ELSE until END);

      -- A used access token expires like an unused one: it is good for any number of calls until then.
      since := coalesce(p_after ->> 'access_token expired', '-infinity');
      WITH due AS MATERIALIZED (
        SELECT a.client_id, a.token_hash, a.expires_at
          FROM oauth2_access_tokens a
         WHERE a.expires_at >= since AND a.expires_at <= now() AND a.revoked_at IS NULL
           AND NOT EXISTS (SELECT FROM oauth2_token_logs l WHERE l.token_type = 'access_token'
                              AND l.token_hash = a.token_hash AND l.action = 'expired' OFFSET 0)
         ORDER BY a.expires_at
         LIMIT p_batch
           FOR UPDATE OF a SKIP LOCKED
      ), logged AS (
        INSERT INTO oauth2_token_logs (client_id, token_type, token_hash, action)
        SELECT client_id, 'access_token', token_hash, 'expired' FROM due
        ON CONFLICT DO NOTHING RETURNING true
      )
      SELECT (SELECT count(*) FROM logged), count(*), max(expires_at) INTO step, taken, reached FROM due;
      expired := expired + step;
      reached := CASE WHEN taken = p_batch THEN reached ELSE now() END;
      is_over := is_over AND taken < p_batch;
      ends := ends || jsonb_build_object('access_token expired', reached);

      since := coalesce(p_after ->> 'access_token removed', '-infinity');
      until := least(reached, now() - access_grace);
      WITH due AS MATERIALIZED (
        SELECT a.token_hash, a.expires_at
          FROM oauth2_access_tokens a
         WHERE a.expires_at >= since AND a.expires_at <= until
           AND (a.revoked_at IS NOT NULL
                OR EXISTS (SELECT FROM oauth2_token_logs l WHERE l.token_type = 'access_token'
                              AND l.token_hash = a.token_hash AND l.action = 'expired' OFFSET 0))
         ORDER BY a.expires_at
         LIMIT p_batch
           FOR UPDATE OF a SKIP LOCKED
      ), gone AS (
        DELETE FROM oauth2_access_tokens WHERE token_hash = ANY (ARRAY(SELECT token_hash FROM due)) RETURNING true
      )
      SELECT (SELECT count(*) FROM gone), count(*), max(expires_at) INTO step, taken, reached FROM due;
      removed := removed + step;
      is_over := is_over AND taken < p_batch;
      ends := ends || jsonb_build_object(
        'access_token removed', CASE WHEN taken = p_batch THEN reached ELSE until END);

      since := coalesce(p_after ->> 'authorization_code expired', '-infinity');
      WITH due AS MATERIALIZED (
        SELECT c.client_id, c.user_id, c.code_hash, c.expires_at
          FROM oauth2_authorization_codes c
         WHERE c.expires_at >= since AND c.expires_at <= now() AND c.used_at IS NULL
           AND NOT EXISTS (SELECT FROM oauth2_token_logs l WHERE l.token_type = 'authorization_code'
                              AND l.token_hash = c.code_hash AND l.action = 'expired' OFFSET 0)
         ORDER BY c.expires_at, c.id
         LIMIT p_batch
           FOR UPDATE OF c SKIP LOCKED
      ), logged AS (
        INSERT INTO oauth2_token_logs (client_id, user_id, token_type, token_hash, action)
        SELECT client_id, user_id, 'authorization_code', code_hash, 'expired' FROM due
        ON CONFLICT DO NOTHING RETURNING true
      )
      SELECT (SELECT count(*) FROM logged), count(*), max(expires_at) INTO step, taken, reached FROM due;
      expired := expired + step;
      reached := CASE WHEN taken = p_batch THEN reached ELSE now() END;
      is_over := is_over AND taken < p_batch;
      ends := ends || jsonb_build_object('authorization_code expired', reached);

      since := coalesce(p_after ->> 'authorization_code removed', '-infinity');
      until := least(reached, now() - code_grace);
      WITH due AS MATERIALIZED (
        SELECT c.id, c.expires_at
          FROM oauth2_authorization_codes c
         WHERE c.expires_at >= since AND c.expires_at <= until
           AND (c.used_at IS NOT NULL
                OR EXISTS (SELECT FROM oauth2_token_logs l WHERE l.token_type = 'authorization_code'
                              AND l.token_hash = c.code_hash AND l.action = 'expired' OFFSET 0))
         ORDER BY c.expires_at, c.id
         LIMIT p_batch
           FOR UPDATE OF c SKIP LOCKED
      ), gone AS (
        DELETE FROM oauth2_authorization_codes WHERE id = ANY (ARRAY(SELECT id FROM due)) RETURNING true
      )
      SELECT (SELECT count(*) FROM gone), count(*), max(expires_at) INTO step, taken, reached FROM due;
      removed := removed + step;
      is_over := is_over AND taken < p_batch;
      ends := ends || jsonb_build_object(
        'authorization_code removed', CASE WHEN taken = p_batch THEN reached ELSE until END);

      RETURN jsonb_build_object('expired', expired, 'removed', removed, 'after', CASE WHEN NOT is_over THEN ends END);
    END $$
"""

CLEANUP = """
    CREATE OR REPLACE FUNCTION cleanup_expired_oauth2_tokens(p_batch integer DEFAULT 5000) RETURNS integer
    LANGUAGE plpgsql VOLATILE AS $$
    DECLARE
      done CONSTANT jsonb := clean_oauth2_tokens(p_batch);
    BEGIN
      RETURN (done ->> 'expired')::integer + (done ->> 'removed')::integer;
    END $$
"""
