"""Reads the quotes to rate, and writes what came of them.

A row's `xmin` is its optimistic version: whoever changes a quote in any way changes it, also those who forget to count
`version` up. A quote that was changed between reading and writing is left as it is, and done again. What a
verification changes beside the row (driver, licence, vehicle) it asks to be rated again itself.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Connection, text

from models.users import SYSTEM_USER_ID
from tasks.rating import book_store
from tasks.rating.premium import Rated
from tasks.rating.refusal import Refused
from tasks.rating.standing import QuoteRow, Result, Standing, ToRate, standing

QUOTES = """
    SELECT quotes.id, quotes.status,
        quotes.status IN ('bound', 'expired', 'declined') OR coalesce(quotes.expires_at <= now(), false) AS is_closed,
        quotes.state, quotes.product_type, rates.day, quotes.premium, quotes.plan_version, quotes.input_hash,
        quotes.rating_problem AS problem, quote_rating_inputs(quotes, rates.day)::text AS inputs,
        quotes.xmin::text AS token, required.request_id AS open_request, required.request_status AS open_status
    FROM quotes
    CROSS JOIN LATERAL (SELECT coalesce(effective_date, (now() AT TIME ZONE 'UTC')::date) AS day) AS rates
    CROSS JOIN LATERAL required_verification(quotes.id) AS required
"""
"""Columns of a `QuoteRow`; a WHERE follows."""

_BY_ID = text(f"{QUOTES} WHERE quotes.id = ANY(CAST(:ids AS uuid[]))")


def quotes_by_id(connection: Connection, ids: Collection[UUID]) -> list[QuoteRow]:
    return [QuoteRow(*row) for row in connection.execute(_BY_ID, {"ids": list(ids)})]


def standings(connection: Connection, quotes: Sequence[QuoteRow], drafts: Sequence[UUID] = ()) -> dict[UUID, Standing]:
    """What is to be done about each quote, by the plan of its day."""
    open_ones = [quote for quote in quotes if not quote.is_closed]
    products = {(quote.state, quote.product_type) for quote in open_ones}
    filed = book_store.books(connection, products, [quote.day for quote in open_ones], drafts)
    return {quote.id: standing(quote, filed[quote.state, quote.product_type].plan_on) for quote in open_ones} | {
        quote.id: standing(quote, _no_plan) for quote in quotes if quote.is_closed
    }


def _no_plan(_: object) -> Any:
    raise Refused("no_plan", "a closed quote needs none")


def take(connection: Connection, works: Collection[ToRate]) -> dict[UUID, ToRate]:
    """Mark quotes as `calculating`, unless they were changed since they were read; gives them with their new tokens."""
    taken = connection.execute(
        _TAKE, {"rows": _json([{"id": str(work.quote.id), "token": work.quote.token} for work in works])}
    )
    tokens = {row.id: row.token for row in taken}
    return {
        work.quote.id: replace(work, quote=replace(work.quote, token=tokens.get(work.quote.id, work.quote.token)))
        for work in works
    }


_TAKE = text(
    """
    UPDATE quotes SET status = 'calculating'
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS given (id uuid, token text)
    WHERE quotes.id = given.id AND quotes.xmin = given.token::xid AND quotes.status IN ('draft', 'quoted')
    RETURNING quotes.id, quotes.xmin::text AS token
    """
)


def write(connection: Connection, results: Sequence[Result]) -> set[UUID]:
    """Store the premiums; gives the quotes that were changed meanwhile and have to be done again."""
    rated = {result.work.quote.id: row(result, result.rated) for result in results if isinstance(result.rated, Rated)}
    if not rated:
        return set()
    written = connection.execute(_WRITE, {"rows": _json(list(rated.values())), "user": SYSTEM_USER_ID})
    return rated.keys() - set(written.scalars())


def row(result: Result, rated: Rated) -> dict[str, Any]:
    return {
        "id": str(result.work.quote.id),
        "token": result.work.quote.token,
        "premium": f"{rated.premium:f}",
        "coverages": {name: f"{premium:f}" for name, premium in rated.coverages.items()},
        "plan_version": result.work.plan.version,
        "input_hash": result.work.input_hash,
        "trace": rated.trace,
    }


# Locked in the order of their ids, so that two transactions never wait for each other in a circle. The token is looked
# at again on the row as it is once the lock is held.
_WRITE = text(
    """
    WITH given AS MATERIALIZED (
        SELECT * FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS given (
            id uuid, token text, premium numeric, coverages jsonb, plan_version text, input_hash text, trace jsonb
        )
    ), locked AS (
        SELECT id FROM quotes WHERE id IN (SELECT id FROM given) ORDER BY id FOR NO KEY UPDATE
    )
    UPDATE quotes SET
        premium = given.premium, coverage_premiums = given.coverages, plan_version = given.plan_version,
        input_hash = given.input_hash, rating_trace = given.trace, rated_at = now(), rating_problem = NULL,
        status = 'quoted', updated_by = :user
    FROM given JOIN locked USING (id)
    WHERE quotes.id = given.id AND quotes.xmin = given.token::xid
      AND quotes.status IN ('draft', 'calculating', 'quoted')
    RETURNING quotes.id
    """
)


def give_back(connection: Connection, problems: Mapping[UUID, str | None], *, holds: bool = False) -> None:
    """Note why these quotes have no up-to-date premium; None leaves what is noted.

    With `holds` they stay at `calculating`, else they are again what they were before: a quote that has a premium was
    quoted.
    """
    if problems:
        rows = [{"id": str(quote_id), "problem": problem} for quote_id, problem in sorted(problems.items())]
        connection.execute(_GIVE_BACK, {"rows": _json(rows), "holds": holds, "user": SYSTEM_USER_ID})


_GIVE_BACK = text(
    """
    WITH given AS MATERIALIZED (
        SELECT * FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS given (id uuid, problem text)
    ), becomes AS (
        SELECT quotes.id, coalesce(given.problem, quotes.rating_problem) AS problem,
            CASE WHEN CAST(:holds AS boolean) THEN 'calculating'
                 WHEN quotes.status <> 'calculating' THEN quotes.status
                 WHEN quotes.premium IS NULL THEN 'draft' ELSE 'quoted' END AS status
        FROM quotes JOIN given USING (id)
        WHERE quotes.status IN ('draft', 'calculating', 'quoted')
        ORDER BY quotes.id FOR NO KEY UPDATE OF quotes
    )
    UPDATE quotes SET rating_problem = becomes.problem, status = becomes.status, updated_by = :user
    FROM becomes
    WHERE quotes.id = becomes.id
      AND (quotes.rating_problem, quotes.status) IS DISTINCT FROM (becomes.problem, becomes.status)
    """
)


def sentence(refused: Refused) -> str:
    """What stands on the quote: the value at fault included, for it stays in the database."""
    return f"{refused.message} ({refused.detail})" if refused.detail else refused.message


def again(connection: Connection, ids: Collection[UUID], reason: str) -> None:
    """Ask for these quotes to be recalculated one by one. The dispatcher finds the jobs."""
    if ids:
        connection.execute(_AGAIN, {"ids": sorted(ids), "reason": reason})


_AGAIN = text(
    """
    SELECT enqueue_quote_recalculation(quote_id, :reason) FROM unnest(CAST(:ids AS uuid[])) AS quote_id
    """
)


def _json(rows: Sequence[Mapping[str, Any]]) -> str:
    return orjson.dumps(rows).decode()
