"""Every personal column belongs to somebody: it is masked, or encrypted, or leaves with its row, or is listed here."""

import sqlalchemy as sa

from models import Base
from models.facts import is_encrypted, kept_while_used, personal, personal_columns, retention_of
from tasks.masking.requests_store import REQUESTS, RESULTS
from tasks.masking.rows import masked_columns
from tasks.masking.rows_store import AUDIT, maskable

MASKED = {*maskable(), REQUESTS, RESULTS, AUDIT}

KEPT = {
    "users.email": "an account, until it is closed",
    "users.first_name": "as users.email",
    "users.last_name": "as users.email",
    "user_mfa_settings.webauthn_credentials": "public keys of an account, until it is closed",
    "customers.data": "the platform's record of a customer: policies and claims refer to it",
    "call_budget.set_by": "an operator answers for it",
    "job_pause.paused_by": "an operator answers for it",
    "job_pause.reason": "an operator's words, until it is resumed",
    "schedule_entry.paused_by": "an operator answers for it",
    "schedule_entry.pause_reason": "an operator's words, until it is resumed",
    "legal_holds.reason": "it is evidence",
    "integration_node.sample_value": "made up by whoever describes the field",
}
"""Personal data that nothing takes away by itself, and why."""


def leaves(table: sa.Table) -> bool:
    """Whether retention removes the table's rows: by their own clock, or with the rows they belong to."""
    kept = retention_of(table)
    if kept.days is not None:
        return True
    return kept.with_table is not None and leaves(Base.metadata.tables[kept.with_table])


def owner_of(table: sa.Table, column: str) -> str | None:
    if is_encrypted(table.columns[column]):
        return "encryption"
    if personal_columns(table)[column] == "credential":
        return "a hash says nothing" if "hash" in column or column in ("code_challenge", "nonce") else None
    if table.name in MASKED and column in masked_columns(table.name):
        return "masking"
    return "retention" if leaves(table) else None


def test_every_personal_column_has_an_owner() -> None:
    ownerless = {
        f"{table.name}.{column}"
        for table in Base.metadata.tables.values()
        for column in personal_columns(table)
        if owner_of(table, column) is None
    }
    assert ownerless == KEPT.keys()


def test_a_column_that_nobody_owns_is_found() -> None:
    table = sa.Table(
        "note", sa.MetaData(), sa.Column("author", sa.String, info=personal("name")), info=kept_while_used("r")
    )
    assert owner_of(table, "author") is None
