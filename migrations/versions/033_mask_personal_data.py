"""Masking rules that are checked and closed once used, and marks on what was masked that a later write takes away.

Columns without a default and triggers: short locks. The indexes hold a table's writers up while they are built, which
for `audit_logs` is about a third of a second a million rows.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from alembic import op

from migrations.columns import Instant

revision = "033"
down_revision = "032"
branch_labels = None
depends_on = None

MARKED = {"quotes": "created_at", "user_sessions": "expires_at", "oauth2_token_logs": "created_at"}
"""Tables that get a mark, with the column that their masking clock counts from."""

UNMASKED_AUDIT = "masklen(ip_address) IN (32, 128) OR user_agent IS NOT NULL"


def upgrade() -> None:
    op.add_column("pii_masking_rules", sa.Column("used_at", Instant))
    op.execute(CHECK_RULE)
    op.execute(
        "CREATE TRIGGER trg_pii_masking_rules_checked BEFORE INSERT OR UPDATE OR DELETE ON pii_masking_rules"
        " FOR EACH ROW EXECUTE FUNCTION check_masking_rule()"
    )
    with unaudited("pii_masking_rules"):
        op.execute(sa.text(INSERT_RULES).bindparams(rules=json.dumps(rules())))
    for table, clock in MARKED.items():
        op.add_column(table, sa.Column("pii_rule_version", sa.Integer))
        op.create_index(
            f"idx_{table}_unmasked", table, [clock, "id"], postgresql_where=sa.text("pii_rule_version IS NULL")
        )
    op.execute(UNMARK)
    op.execute(UNMARK_REQUESTS)
    op.execute(UNMARK_QUOTES)
    op.create_index(
        "idx_audit_logs_unmasked", "audit_logs", ["created_at", "id"], postgresql_where=sa.text(UNMASKED_AUDIT)
    )
    op.execute(MASK_AUDIT)
    op.execute("REVOKE ALL ON FUNCTION mask_audit_addresses(integer) FROM PUBLIC")
    with unaudited("data_retention_policies"):
        op.execute(CLOCKS)


def downgrade() -> None:
    with unaudited("data_retention_policies"):
        op.execute(
            "UPDATE data_retention_policies SET mask_after_days = NULL"
            " WHERE table_name IN ('user_sessions', 'oauth2_token_logs', 'audit_logs')"
        )
    op.execute("DROP FUNCTION mask_audit_addresses(integer)")
    op.drop_index("idx_audit_logs_unmasked", "audit_logs")
    op.execute("DROP TRIGGER trg_quotes_unmasked ON quotes")
    op.execute("DROP TRIGGER trg_integration_request_unmasked ON integration_request")
    op.execute("DROP FUNCTION unmark_masked()")
    for table in MARKED:
        op.drop_index(f"idx_{table}_unmasked", table)
        op.drop_column(table, "pii_rule_version")
    op.execute("DROP TRIGGER trg_pii_masking_rules_checked ON pii_masking_rules")
    op.execute("DROP FUNCTION check_masking_rule()")
    with unaudited("pii_masking_rules"):
        op.execute("DELETE FROM pii_masking_rules WHERE version = 1")
    op.drop_column("pii_masking_rules", "used_at")


@contextmanager
def unaudited(table: str) -> Iterator[None]:
    """What a release brings along is no deed of anybody: the trail tells of what is changed afterwards."""
    op.execute(f"ALTER TABLE {table} DISABLE TRIGGER trg_{table}_audited")
    yield
    op.execute(f"ALTER TABLE {table} ENABLE TRIGGER trg_{table}_audited")


# The sentences are those of tasks/masking/rules.py, which looks again: PostgreSQL's expressions are not Python's.
CHECK_RULE = r"""
    CREATE FUNCTION check_masking_rule() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
      allowed jsonb := CASE NEW.operator
        WHEN 'partial' THEN '{"keep_head": 0, "keep_tail": 0, "min_hidden": 1}'
        WHEN 'bucket' THEN '{"width": 1}' WHEN 'date_year' THEN '{"oldest_year": 1}' ELSE '{}' END;
      needed text := CASE NEW.operator WHEN 'partial' THEN 'min_hidden' WHEN 'bucket' THEN 'width' END;
      param record;
      problem text;
    BEGIN
      IF TG_OP <> 'INSERT' AND OLD.used_at IS NOT NULL AND (TG_OP = 'DELETE'
         OR (NEW.version, NEW.priority, NEW.match_type, NEW.pattern, NEW.validator, NEW.operator, NEW.params,
             NEW.data_class, NEW.used_at) IS DISTINCT FROM
            (OLD.version, OLD.priority, OLD.match_type, OLD.pattern, OLD.validator, OLD.operator, OLD.params,
             OLD.data_class, OLD.used_at)) THEN
        RAISE restrict_violation USING MESSAGE = format(
          'masking rule %s has been used: masked rows name its version. Add a whole new version instead', OLD.id);
      END IF;
      IF TG_OP = 'DELETE' THEN
        RETURN OLD;
      END IF;
      IF TG_OP = 'INSERT' AND EXISTS (SELECT FROM pii_masking_rules WHERE version = NEW.version AND used_at IS NOT NULL)
      THEN
        RAISE restrict_violation USING MESSAGE = format(
          'version %s of the masking rules has been used and is closed. Add a whole new version instead', NEW.version);
      END IF;
      CASE NEW.match_type
      WHEN 'path' THEN
        IF NEW.pattern !~ '^[\w-]+(\[\*\])*(\.[\w-]+(\[\*\])*)*$' THEN
          problem := 'a path is keys with dots between them, [*] behind a list';
        END IF;
      WHEN 'glob' THEN
        IF NEW.pattern !~ '^[\w*-]+(\[\*\])*(\.[\w*-]+(\[\*\])*)*$' THEN
          problem := 'a glob is a path in which * stands for one key or a part of it, ** for any number of them';
        END IF;
      WHEN 'key' THEN
        IF NEW.pattern !~ '^[\w -]*[A-Za-z0-9][\w -]*$' THEN
          problem := 'a key is letters, digits, spaces, _ and -';
        END IF;
      ELSE
        BEGIN
          IF '' ~ NEW.pattern THEN
            problem := 'its expression matches the empty text, and so everything';
          END IF;
        EXCEPTION WHEN invalid_regular_expression THEN
          problem := 'its pattern is no regular expression';
        END;
        IF NEW.operator NOT IN ('redact', 'remove', 'hmac') THEN
          problem := coalesce(problem, 'a value rule takes one of redact, remove, hmac');
        END IF;
      END CASE;
      IF NEW.validator IS NOT NULL AND (NEW.match_type <> 'value' OR NEW.validator NOT IN ('ssn', 'luhn')) THEN
        problem := coalesce(problem, 'only a value rule has a validator, one of ssn, luhn');
      END IF;
      IF jsonb_typeof(NEW.params) <> 'object' THEN
        problem := coalesce(problem, 'params must be an object');
      ELSE
        FOR param IN SELECT key, value FROM jsonb_each(NEW.params) LOOP
          IF NOT allowed ? param.key THEN
            problem := coalesce(problem, format('%s has no parameter %s', NEW.operator, left(param.key, 50)));
          ELSIF jsonb_typeof(param.value) <> 'number' OR param.value::text !~ '^\d+$'
                OR param.value::numeric < (allowed ->> param.key)::numeric THEN
            problem := coalesce(problem, format('%s must be a whole number, at least %s', param.key,
                                                allowed ->> param.key));
          END IF;
        END LOOP;
        IF needed IS NOT NULL AND NOT NEW.params ? needed THEN
          problem := coalesce(problem, format('%s needs %s', NEW.operator, needed));
        END IF;
      END IF;
      IF problem IS NOT NULL THEN
        RAISE check_violation USING MESSAGE = format('masking rule %s %s: %s', NEW.match_type, NEW.pattern, problem);
      END IF;
      RETURN NEW;
    END $$
