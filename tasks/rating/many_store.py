"""The SQL of recalculating many quotes: a job that plans ranges of keys as jobs of their own and waits for them.

Each range is done once, in the transaction that ends its job; so a crash repeats nothing that was written and a retry
runs only what is missing.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Connection, Row, text

from tasks.rating import quote_store
from tasks.rating.many import RANGE, RangeDone, RangeWork, pause, progress_of
from tasks.rating.refusal import Refused
from tasks.rating.standing import QuoteRow, ToRate, Waiting
from worker.job import Finished, Job
from worker.outcomes import Cancelled, Done, Expired, GiveUp, Outcome, Snooze

# Drafts are left to those who ask for a price; what is open and has one, or is about to, is brought up to date.
_FILTER = """
    quotes.status IN ('calculating', 'quoted') AND coalesce(quotes.expires_at > now(), true)
    AND (CAST(:args AS jsonb) ->> 'state' IS NULL OR quotes.state = CAST(:args AS jsonb) ->> 'state')
    AND (CAST(:args AS jsonb) ->> 'product_type' IS NULL
         OR quotes.product_type = CAST(:args AS jsonb) ->> 'product_type')
    AND coalesce(coalesce(quotes.effective_date, (now() AT TIME ZONE 'UTC')::date)
                 >= CAST(CAST(:args AS jsonb) ->> 'from' AS date), true)
    AND coalesce(coalesce(quotes.effective_date, (now() AT TIME ZONE 'UTC')::date)
                 < CAST(CAST(:args AS jsonb) ->> 'until' AS date), true)
"""


def load(connection: Connection, jobs: Sequence[Job]) -> Mapping[UUID, Outcome[Any]]:
    """Plan the ranges of new jobs, see how far those of others are. Every run ends here."""
    return {job.id: _look(connection, job) for job in jobs}


def _look(connection: Connection, job: Job) -> Outcome[Any]:
    connection.execute(_REOPEN, {"id": job.id})
    ranges = connection.execute(_RANGES, {"id": job.id}).one()
    if ranges.planned == 0:
        connection.execute(_PLAN, {"id": job.id, "args": orjson.dumps(job.args).decode(), "size": RANGE})
        ranges = connection.execute(_RANGES, {"id": job.id}).one()
    progress = _progress(connection, job, ranges)
    if ranges.open:
        return Snooze(f"{ranges.open} of {ranges.planned} ranges", pause(ranges.open), progress)
    if ranges.failed:
        message = f"{ranges.failed} of {ranges.planned} ranges did not end well; a retry runs just those again."
        return GiveUp("ranges_failed", message, progress)
    return Done(progress)


# What ended badly before this round began gets another try: a job that is retried by hand starts anew.
_REOPEN = text(
    """
    SELECT reopen_jobs(array_agg(range.id), 'rating.recalculate_many')
    FROM job AS range JOIN job AS whole ON whole.id = range.parent_id
    WHERE whole.id = :id AND range.state IN ('failed', 'cancelled', 'expired') AND range.finished_at < whole.started_at
    HAVING count(*) > 0
    """
)

_PLAN = text(
    f"""
    INSERT INTO job (kind, queue, tenant, priority, args, parent_id)
    SELECT 'rating.recalculate_range', whole.queue, whole.tenant, whole.priority,
        whole.args || jsonb_build_object('first', ids[1], 'last', ids[cardinality(ids)]), whole.id
    FROM job AS whole, (
        SELECT array_agg(id ORDER BY id) AS ids
        FROM (SELECT id, (row_number() OVER (ORDER BY id) - 1) / :size AS range FROM quotes WHERE {_FILTER}) AS numbered
        GROUP BY range
    ) AS ranges
    WHERE whole.id = :id
    """  # noqa: S608 - constants of ours
)

_RANGES = text(
    """
    SELECT count(*) AS planned, count(*) FILTER (WHERE state IN ('ready', 'running')) AS open,
        count(*) FILTER (WHERE state IN ('failed', 'cancelled', 'expired')) AS failed
    FROM job WHERE parent_id = :id
    """
)


def _progress(connection: Connection, job: Job, ranges: Row[Any]) -> dict[str, Any]:
    counted = connection.execute(_COUNTS, {"id": job.id}).one()
    progress: dict[str, Any] = {
        "ranges": ranges.planned,
        "ranges_done": ranges.planned - ranges.open - ranges.failed,
        **counted._asdict(),
    }
    if job.args.get("dry_run") and not ranges.open:
        progress["differences"] = dict(connection.execute(_DIFFERENCES, {"id": job.id}).mappings().one())
        progress["histogram"] = [list(row) for row in connection.execute(_HISTOGRAM, {"id": job.id})]
    return progress


_COUNTS = text(
    """
    SELECT coalesce(sum((progress ->> 'quotes')::integer), 0)::integer AS quotes,
        coalesce(sum((progress ->> 'rated')::integer), 0)::integer AS rated,
        coalesce(sum((progress ->> 'unchanged')::integer), 0)::integer AS unchanged,
        coalesce(sum((progress ->> 'waiting')::integer), 0)::integer AS waiting,
        coalesce(sum((progress ->> 'again')::integer), 0)::integer AS again,
        coalesce((
            SELECT jsonb_object_agg(code, quotes) FROM (
                SELECT code, sum(quotes::integer) AS quotes
                FROM job AS range, jsonb_each_text(range.progress -> 'refused') AS refused (code, quotes)
                WHERE range.parent_id = :id AND range.state = 'done' GROUP BY code
            ) AS refused
        ), '{}') AS refused
    FROM job WHERE parent_id = :id AND state = 'done'
    """
)

_CENTS = """
    SELECT cents::bigint FROM job, jsonb_array_elements_text(progress -> 'cents') AS cents
    WHERE parent_id = :id AND state = 'done'
