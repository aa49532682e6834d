"""Reads what is filed."""

import json
from collections.abc import Collection, Sequence
from datetime import date
from decimal import Decimal
from uuid import UUID

from sqlalchemy import Connection, text

from tasks.rating.book import Book

Product = tuple[str, str]
"""State and product type."""


def books(
    connection: Connection, products: Collection[Product], days: Sequence[date], drafts: Sequence[UUID] = ()
) -> dict[Product, Book]:
    """What is filed for each product, as far as it is in force between the first and the last of `days`."""
    if not products:
        return {}
    wanted = sorted(products)
    rows = connection.execute(
        _BOOKS,
        {
            "states": [state for state, _ in wanted],
            "products": [product for _, product in wanted],
            "first": min(days),
            "last": max(days),
            "drafts": list(drafts),
        },
    )
    return {
        (row.state, row.product): Book(row.state, row.product, json.loads(row.rows, parse_float=Decimal))
        for row in rows
    }


def _rows(table: str, where: str) -> str:
    """The table's rows as one JSON list: JSON keeps every digit, and the engine sees no types of a driver."""
    return f"""(
        SELECT coalesce(jsonb_agg(to_jsonb(filed) - ARRAY['created_at', 'updated_at']), '[]') FROM {table} AS filed
        WHERE {where} AND (filed.is_active OR filed.id = ANY(CAST(:drafts AS uuid[])))
          AND daterange(filed.effective_date, filed.expiration_date) && daterange(:first, :last, '[]')
    )"""  # noqa: S608 - constants of ours


_EXACTLY = "filed.state = wanted.state AND filed.product_type = wanted.product"
_OR_EVERY = "coalesce(filed.state = wanted.state, true) AND coalesce(filed.product_type = wanted.product, true)"

_BOOKS = text(
    f"""
    SELECT wanted.state, wanted.product, jsonb_build_object(
        'plans', {_rows("rating_plans", _EXACTLY)},
        'rate_tables', {_rows("rate_tables", _EXACTLY)},
        'discount_rules', {_rows("discount_rules", _OR_EVERY)},
        'surcharge_rules', {_rows("surcharge_rules", _OR_EVERY)},
        'state_rules', {_rows("state_rating_rules", _EXACTLY)},
        'fields', (SELECT jsonb_object_agg(name, value_type) FROM rating_fields)
    )::text AS rows
    FROM unnest(CAST(:states AS text[]), CAST(:products AS text[])) AS wanted (state, product)
    """  # noqa: S608 - constants of ours
)
