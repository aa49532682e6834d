"""The ledger of calls to providers, what they cost, and budgets.

Three new tables, nullable columns, and an UPDATE of the requests that are open: a lock of milliseconds.
"""

from importlib import import_module

import sqlalchemy as sa
from alembic import op

from migrations.columns import Instant, bigint_id, choice, drop_tables, flag, made_at, required

revision = "022"
down_revision = "021"
branch_labels = None
depends_on = None

MONEY = sa.Numeric(12, 2)
PRICE = sa.Numeric(12, 4)
SUM = sa.Numeric(16, 4)


def upgrade() -> None:
    op.add_column("integration_configuration", sa.Column("price_per_call", PRICE))
    op.create_check_constraint("price_per_call", "integration_configuration", "price_per_call BETWEEN 0 AND 1000000")
    op.add_column("integration_request", sa.Column("tenant", sa.Text))
    op.add_column("integration_request", sa.Column("sent_at", Instant))
    op.add_column("integration_request", sa.Column("calls_at_most", sa.Integer))
    op.execute(
        """
        UPDATE integration_request AS request SET tenant = job.tenant
        FROM job WHERE job.id = request.job_id AND request.request_status IN ('pending', 'sent')
        """
    )
    # No foreign keys: the rows outlive what they speak of, and checking five keys would cost more than the row.
    op.create_table(
        "provider_call",
        bigint_id(),
        made_at("at"),
        required("job_id", sa.Uuid),
        required("request_id", sa.BigInteger),
        required("fence", sa.BigInteger),
        required("tenant", sa.Text),
        required("integration_id", sa.BigInteger),
        required("configuration_id", sa.BigInteger),
        choice("environment", "sandbox", "production"),
        choice("reason", "first", "retry", "after_crash", "poll"),
        required("calls", sa.Integer),
        flag("is_certain", True),
        sa.Column("price", PRICE),
        sa.CheckConstraint("calls > 0", name="calls"),
    )
    op.create_index("idx_provider_call_at", "provider_call", ["at"])
    op.create_index("idx_provider_call_request", "provider_call", ["request_id"])
    op.create_table(
        "call_budget",
        sa.Column("tenant", sa.Text, primary_key=True),
        sa.Column("soft_limit", MONEY),
        sa.Column("hard_limit", MONEY),
        required("set_by", sa.Text),
        made_at("set_at"),
        sa.CheckConstraint("coalesce(soft_limit, hard_limit) IS NOT NULL", name="limits"),
        sa.CheckConstraint("soft_limit >= 0 AND soft_limit <= 9999999999", name="soft_limit"),
        sa.CheckConstraint("hard_limit >= 0 AND hard_limit <= 9999999999", name="hard_limit"),
        sa.CheckConstraint("soft_limit <= hard_limit", name="order"),
        sa.CheckConstraint("tenant <> ''", name="tenant"),
    )
    op.create_table(
        "call_budget_day",
        sa.Column("tenant", sa.Text, primary_key=True),
        sa.Column("day", sa.Date, primary_key=True),
        required("spent", SUM, server_default=sa.text("0")),
        required("reserved", SUM, server_default=sa.text("0")),
        sa.Column("warned_at", Instant),
    )
    op.execute(RESERVE_CALLS)
    op.execute(SETTLE_CALLS)
    op.execute(REOPEN_JOBS)