"""

_DIFFERENCES = text(
    f"""
    SELECT count(*) AS count, count(*) FILTER (WHERE cents > 0) AS up, count(*) FILTER (WHERE cents < 0) AS down,
        (min(cents) / 100.0)::numeric(12, 2)::text AS min, (max(cents) / 100.0)::numeric(12, 2)::text AS max,
        (percentile_cont(0.5) WITHIN GROUP (ORDER BY cents) / 100)::numeric(12, 2)::text AS median,
        (sum(cents) / 100.0)::numeric(14, 2)::text AS total
    FROM ({_CENTS}) AS differences (cents)
    """  # noqa: S608 - constants of ours
)

# Twenty bins of equal width between the extremes: dollars at the lower end, and quotes.
_HISTOGRAM = text(
    f"""
    WITH differences (cents) AS MATERIALIZED ({_CENTS}), ends AS (
        SELECT min(cents) AS low, greatest(max(cents) - min(cents), 1) / 20.0 AS width FROM differences
    )
    SELECT ((low + width * bin) / 100)::numeric(12, 2)::text, count(cents)
    FROM ends CROSS JOIN generate_series(0, 19) AS bin
    LEFT JOIN differences ON least(floor((cents - low) / width), 19) = bin
    WHERE low IS NOT NULL
    GROUP BY bin, low, width ORDER BY bin
    """  # noqa: S608 - constants of ours
)


def save(connection: Connection, finished: Sequence[Finished]) -> None:
    """How far they are. Ranges of a whole that was stopped are stopped with it."""
    for run in finished:
        if (progress := getattr(run.outcome, "result", None)) is not None:
            _note(connection, run.job.id, progress)
    stopped = [
        run.job.id
        for run in finished
        if isinstance(run.outcome, Cancelled | Expired) or (isinstance(run.outcome, GiveUp) and not run.outcome.result)
    ]
    if stopped:
        connection.execute(_STOP, {"ids": stopped})


_STOP = text(
    """
    UPDATE job SET cancel_requested_at = now(), hinted_at = NULL
    WHERE parent_id = ANY(CAST(:ids AS uuid[])) AND state IN ('ready', 'running') AND cancel_requested_at IS NULL
    """
)


def load_ranges(connection: Connection, jobs: Sequence[Job]) -> Mapping[UUID, RangeWork]:
    """Look at the quotes of each range: from the first to the last of its keys, as far as the filter still means them.

    Nothing is marked as `calculating`: that would write every row twice for the sake of a second. Whoever changes a
    quote meanwhile changes its token.
    """
    return {job.id: _range(connection, job) for job in jobs}


def _range(connection: Connection, job: Job) -> RangeWork:
    args = job.args
    rows = connection.execute(
        _IN_RANGE, {"args": orjson.dumps(args).decode(), "first": args["first"], "last": args["last"]}
    )
    quotes = [QuoteRow(*row) for row in rows]
    found = quote_store.standings(connection, quotes, [UUID(draft) for draft in args.get("drafts", ())])
    works = [work for work in found.values() if isinstance(work, ToRate)]
    others = {quote_id: other for quote_id, other in found.items() if not isinstance(other, ToRate)}
    return RangeWork(len(quotes), works, others, bool(args.get("dry_run")))


_IN_RANGE = text(
    f"{quote_store.QUOTES} WHERE quotes.id BETWEEN CAST(:first AS uuid) AND CAST(:last AS uuid) AND {_FILTER}"
)


def save_ranges(connection: Connection, finished: Sequence[Finished]) -> None:
    """The premiums of each range, and what is to be said of the quotes that got none."""
    for run in finished:
        if not isinstance(run.outcome, Done):
            continue
        done: RangeDone = run.outcome.result
        _note(connection, run.job.id, progress_of(done) if done.work.is_dry else _write(connection, done))


def _write(connection: Connection, done: RangeDone) -> dict[str, Any]:
    stale = quote_store.write(connection, done.results)
    refused = {quote_id: other for quote_id, other in done.work.others.items() if isinstance(other, Refused)}
    refused |= {result.work.quote.id: result.rated for result in done.results if isinstance(result.rated, Refused)}
    waiting = {quote_id: other.reason for quote_id, other in done.work.others.items() if isinstance(other, Waiting)}
    quote_store.give_back(connection, {quote_id: quote_store.sentence(why) for quote_id, why in refused.items()})
    quote_store.give_back(connection, waiting, holds=True)
    quote_store.again(connection, stale, "edited_meanwhile")
    quote_store.again(connection, waiting, "verification_open")
    return progress_of(done, len(stale))


def _note(connection: Connection, job_id: UUID, progress: Mapping[str, Any]) -> None:
    connection.execute(_NOTE, {"id": job_id, "progress": orjson.dumps(progress).decode()})


_NOTE = text("UPDATE job SET progress = CAST(:progress AS jsonb) WHERE id = :id")
