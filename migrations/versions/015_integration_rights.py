"""One question for Python, HTTP and SQL: may this actor do that with an integration, for this program and producer?

A column with a constant default on a table of a few rows, and a new function: a lock of milliseconds.
"""

from alembic import op

from migrations.columns import flag

revision = "015"
down_revision = "014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("integration_permission", flag("can_force_calls", False))
    op.execute(HAS_INTEGRATION_RIGHT)


def downgrade() -> None:
    op.execute("DROP FUNCTION has_integration_right(text, bigint, bigint, bigint, uuid, text[])")
    op.drop_column("integration_permission", "can_force_calls")


# Rows grant, none takes away: one that covers the scope is enough. The platform itself (role system) needs no row;
# a user that is switched off has nothing.
HAS_INTEGRATION_RIGHT = """
CREATE FUNCTION has_integration_right(
    p_right text,
    p_integration_id bigint,
    p_program_id bigint DEFAULT NULL,
    p_producer_id bigint DEFAULT NULL,
    p_user_id uuid DEFAULT NULL,
    p_groups text[] DEFAULT '{}'
) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
DECLARE
    role_ text;
BEGIN
    IF p_right NOT IN ('configure', 'view_raw_responses', 'manage_mappings', 'enable_disable', 'force_calls') THEN
        RAISE EXCEPTION 'there is no right %', p_right USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT role INTO role_ FROM users WHERE id = p_user_id AND is_active;
    IF role_ = 'system' THEN
        RETURN true;
    END IF;
    RETURN EXISTS (
        SELECT FROM integration_permission AS permission
        WHERE permission.integration_id = p_integration_id
          AND CASE permission.permission_type
                WHEN 'user' THEN role_ IS NOT NULL AND permission.permission_target_id = p_user_id::text
                WHEN 'role' THEN permission.permission_target_id = role_
                WHEN 'group' THEN permission.permission_target_id = ANY (p_groups) END
          AND (permission.scope_level = 'system'
               OR permission.scope_level = 'program' AND permission.program_id = p_program_id
               OR permission.scope_level = 'producer' AND permission.producer_id = p_producer_id
                  AND (permission.program_id IS NULL OR permission.program_id = p_program_id))
          AND CASE p_right
                WHEN 'configure' THEN permission.can_configure
                WHEN 'view_raw_responses' THEN permission.can_view_raw_responses
                WHEN 'manage_mappings' THEN permission.can_manage_mappings
                WHEN 'enable_disable' THEN permission.can_enable_disable
                WHEN 'force_calls' THEN permission.can_force_calls END
    );
END
$$
"""