def downgrade() -> None:
    before: str = import_module("migrations.versions.019_batches").REOPEN_JOBS
    op.execute(before.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"))
    op.execute("DROP FUNCTION settle_calls(jsonb)")
    op.execute("DROP FUNCTION reserve_calls(jsonb)")
    drop_tables("call_budget_day", "call_budget", "provider_call")
    for name in ("calls_at_most", "sent_at", "tenant"):
        op.drop_column("integration_request", name)
    op.drop_column("integration_configuration", "price_per_call")


# What a run may spend at the most is set aside before it begins, under a lock on the tenant's day: a hard budget is
# never exceeded, whatever runs at the same time and whoever dies. Tenants without a budget are not even looked at
# twice. A run gets as many calls as there is money for; none, and `is_used_up` tells money spent from money set aside.
RESERVE_CALLS = """
CREATE FUNCTION reserve_calls(p_rows jsonb) RETURNS TABLE (
    request_id bigint, budget_day date, granted integer, is_used_up boolean
) LANGUAGE plpgsql AS $$
DECLARE
    today date := (now() AT TIME ZONE 'UTC')::date;
    budget call_budget;
    money call_budget_day;
    asked record;
BEGIN
    FOR budget IN
        SELECT * FROM call_budget WHERE tenant IN (
            SELECT given.tenant FROM jsonb_to_recordset(p_rows) AS given (tenant text)
        ) ORDER BY tenant
    LOOP
        INSERT INTO call_budget_day (tenant, day) VALUES (budget.tenant, today) ON CONFLICT DO NOTHING;
        SELECT * INTO money FROM call_budget_day AS row WHERE row.tenant = budget.tenant AND row.day = today FOR UPDATE;
        FOR asked IN
            SELECT * FROM jsonb_to_recordset(p_rows) AS given (id bigint, tenant text, calls integer, price numeric)
            WHERE given.tenant = budget.tenant ORDER BY given.id
        LOOP
            granted := asked.calls;
            IF budget.hard_limit IS NOT NULL THEN
                granted := least(granted, floor((budget.hard_limit - money.spent - money.reserved) / asked.price));
            END IF;
            granted := greatest(granted, 0);
            money.reserved := money.reserved + granted * asked.price;
            request_id := asked.id;
            budget_day := today;
            is_used_up := coalesce(money.spent + asked.price > budget.hard_limit, false);
            RETURN NEXT;
        END LOOP;
        UPDATE call_budget_day AS row SET reserved = money.reserved
        WHERE row.tenant = budget.tenant AND row.day = today;
    END LOOP;
END
$$
"""

# What was set aside comes back, what was spent is booked. Gives the tenants whose soft limit was crossed just now.
SETTLE_CALLS = """
CREATE FUNCTION settle_calls(p_rows jsonb) RETURNS TABLE (tenant text, day date, spent numeric, soft_limit numeric)
LANGUAGE sql AS $$
    WITH given AS (
        SELECT given.tenant, given.day, sum(given.reserved) AS reserved, sum(given.spent) AS spent
        FROM jsonb_to_recordset(p_rows) AS given (tenant text, day date, reserved numeric, spent numeric)
        GROUP BY given.tenant, given.day
    ), locked AS (
        SELECT row.tenant, row.day, row.warned_at FROM call_budget_day AS row
        WHERE (row.tenant, row.day) IN (SELECT given.tenant, given.day FROM given)
        ORDER BY row.tenant, row.day FOR UPDATE
    ), settled AS (
        UPDATE call_budget_day AS row SET
            reserved = greatest(row.reserved - given.reserved, 0),
            spent = row.spent + given.spent,
            warned_at = coalesce(row.warned_at, CASE WHEN row.spent + given.spent >= budget.soft_limit THEN now() END)
        FROM given JOIN locked USING (tenant, day) LEFT JOIN call_budget AS budget USING (tenant)
        WHERE row.tenant = given.tenant AND row.day = given.day
        RETURNING row.tenant, row.day, row.spent, budget.soft_limit,
            locked.warned_at IS NULL AND row.warned_at IS NOT NULL AS is_crossed
    )
    SELECT settled.tenant, settled.day, settled.spent, settled.soft_limit FROM settled WHERE is_crossed
$$
"""

# As revision 019 has it, and besides: the calls of a run that died and was buried without being run again.
REOPEN_JOBS = """
CREATE OR REPLACE FUNCTION reopen_jobs(p_ids uuid[], p_by text) RETURNS TABLE (job_id uuid, calls_at_most integer)
LANGUAGE sql AS $$
    SELECT FROM job_batch
    WHERE id IN (SELECT batch_id FROM job WHERE id = ANY(p_ids) AND batch_id IS NOT NULL) ORDER BY id FOR SHARE;
    WITH again AS (
        SELECT job.id, coalesce(batch.finished_at IS NULL AND job.step > batch.step, false) AS is_held
        FROM job LEFT JOIN job_batch AS batch ON batch.id = job.batch_id WHERE job.id = ANY(p_ids)
    ), reopened AS (
        UPDATE job SET
            state = 'ready', run_at = CASE WHEN is_held THEN '9999-01-01 00:00:00+00' ELSE now() END,
            deadline_at = now() + (deadline_at - created_at),
            attempt = 0, crashes = 0, hinted_at = NULL, cancel_requested_at = NULL,
            waiting_for = CASE WHEN is_held THEN 'an earlier step of its batch' END,
            started_at = NULL, finished_at = NULL
        FROM again WHERE job.id = again.id AND state IN ('failed', 'cancelled', 'expired')
        RETURNING job.id, kind, args, fence
    ), logged AS (
        INSERT INTO job_event (job_id, event, attempt, fence, "by")
        SELECT id, 'retried_by_hand', 0, fence, p_by FROM reopened
    ), uncertain AS (
        INSERT INTO provider_call (
            job_id, request_id, fence, tenant, integration_id, configuration_id, environment, reason, calls,
            is_certain, price
        )
        SELECT reopened.id, request.id, reopened.fence, coalesce(request.tenant, 'system'), request.integration_id,
            configuration.id, configuration.environment,
            CASE WHEN request.retry_count > 0 OR request.request_body IS NOT NULL THEN 'retry' ELSE 'first' END,
            coalesce(request.calls_at_most, 1), false, configuration.price_per_call
        FROM reopened JOIN integration_request AS request ON request.id = (reopened.args ->> 'request_id')::bigint
        JOIN integration_configuration AS configuration ON configuration.id = request.configuration_id
        WHERE reopened.kind = 'verification.verify' AND request.request_status = 'sent'
    ), asked AS (
        UPDATE integration_request AS request SET
            request_status = 'pending', retry_count = 0, updated_by = '00000000-0000-0000-0000-000000000001'
        FROM reopened, integration_configuration AS configuration
        WHERE reopened.kind = 'verification.verify'
          AND request.id = (reopened.args ->> 'request_id')::bigint
          AND request.request_status <> 'completed'
          AND configuration.id = request.configuration_id
        RETURNING reopened.id, 1 + configuration.retry_attempts AS calls
    )
    SELECT reopened.id, coalesce(asked.calls, 0) FROM reopened LEFT JOIN asked USING (id)
$$
"""
