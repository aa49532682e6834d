"""How a recalculation of quotes is asked for: by SQL functions that Python, HTTP and psql share, and by the rates
themselves when something active changes.

New functions and triggers, and an index over the few waiting jobs of one kind: locks of milliseconds.
"""

from alembic import op

revision = "027"
down_revision = "026"
branch_labels = None
depends_on = None

TABLES = ("rate_tables", "rating_plans", "discount_rules", "surcharge_rules", "state_rating_rules")


def upgrade() -> None:
    op.execute(
        """
        CREATE INDEX idx_job_quote ON job ((args ->> 'quote_id'))
        WHERE state = 'ready' AND kind = 'rating.recalculate'
        """
    )
    op.execute("CREATE INDEX idx_job_parent ON job (parent_id) WHERE parent_id IS NOT NULL")
    for function in (INPUTS, REQUIRED_VERIFICATION, ENQUEUE_ONE, ENQUEUE_MANY, RATING_CHANGED, ACTIVATE):
        op.execute(function)
    for table in TABLES:
        op.execute(
            f"CREATE TRIGGER trg_{table}_changed AFTER INSERT OR UPDATE OR DELETE ON {table}"
            " FOR EACH ROW EXECUTE FUNCTION recalculate_after_rating_changed()"
        )


def downgrade() -> None:
    for table in TABLES:
        op.execute(f"DROP TRIGGER trg_{table}_changed ON {table}")
    for function in (
        "activate_rating(text, uuid)",
        "recalculate_after_rating_changed()",
        "enqueue_quotes_recalculation(text, text, date, date, text, boolean, uuid[], text, integer, interval)",
        "enqueue_quote_recalculation(uuid, text, text, integer, text)",
        "required_verification(uuid)",
        "quote_rating_inputs(quotes, date)",
    ):
        op.execute(f"DROP FUNCTION {function}")
    op.execute("DROP INDEX idx_job_parent")
    op.execute("DROP INDEX idx_job_quote")


# All that a quote's premium depends on beside the plan, as one document without a name or a day of birth. What
# verification found out stands over what was said: an entry of `drivers` or `vehicles` that names a row by its
# `driver_id` or `vehicle_id` takes that row's facts. Without any entries the rows themselves are what is insured. What
# a title says against a vehicle is a fact each, `title_flood`.
INPUTS = """
CREATE FUNCTION quote_rating_inputs(p_quote quotes, p_as_of date) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object(
        'quote', coalesce(p_quote.rating_inputs, '{}') || jsonb_strip_nulls(jsonb_build_object(
            'state', p_quote.state, 'is_renewal', p_quote.is_renewal,
            'ai_risk_score', p_quote.ai_risk_score, 'conversion_probability', p_quote.conversion_probability)),
        'coverages', coalesce(p_quote.coverage_selections, '{}'),
        'property', coalesce(p_quote.property_info, '{}'),
        'vehicles', (
            WITH said (entry, number) AS (
                SELECT entry, number FROM jsonb_array_elements(
                    CASE WHEN jsonb_typeof(p_quote.vehicle_info -> 'vehicles') = 'array'
                              THEN p_quote.vehicle_info -> 'vehicles'
                         WHEN p_quote.vehicle_info <> '{}' THEN jsonb_build_array(p_quote.vehicle_info)
                         ELSE '[]' END
                ) WITH ORDINALITY AS said (entry, number)
            ), found AS (
                SELECT vehicle.id, jsonb_strip_nulls(jsonb_build_object(
                    'model_year', vehicle.model_year, 'make', vehicle.make, 'model', vehicle.model,
                    'verification_status', vehicle.external_verification_status,
                    'is_branded', jsonb_array_length(vehicle.title_flags) > 0
                )) || coalesce((
                    SELECT jsonb_object_agg('title_' || flag, true)
                    FROM jsonb_array_elements_text(vehicle.title_flags) AS flag), '{}') AS facts
                FROM vehicle WHERE vehicle.quote_id = p_quote.id
            )
            SELECT coalesce(jsonb_agg(item ORDER BY number), '[]') FROM (
                SELECT said.number, CASE WHEN found.id IS NULL THEN said.entry ELSE said.entry || found.facts END
                FROM said LEFT JOIN found ON found.id::text = said.entry ->> 'vehicle_id'
                UNION ALL SELECT id, facts FROM found WHERE NOT EXISTS (SELECT FROM said)
            ) AS vehicles (number, item)
        ),
        'drivers', (
            WITH said (entry, number) AS (
                SELECT entry, number FROM jsonb_array_elements(
                    CASE WHEN jsonb_typeof(p_quote.drivers) = 'array' THEN p_quote.drivers ELSE '[]' END
                ) WITH ORDINALITY AS said (entry, number)
            ), found AS (
                SELECT driver.id, jsonb_strip_nulls(jsonb_build_object(
                    'age', extract(year FROM age(p_as_of, driver.date_of_birth))::integer,
                    'years_licensed', extract(year FROM age(p_as_of, license.issue_date))::integer,
                    'license_type', license.license_type, 'license_state', license.state_code,
                    'license_status', license.external_license_status,
                    'verification_status', driver.external_verification_status)) AS facts
                FROM driver LEFT JOIN license ON license.id = driver.license_id WHERE driver.quote_id = p_quote.id
            )
            SELECT coalesce(jsonb_agg(item ORDER BY number), '[]') FROM (
                SELECT said.number, CASE WHEN found.id IS NULL THEN said.entry ELSE said.entry || found.facts END
                FROM said LEFT JOIN found ON found.id::text = said.entry ->> 'driver_id'
                UNION ALL SELECT id, facts FROM found WHERE NOT EXISTS (SELECT FROM said)
            ) AS drivers (number, item)
        )
    )
$$
"""

