"""What a price is made by, as data: plans, drafts, the fields that rules may read; and the price on the quote.

New tables, nullable columns and columns with a constant default: locks of milliseconds. The tables of rates and rules
are small; their new exclusion constraints are built at once. What is stored already counts as active.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.columns import (
    Hash,
    Instant,
    Json,
    StateCode,
    choice,
    drop_tables,
    flag,
    json_list,
    json_object,
    keep_updated_at,
    required,
    timestamps,
    uuid_id,
)

revision = "024"
down_revision = "023"
branch_labels = None
depends_on = None

PRODUCTS = ("auto", "home", "renters", "life")
RULES = ("discount_rules", "surcharge_rules")
SWITCHED = ("rate_tables", *RULES, "state_rating_rules")
RATE_KEY = "state || '|' || product_type || '|' || coverage_type"


def no_overlap(table: str, key: str) -> postgresql.ExcludeConstraint:
    """Neither two active rows of one key and day, nor two drafts."""
    return postgresql.ExcludeConstraint(
        (sa.text(f"text_range({key}, {key}, '[]')"), "&&"),
        (sa.text("int4range(is_active::integer, is_active::integer, '[]')"), "&&"),
        (sa.text("daterange(effective_date, expiration_date)"), "&&"),
        name=f"ex_{table}_no_overlap",
        using="gist",
    )


def upgrade() -> None:
    fields = op.create_table(
        "rating_fields",
        sa.Column("name", sa.String(80), primary_key=True),
        choice("value_type", "text", "number", "boolean", "date"),
        required("description", sa.Text),
        *timestamps(),
        sa.CheckConstraint("name ~ '^(quote|coverage|vehicle|driver|property)\\.[a-z][a-z0-9_]*$'", name="name"),
    )
    op.bulk_insert(fields, [{"name": n, "value_type": t, "description": d} for n, t, d in FIELDS])
    op.create_table(
        "rating_plans",
        uuid_id(),
        required("state", StateCode),
        choice("product_type", *PRODUCTS),
        required("name", sa.String(100)),
        json_list("steps"),
        required("rounding", Json),
        json_list("fees"),
        json_object("assignment"),
        sa.Column("discount_cap_percent", sa.Numeric(5, 2)),
        sa.Column("surcharge_cap_percent", sa.Numeric(6, 2)),
        sa.Column("min_premium", sa.Numeric(12, 2)),
        sa.Column("max_premium", sa.Numeric(12, 2)),
        flag("is_active", False),
        required("effective_date", sa.Date),
        sa.Column("expiration_date", sa.Date),
        *timestamps(),
        sa.CheckConstraint("discount_cap_percent BETWEEN 0 AND 100", name="discount_cap_percent"),
        sa.CheckConstraint("surcharge_cap_percent BETWEEN 0 AND 9999", name="surcharge_cap_percent"),
        sa.CheckConstraint("min_premium >= 0", name="min_premium"),
        sa.CheckConstraint("min_premium <= max_premium", name="premiums"),
        sa.CheckConstraint("expiration_date > effective_date", name="dates"),
        sa.CheckConstraint("state ~ '^[A-Z]{2}$'", name="state"),
        no_overlap("rating_plans", "state || '|' || product_type"),
    )
    keep_updated_at("rating_fields", "rating_plans")

    op.add_column("rate_tables", json_object("other_factors"))
    for table in SWITCHED:
        op.add_column(table, flag("is_active", True))
        op.alter_column(table, "is_active", server_default=sa.false())
    for table in RULES:
        op.add_column(table, sa.Column("state", StateCode))
        op.add_column(table, sa.Column("product_type", sa.Enum(*PRODUCTS, native_enum=False, length=32)))
        op.add_column(
            table,
            sa.Column(
                "applies_to",
                sa.Enum("coverage", "policy", native_enum=False, length=32),
                nullable=False,
                server_default="coverage",
            ),
        )
        op.create_check_constraint("state", table, "state ~ '^[A-Z]{2}$'")
        op.create_check_constraint("product_type", table, f"product_type IN {PRODUCTS}")
        op.create_check_constraint("applies_to", table, "applies_to IN ('coverage', 'policy')")
    op.drop_constraint("ex_rate_tables_no_overlap", "rate_tables")
    op.execute(sa.schema.AddConstraint(on("rate_tables", no_overlap("rate_tables", RATE_KEY))))
    op.execute(
        sa.schema.AddConstraint(
            on("state_rating_rules", no_overlap("state_rating_rules", "state || '|' || product_type || '|' || factor"))
        )
    )
    op.create_check_constraint("min_premium", "rate_tables", "min_premium >= 0")
    op.create_check_constraint("min_factor", "state_rating_rules", "min_factor >= 0")

    op.add_column("quotes", sa.Column("rating_inputs", Json))
    op.add_column("quotes", flag("is_renewal", False))
    op.add_column("quotes", sa.Column("premium", sa.Numeric(12, 2)))
    op.add_column("quotes", sa.Column("coverage_premiums", Json))
    op.add_column("quotes", sa.Column("plan_version", Hash))
    op.add_column("quotes", sa.Column("input_hash", Hash))
    op.add_column("quotes", sa.Column("rating_trace", Json))
    op.add_column("quotes", sa.Column("rated_at", Instant))
    op.add_column("quotes", sa.Column("rating_problem", sa.Text))


def on(table: str, constraint: postgresql.ExcludeConstraint) -> postgresql.ExcludeConstraint:
    """The constraint, attached to a table of that name, as its DDL wants it."""
    sa.Table(table, sa.MetaData(), constraint)
    return constraint


def downgrade() -> None:
    for column in (
        "rating_problem", "rated_at", "rating_trace", "input_hash", "plan_version", "coverage_premiums", "premium",
        "is_renewal", "rating_inputs",
    ):  # fmt: skip
        op.drop_column("quotes", column)
    op.drop_constraint("ck_state_rating_rules_min_factor", "state_rating_rules")
    op.drop_constraint("ck_rate_tables_min_premium", "rate_tables")
    op.drop_constraint("ex_state_rating_rules_no_overlap", "state_rating_rules")
    op.drop_constraint("ex_rate_tables_no_overlap", "rate_tables")
    # Without the switch a draft would count, and stand in the way of what it was to replace.
    for table in SWITCHED:
        op.execute(f"DELETE FROM {table} WHERE NOT is_active")  # noqa: S608 - names of ours
    op.execute(
        sa.schema.AddConstraint(
            on(
                "rate_tables",
                postgresql.ExcludeConstraint(
                    (sa.text(f"text_range({RATE_KEY}, {RATE_KEY}, '[]')"), "&&"),
                    (sa.text("daterange(effective_date, expiration_date)"), "&&"),
                    name="ex_rate_tables_no_overlap",
                    using="gist",
                ),
            )
        )
    )
    for table in RULES:
        for column in ("applies_to", "product_type", "state"):
            op.drop_column(table, column)
    for table in SWITCHED:
        op.drop_column(table, "is_active")
    op.drop_column("rate_tables", "other_factors")
    drop_tables("rating_plans", "rating_fields")


# What the documents of a quote usually hold. More are rows: a field that is not listed can't be rated by.
FIELDS = (
    ("quote.state", "text", "State of the quote"),
    ("quote.is_renewal", "boolean", "The quote continues a policy"),
    ("quote.territory", "text", "Filed territory"),
    ("quote.credit_tier", "text", "Filed tier of the insurance score"),
    ("quote.prior_insurance", "boolean", "Insured elsewhere before"),
    ("quote.pays_in_full", "boolean", "The whole premium is paid at once"),
    ("quote.paperless", "boolean", "Documents are sent electronically"),
    ("quote.multi_policy", "boolean", "Has another policy here"),
    ("quote.ai_risk_score", "number", "Stored score, 0.00 to 1.00"),
    ("quote.conversion_probability", "number", "Stored estimate, 0.00 to 1.00"),
    ("quote.vehicle_count", "number", "Vehicles on the quote"),
    ("quote.driver_count", "number", "Drivers on the quote"),
    ("quote.coverage_count", "number", "Coverages selected"),
    ("coverage.type", "text", "The coverage that is being rated"),
    ("coverage.limit", "text", "Selected limit"),
    ("coverage.deductible", "text", "Selected deductible"),
    ("vehicle.territory", "text", "Filed territory of where it is kept"),
    ("vehicle.class", "text", "Filed class"),
    ("vehicle.use", "text", "Filed use"),
    ("vehicle.symbol", "text", "Filed symbol of make and model"),
    ("vehicle.model_year", "number", "Model year"),
    ("vehicle.make", "text", "Make"),
    ("vehicle.model", "text", "Model"),
    ("vehicle.annual_miles", "number", "Miles a year"),
    ("vehicle.is_branded", "boolean", "The title says something against it"),
    ("vehicle.title_obsolete", "boolean", "The title says it is obsolete"),
    ("vehicle.title_hot_check", "boolean", "The title was paid for with a bad check"),
    ("vehicle.title_government_owned", "boolean", "The title says the government owns it"),
    ("vehicle.verification_status", "text", "What the verification of the vehicle found"),
    ("vehicle.anti_theft", "boolean", "Has an anti-theft device"),
    ("driver.class", "text", "Filed class"),
    ("driver.age", "number", "Age in years on the day the rates are taken from"),
    ("driver.years_licensed", "number", "Years since the licence was issued, on that day"),
    ("driver.points", "number", "Points of the driving record"),
    ("driver.credit_tier", "text", "Filed tier of the insurance score"),
    ("driver.license_type", "text", "Kind of licence"),
    ("driver.license_state", "text", "State that issued the licence"),
    ("driver.license_status", "text", "Status of the licence at its issuer"),
    ("driver.verification_status", "text", "What the verification of the driver found"),
    ("driver.good_student", "boolean", "Filed proof of good grades"),
    ("driver.defensive_course", "boolean", "Filed proof of a driving course"),
    ("property.territory", "text", "Filed territory"),
    ("property.construction", "text", "Filed construction class"),
    ("property.protection_class", "text", "Filed fire protection class"),
    ("property.year_built", "number", "Year of construction"),
)