"""

INSERT_RULES = """
    INSERT INTO pii_masking_rules (version, match_type, pattern, operator, data_class, params, validator)
    SELECT 1, match_type, pattern, operator, data_class, coalesce(params, '{}'), validator
    FROM jsonb_to_recordset(CAST(:rules AS jsonb)) AS rule (
        match_type text, pattern text, operator text, data_class text, params jsonb, validator text
    )
"""

# Containers first: what is in them is about a person, whatever it is called. Then keys of personal values, by what
# is done to them. Then what is kept inside of these: codes, states, amounts and numbers of ours.
CONTAINERS = (
    "driver_data", "personal_info", "license_info", "household_members", "associated_licenses", "asociated_licenses",
    "criminal_profiles", "title_info", "lien_info", "owner", "owners", "driver", "drivers", "person", "persons",
    "applicant", "named_insured", "spouse",
)  # fmt: skip
KEYS = {
    ("redact", "name"): (
        "first_name", "middle_name", "last_name", "suffix", "full_name", "maiden_name", "former_name", "prior_names",
        "alias", "aliases", "alias_names", "owner_name", "owner_name_1", "owner_name_2", "previous_owner_name",
        "lienholder_name",
    ),
    ("redact", "free_text"): ("name", "_raw", "error_message", "notes", "comment", "comments"),
    ("remove", "government_id"): ("ssn", "social_security_number", "tax_id", "owner_id", "state_id", "passport_number"),
    ("hmac", "license"): ("license_number", "drivers_license_number", "dl_number", "prior_license_number"),
    ("redact", "street"): (
        "street", "street_1", "street_2", "street_address", "address_line_1", "address_line_2", "unit", "apartment",
        "zip_4", "latitude", "longitude", "coordinates",
    ),
    ("redact", "contact"): ("phone", "phone_number", "telephone", "mobile", "email", "email_address"),
    ("redact", "criminal"): ("histories", "offenses", "criminal_history", "convictions"),
    ("remove", "physical"): ("gender", "sex", "race", "height", "weight", "eye_color", "hair_color"),
    ("redact", "vehicle_id"): ("title_number", "tag", "license_plate", "plate"),
    ("redact", "credential"): (
        "authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "api_key", "password", "secret",
        "client_secret", "access_token", "refresh_token", "token",
    ),
    ("truncate_ip", "network"): ("ip_address", "client_ip", "x-forwarded-for"),
    ("remove", "network"): ("user_agent",),
}  # fmt: skip
KEPT = (
    "status", "state", "state_code", "city", "country", "license_type", "license_status", "issue_date",
    "expiration_date", "last_transaction_date", "id_card", "restrictions", "endorsements", "driver_id", "client_ref",
    "relationship", "requested", "delivery_point_validation", "verification_status", "confidence_score",
    "transaction_id", "node_path", "match", "source", "criminal_status", "search_source", "total_offenses",
    "privacy_opt_out_code", "title_date", "lien_date", "make", "model", "model_year", "body_type", "vehicle_id",
    "points", "violations_count", "accidents_count", "years_licensed", "is_primary", "stolen", "flood", "junk",
    "lemon_law", "bonded", "reconditioned", "reconstructed", "title_revoked", "exported", "government_owned",
    "hot_check", "obsolete",
)  # fmt: skip
VALUES = (
    (r"[\w.+-]+@[\w-]+\.[\w.-]+", "contact", None),
    (r"\d{3}[- ]\d{2}[- ]\d{4}", "government_id", "ssn"),
    (r"(\(\d{3}\) ?|\d{3}[-. ])\d{3}[-. ]\d{4}", "contact", None),
    (r"(Bearer|Basic) [A-Za-z0-9+/=._~-]{8,}", "credential", None),
)


def rules() -> list[dict[str, object]]:
    found: list[dict[str, object]] = []

    def add(match_type: str, pattern: str, operator: str, data_class: str, **more: object) -> None:
        rule = {"match_type": match_type, "pattern": pattern, "operator": operator, "data_class": data_class}
        found.append(rule | more)

    add("glob", "**.offenses[*].degree", "keep", "criminal")
    for key in CONTAINERS:
        add("key", key, "redact", "document")
    for (operator, data_class), keys in KEYS.items():
        for key in keys:
            add("key", key, operator, data_class)
    for key in ("date_of_birth", "birth_date", "dob", "alias_dobs"):
        add("key", key, "date_year", "birth_date", params={"oldest_year": 1936})
    for key in ("zip", "zip_code", "postal_code"):
        add("key", key, "partial", "region", params={"keep_head": 3, "min_hidden": 2})
    add("key", "vin", "partial", "vehicle_id", params={"keep_head": 11, "min_hidden": 6})
    for key in KEPT:
        add("key", key, "keep", "document")
    for pattern, data_class, validator in VALUES:
        add("value", pattern, "redact", data_class, validator=validator)
    return found


# A write after the masking brings personal data back, so the mark goes and the next night masks again. The sweep sets
# the mark together with what it masks, on a row without one: nothing to do then.
UNMARK = """
    CREATE FUNCTION unmark_masked() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF TG_TABLE_NAME = 'integration_request' THEN
        NEW.pii_masked := false;
      END IF;
      NEW.pii_rule_version := NULL;
      RETURN NEW;
    END $$