# Of each question to a required integration, the newest request: NULL where all have been answered.
REQUIRED_VERIFICATION = """
CREATE FUNCTION required_verification(p_quote_id uuid, OUT request_id bigint, OUT request_status text)
LANGUAGE sql STABLE AS $$
    SELECT id, request_status FROM (
        SELECT DISTINCT ON (request.integration_id, request.driver_id, request.vehicle_id, request.address_id)
            request.id, request.request_status
        FROM integration_request AS request
        JOIN integration_configuration AS configuration ON configuration.id = request.configuration_id
        WHERE request.quote_id = p_quote_id AND configuration.is_required
        ORDER BY request.integration_id, request.driver_id, request.vehicle_id, request.address_id, request.id DESC
    ) AS newest
    WHERE request_status <> 'completed'
    ORDER BY request_status IN ('failed', 'timeout') DESC, id LIMIT 1
$$
"""

# A job that waits for this quote already is joined, unless a key of the caller's own asks for one by that name. The
# waiting row is locked until the caller commits, so that it can't be claimed before what the caller changed is there
# to be seen; one that somebody else holds at this moment is not waited for: a second job finds nothing left to do.
ENQUEUE_ONE = """
CREATE FUNCTION enqueue_quote_recalculation(
    p_quote_id uuid,
    p_reason text DEFAULT 'asked',
    p_tenant text DEFAULT 'system',
    p_priority integer DEFAULT 4,
    p_idempotency_key text DEFAULT NULL,
    OUT job_id uuid,
    OUT is_new boolean,
    OUT problem_code text,
    OUT problem text
) LANGUAGE plpgsql AS $$
DECLARE
    status_ text;
    enqueued record;
BEGIN
    IF p_priority NOT BETWEEN 0 AND 9 THEN
        problem_code := 'bad_priority';
        problem := format('priority %s is not between 0 and 9', p_priority);
        RETURN;
    END IF;
    IF coalesce(p_reason, '') !~ '^[a-z0-9_.:-]{1,100}$' THEN
        problem_code := 'bad_reason';
        problem := 'the reason must be a code of small letters, digits and _.:-, 100 characters at most';
        RETURN;
    END IF;
    SELECT status INTO status_ FROM quotes WHERE id = p_quote_id;
    IF NOT FOUND THEN
        problem_code := 'unknown_quote';
        problem := format('there is no quote %s', p_quote_id);
        RETURN;
    END IF;
    IF status_ IN ('bound', 'expired', 'declined') THEN
        problem_code := 'quote_closed';
        problem := format('quote %s is %s and keeps its premium', p_quote_id, status_);
        RETURN;
    END IF;
    IF p_idempotency_key IS NULL THEN
        UPDATE job SET run_at = least(run_at, now()), priority = least(priority, p_priority), hinted_at = NULL
        WHERE id = (
            SELECT id FROM job
            WHERE state = 'ready' AND kind = 'rating.recalculate' AND args ->> 'quote_id' = p_quote_id::text
              AND tenant = p_tenant AND cancel_requested_at IS NULL
            ORDER BY run_at LIMIT 1 FOR UPDATE SKIP LOCKED
        )
        RETURNING id INTO job_id;
        IF FOUND THEN
            is_new := false;
            RETURN;
        END IF;
    END IF;
    SELECT * INTO enqueued FROM enqueue_job(
        'rating.recalculate', 'rating', jsonb_build_object('quote_id', p_quote_id, 'reason', p_reason),
        p_tenant => p_tenant, p_priority => p_priority, p_idempotency_key => p_idempotency_key,
        p_fingerprint => md5(p_quote_id::text)
    );
    IF enqueued.found_fingerprint IS DISTINCT FROM md5(p_quote_id::text) THEN
        problem_code := 'idempotency_conflict';
        problem := 'this idempotency key was used for another recalculation';
        RETURN;
    END IF;
    job_id := enqueued.job_id;
    is_new := enqueued.is_new;
END
$$
"""

