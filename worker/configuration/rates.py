"""Putting drafts of rates in force. The database does the rest: it ends what came before, and asks for the quotes that
are touched to be recalculated."""

from uuid import UUID

from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from worker.errors import BadRequest


def activate_rating(session: Session | Connection, table: str, row_id: UUID) -> bool:
    """Put a draft in force; False if it was already. `table` is rate_tables, rating_plans, discount_rules,
    surcharge_rules or state_rating_rules.

    The active row that is in force on its first day ends there. Raises `BadRequest` with code unknown_table,
    unknown_row or overlap, where an active row begins on the same day or later; nothing is written then.
    """
    row = session.execute(_ACTIVATE, {"table": table, "id": row_id}).one()
    if row.problem_code is not None:
        raise BadRequest(row.problem_code, f"{row.problem[0].upper()}{row.problem[1:]}.")
    return bool(row.was_draft)


_ACTIVATE = text("SELECT * FROM activate_rating(:table, :id)")