"""
UNMARK_REQUESTS = """
    CREATE TRIGGER trg_integration_request_unmasked BEFORE UPDATE ON integration_request FOR EACH ROW
    WHEN (OLD.pii_masked AND NEW.pii_masked AND (
      OLD.request_headers IS DISTINCT FROM NEW.request_headers OR OLD.request_body IS DISTINCT FROM NEW.request_body
      OR OLD.response_headers IS DISTINCT FROM NEW.response_headers
      OR OLD.response_body IS DISTINCT FROM NEW.response_body OR OLD.error_message IS DISTINCT FROM NEW.error_message
    ))
    EXECUTE FUNCTION unmark_masked()
"""
UNMARK_QUOTES = """
    CREATE TRIGGER trg_quotes_unmasked BEFORE UPDATE ON quotes FOR EACH ROW
    WHEN (OLD.pii_rule_version IS NOT NULL AND NEW.pii_rule_version IS NOT NULL AND (
      OLD.vehicle_info IS DISTINCT FROM NEW.vehicle_info OR OLD.property_info IS DISTINCT FROM NEW.property_info
      OR OLD.drivers IS DISTINCT FROM NEW.drivers OR OLD.rating_inputs IS DISTINCT FROM NEW.rating_inputs
      OR OLD.rating_problem IS DISTINCT FROM NEW.rating_problem
    ))
    EXECUTE FUNCTION unmark_masked()