# NULL in a filter means every one; the days are those the rates are taken from, half-open. `p_drafts` are rows of the
# rating tables that a dry run takes for active. A job with the same filter that has not begun is joined.
ENQUEUE_MANY = """
CREATE FUNCTION enqueue_quotes_recalculation(
    p_state text DEFAULT NULL,
    p_product_type text DEFAULT NULL,
    p_from date DEFAULT NULL,
    p_until date DEFAULT NULL,
    p_reason text DEFAULT 'asked',
    p_dry_run boolean DEFAULT false,
    p_drafts uuid[] DEFAULT '{}',
    p_tenant text DEFAULT 'system',
    p_priority integer DEFAULT 6,
    p_delay interval DEFAULT NULL,
    OUT job_id uuid,
    OUT is_new boolean,
    OUT problem_code text,
    OUT problem text
) LANGUAGE plpgsql AS $$
DECLARE
    filter jsonb := jsonb_strip_nulls(jsonb_build_object(
        'state', p_state, 'product_type', p_product_type, 'from', p_from, 'until', p_until, 'dry_run', p_dry_run,
        'drafts', CASE WHEN cardinality(p_drafts) > 0 THEN to_jsonb(p_drafts) END));
    unknown uuid;
BEGIN
    IF p_priority NOT BETWEEN 0 AND 9 THEN
        problem_code := 'bad_priority';
        problem := format('priority %s is not between 0 and 9', p_priority);
    ELSIF coalesce(p_reason, '') !~ '^[a-z0-9_.:-]{1,100}$' THEN
        problem_code := 'bad_reason';
        problem := 'the reason must be a code of small letters, digits and _.:-, 100 characters at most';
    ELSIF p_state !~ '^[A-Z]{2}$' THEN
        problem_code := 'bad_state';
        problem := format('%s is not a state: two capital letters', p_state);
    ELSIF p_product_type NOT IN ('auto', 'home', 'renters', 'life') THEN
        problem_code := 'bad_product';
        problem := format('there is no product %s', p_product_type);
    ELSIF p_until <= p_from THEN
        problem_code := 'bad_dates';
        problem := 'the first day must lie before the last';
    ELSIF cardinality(p_drafts) > 0 AND NOT p_dry_run THEN
        problem_code := 'not_active';
        problem := 'drafts can only be tried in a dry run: activate them first';
    END IF;
    IF problem_code IS NOT NULL THEN
        RETURN;
    END IF;
    SELECT draft INTO unknown FROM unnest(p_drafts) AS draft
    WHERE NOT EXISTS (
        SELECT FROM rate_tables WHERE id = draft
        UNION ALL SELECT FROM rating_plans WHERE id = draft
        UNION ALL SELECT FROM discount_rules WHERE id = draft
        UNION ALL SELECT FROM surcharge_rules WHERE id = draft
        UNION ALL SELECT FROM state_rating_rules WHERE id = draft
    ) LIMIT 1;
    IF FOUND THEN
        problem_code := 'unknown_draft';
        problem := format('there is no rate, plan or rule %s', unknown);
        RETURN;
    END IF;
    SELECT job.id INTO job_id FROM job
    WHERE state = 'ready' AND queue = 'rating' AND kind = 'rating.recalculate_many' AND tenant = p_tenant
      AND progress IS NULL AND args - 'reason' = filter AND cancel_requested_at IS NULL
    LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF FOUND THEN
        is_new := false;
        RETURN;
    END IF;
    SELECT enqueued.job_id, true INTO job_id, is_new FROM enqueue_job(
        'rating.recalculate_many', 'rating', filter || jsonb_build_object('reason', p_reason),
        p_tenant => p_tenant, p_priority => p_priority, p_run_at => now() + p_delay
    ) AS enqueued;
END
$$
"""

