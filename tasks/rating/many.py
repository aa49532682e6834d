"""The arithmetic of recalculating many quotes: what a range of them came to, and how the whole stands."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from tasks.rating.premium import Rated
from tasks.rating.refusal import Refused
from tasks.rating.standing import Closed, Result, Standing, ToRate, Unchanged, Waiting

RANGE = 500
"""Quotes in one range: a second of work and one transaction of a few megabytes."""


@dataclass(frozen=True, slots=True)
class RangeWork:
    """A range of quotes, looked at: those to rate, and where the others stand."""

    quotes: int
    works: Sequence[ToRate]
    others: Mapping[Any, Standing]
    is_dry: bool


@dataclass(frozen=True, slots=True)
class RangeDone:
    """The same after it was rated."""

    work: RangeWork
    results: Sequence[Result] = field(repr=False)


def progress_of(done: RangeDone, stale: int = 0) -> dict[str, Any]:
    """What a range's row says of it: counts, and for a dry run the differences in cents. Nothing of any person."""
    refused = Counter(
        refusal.code
        for refusal in (*done.work.others.values(), *(result.rated for result in done.results))
        if isinstance(refusal, Refused)
    )
    counted = Counter(type(other) for other in done.work.others.values())
    rated = [result for result in done.results if isinstance(result.rated, Rated)]
    progress = {
        "quotes": done.work.quotes,
        "rated": len(rated) - stale,
        "unchanged": counted[Unchanged],
        "closed": counted[Closed],
        "waiting": counted[Waiting],
        "again": stale,
        "refused": dict(sorted(refused.items())),
    }
    return progress | ({"cents": list(_differences(rated))} if done.work.is_dry else {})


def _differences(rated: Iterable[Result]) -> Iterable[int]:
    for result in rated:
        if isinstance(result.rated, Rated) and result.work.quote.premium is not None:
            yield int((result.rated.premium - result.work.quote.premium) * 100)


def pause(open_ranges: int) -> timedelta:
    """Until the whole is looked at again: half a second near the end, five in the middle of a long one."""
    return timedelta(seconds=max(0.5, min(5.0, open_ranges / 50)))
