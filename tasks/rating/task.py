"""The doors of rating: one quote, many quotes, a range of them, and the calendar.

Rating is CPU work, a fraction of a millisecond for a quote, and its queue has processes of its own (`--pool prefork`),
so it never holds up calls of providers. Within such a process it runs in the event loop like any other kind: a pool of
processes under each worker would pay more for carrying quotes to and fro than for rating them.
"""

import asyncio
from typing import Any

from tasks.rating import calendar_store, many_store, store
from tasks.rating.many import RangeDone, RangeWork
from tasks.rating.refusal import Refused
from tasks.rating.standing import Result, ToRate, rate_one
from worker.job import job
from worker.outcomes import Done, GiveUp, Outcome

BREATH = 20
"""Quotes that are rated before the event loop may see to renewals, cancels and deadlines."""


@job("rating.recalculate", queue="rating", deadline_s=30, load=store.load, save=store.save)
async def recalculate(work: ToRate) -> Outcome[Result]:
    """Bring one quote's premium up to date. Safe to run twice: same inputs and same plan give the same row."""
    result = rate_one(work)
    if isinstance(result.rated, Refused):
        return GiveUp(result.rated.code, f"Quote {work.quote.id}: {result.rated.message}.", result)
    return Done(result)


@job("rating.recalculate_many", queue="rating", deadline_s=60, load=many_store.load, save=many_store.save)
async def recalculate_many(_: Any) -> Outcome[Any]:
    """Bring all quotes that a filter means up to date, in ranges that are jobs. The work is in the loading."""
    raise AssertionError("every run of it ends when it is loaded")


@job(
    "rating.recalculate_range", queue="rating", deadline_s=120, load=many_store.load_ranges, save=many_store.save_ranges
)
async def recalculate_range(work: RangeWork) -> Outcome[RangeDone]:
    """Rate the quotes of one range; for a dry run only to see what would become of them."""
    results = []
    for number, one in enumerate(work.works):
        if number % BREATH == 0:
            await asyncio.sleep(0)
        results.append(rate_one(one))
    return Done(RangeDone(work, results))


@job("rating.follow_dates", queue="rating", deadline_s=60, load=calendar_store.load, save=calendar_store.save)
async def follow_dates(products: list[tuple[str | None, str | None]]) -> Outcome[list[tuple[str | None, str | None]]]:
    """Have quotes recalculated whose rates change because a filed date has come: those without a date of their own."""
    return Done(products)