# The seconds of delay gather a plan that is activated table by table into one recalculation.
RATING_CHANGED = """
CREATE FUNCTION recalculate_after_rating_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    row_ jsonb;
    was jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) - 'updated_at' END;
    becomes jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) - 'updated_at' END;
BEGIN
    IF was IS NOT DISTINCT FROM becomes THEN
        RETURN NULL;
    END IF;
    FOR row_ IN
        SELECT DISTINCT ON (rows.row_ ->> 'state', rows.row_ ->> 'product_type', rows.row_ ->> 'effective_date',
                            rows.row_ ->> 'expiration_date') rows.row_
        FROM (VALUES (was), (becomes)) AS rows (row_) WHERE (rows.row_ ->> 'is_active')::boolean
    LOOP
        PERFORM enqueue_quotes_recalculation(
            row_ ->> 'state', row_ ->> 'product_type', (row_ ->> 'effective_date')::date,
            (row_ ->> 'expiration_date')::date, p_reason => TG_TABLE_NAME, p_delay => interval '5 seconds');
    END LOOP;
    RETURN NULL;
END
$$
"""

# The active row that it follows ends the day before; the triggers see to the rest.
ACTIVATE = """
CREATE FUNCTION activate_rating(
    p_table text,
    p_id uuid,
    OUT was_draft boolean,
    OUT problem_code text,
    OUT problem text
) LANGUAGE plpgsql AS $$
DECLARE
    row_ jsonb;
    key text := CASE p_table
        WHEN 'rate_tables' THEN 'coverage_type' WHEN 'state_rating_rules' THEN 'factor' ELSE 'product_type' END;
BEGIN
    IF p_table NOT IN ('rate_tables', 'rating_plans', 'discount_rules', 'surcharge_rules', 'state_rating_rules') THEN
        problem_code := 'unknown_table';
        problem := format('there is no table of rates %s', p_table);
        RETURN;
    END IF;
    EXECUTE format('SELECT to_jsonb(row_) FROM %I AS row_ WHERE id = $1 FOR UPDATE', p_table) INTO row_ USING p_id;
    IF row_ IS NULL THEN
        problem_code := 'unknown_row';
        problem := format('there is no row %s in %s', p_id, p_table);
        RETURN;
    END IF;
    was_draft := NOT (row_ ->> 'is_active')::boolean;
    IF NOT was_draft THEN
        RETURN;
    END IF;
    IF p_table IN ('rate_tables', 'rating_plans', 'state_rating_rules') THEN
        EXECUTE format(
            'UPDATE %1$I SET expiration_date = $1 WHERE is_active AND state = $2 AND product_type = $3 AND %2$I = $4'
            ' AND effective_date < $1 AND coalesce(expiration_date > $1, true)', p_table, key)
        USING (row_ ->> 'effective_date')::date, row_ ->> 'state', row_ ->> 'product_type', row_ ->> key;
    END IF;
    EXECUTE format('UPDATE %I SET is_active = true WHERE id = $1', p_table) USING p_id;
EXCEPTION WHEN exclusion_violation THEN
    was_draft := NULL;
    problem_code := 'overlap';
    problem := format('%s %s would overlap an active row that begins on its day or later', p_table, p_id);
END
$$
"""