"""

# The trail can't be changed by the application, so this is the owner's, and all it can do: shorten addresses of rows
# that the policy says are old enough, and never of younger ones than a month, which an intrusion is traced by.
# What was masked is a network (10.1.2.0/24), so it is known by its looks. Held: the month, or the person.
MASK_AUDIT = f"""
    CREATE FUNCTION mask_audit_addresses(p_limit integer) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
    DECLARE
      days integer;
      masked integer;
    BEGIN
      SELECT mask_after_days INTO days FROM data_retention_policies WHERE table_name = 'audit_logs';
      IF days IS NULL THEN
        RETURN 0;
      END IF;
      PERFORM lock_legal_holds();
      WITH due AS MATERIALIZED (
        SELECT id, created_at FROM audit_logs a
         WHERE created_at < now() - make_interval(days => greatest(days, 30)) AND ({UNMASKED_AUDIT})
           AND NOT EXISTS (
             SELECT FROM legal_holds h WHERE h.released_at IS NULL
               AND (h.scope_type = 'user' AND h.scope_id = a.user_id::text
                    OR h.scope_type = 'audit_month' AND h.scope_id = to_char(a.created_at, 'YYYY_MM')))
         ORDER BY created_at, id LIMIT least(p_limit, 50000) FOR UPDATE SKIP LOCKED
      )
      UPDATE audit_logs AS a SET user_agent = NULL,
             ip_address = network(set_masklen(
               a.ip_address, least(masklen(a.ip_address), CASE family(a.ip_address) WHEN 4 THEN 24 ELSE 48 END)))
        FROM due WHERE a.id = due.id AND a.created_at = due.created_at;
      GET DIAGNOSTICS masked = ROW_COUNT;
      RETURN masked;
    END $$
"""  # noqa: S608 - the condition is a constant of this file

CLOCKS = """
    UPDATE data_retention_policies AS policy SET mask_after_days = clock.days
    FROM (VALUES ('user_sessions', 30), ('oauth2_token_logs', 90), ('audit_logs', 90)) AS clock (table_name, days)
    WHERE policy.table_name = clock.table_name AND policy.mask_after_days IS NULL AND clock.days < policy.retention_days
"""
