"""How much of the time of a mass recalculation is calculation, by hand: python -m tests.tasks.rating.speed

The same ranges of the same quotes are read, written and finished by the engine in two processes, once with the premium
computed and once with a premium at hand; the second is what any calculation is measured against. The suite runs it
with few quotes and looks at what it did, not at how long it took.
"""

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from tasks.rating import task
from tasks.rating.many import RangeDone, RangeWork
from tasks.rating.premium import Rated
from tasks.rating.standing import Result, rate_one
from tests.conftest import DatabaseUrls, database_from, migrate, settings_for
from tests.migrations.rows import insert
from tests.tasks.rating.filed import rounding
from worker.crypto import Keyring
from worker.database import Database
from worker.dev.embedded import EmbeddedServers
from worker.job import Kind, Surroundings
from worker.outcomes import Done, Outcome
from worker.process.engine import Engine
from worker.settings import Settings

COVERAGES = ("BI", "COLL", "PD")


@dataclass(frozen=True)
class Pass:
    """One pass over all quotes. `premiums` is how many different ones there are afterwards."""

    seconds: float
    written: int
    premiums: int


async def _copy(work: RangeWork) -> Outcome[RangeDone]:
    """The premium of the range's first quote for all: everything but the calculation."""
    first = rate_one(work.works[0]).rated
    assert isinstance(first, Rated)
    return Done(RangeDone(work, [Result(one, first) for one in work.works]))


COPY: Kind = replace(task.recalculate_range, act=_copy)


def file_everything(sql: psycopg.Connection, quotes: int) -> None:
    """A plan of five factors, three coverages and three rules, and quotes of one or two vehicles."""
    where: dict[str, Any] = {"state": "TX", "product_type": "auto", "effective_date": "2026-01-01", "is_active": True}
    steps = [
        {"group": "territory", "field": "quote.territory"},
        {"group": "vehicle", "field": "vehicle.class"},
        {"group": "driver", "field": "driver.class"},
        {"group": "credit", "field": "quote.credit_tier"},
        {"group": "points", "field": "driver.points", "match": "from"},
    ]
    fees = [{"code": "POLICY", "amount": 90, "per": "policy"}, {"code": "MVCPA", "amount": 2.5, "per": "vehicle"}]
    assignment = {"rule": "highest_to_highest", "unassigned": {"class": "none", "points": 0}}
    insert(
        sql, "rating_plans", **where, name="Speed", steps=steps, rounding=rounding(), fees=fees, assignment=assignment
    )
    for number, coverage in enumerate(COVERAGES):
        factors = {
            "territory_factors": {str(100 + n): round(1 + n / 100, 2) for n in range(100)},
            "vehicle_factors": {"a": 1.05, "b": 1.2, "c": 1.4},
            "driver_factors": {"adult": 1.24, "teen": 2.5, "none": 1.07},
            "credit_factors": {"good": 0.9, "fair": 1.1},
            "other_factors": {"points": {"0": 1, "2": 1.2, "4": 1.9}},
        }
        insert(sql, "rate_tables", **where, coverage_type=coverage, base_rate=100 + 50 * number, **factors)
    off = {"discount_type": "percentage", "discount_value": "5", "effective_date": "2026-01-01", "is_active": True}
    paperless = {"field": "quote.paperless", "op": "eq", "value": True}
    insert(sql, "discount_rules", code="LOYAL", rule_name="Loyal", **off)
    insert(sql, "discount_rules", code="PAPERLESS", rule_name="Paperless", eligibility_rules=paperless, **off)
    on = {"surcharge_type": "percentage", "surcharge_value": "15", "effective_date": "2026-01-01", "is_active": True}
    points = {"field": "driver.points", "op": "gte", "value": 3}
    insert(sql, "surcharge_rules", code="POINTS", rule_name="Points", trigger_conditions=points, **on)
    sql.execute(
        """
        INSERT INTO quotes (state, product_type, status, effective_date, rating_inputs, coverage_selections,
            vehicle_info, drivers)
        SELECT 'TX', 'auto', 'quoted', '2026-06-01',
            jsonb_build_object('territory', (100 + n %% 100)::text, 'credit_tier', 'good', 'paperless', n %% 3 = 0),
            %s,
            jsonb_build_object('vehicles', jsonb_build_array(jsonb_build_object('class', substr('abc', 1 + n %% 3, 1)))
                || CASE WHEN n %% 2 = 0 THEN '[{"class": "b"}]' ELSE '[]' END::jsonb),
            jsonb_build_array(jsonb_build_object('class', 'adult', 'points', n %% 7))
        FROM generate_series(1, %s) AS n
        """,
        [Jsonb(dict.fromkeys(COVERAGES, True)), quotes],
    )
    sql.execute("ANALYZE quotes")


def work_off(settings: Settings, kind: Kind, ids: Sequence[UUID]) -> None:
    """Run range jobs in this process, as a rating worker would."""
    database = Database(settings)
    engine = Engine(database, Surroundings(settings, Keyring.of(settings)), on_room=lambda: None)
    for job_id in ids:
        engine.begin(kind, [job_id])  # waits for a place
    engine.close()
    database.close()


def _work_off(settings: Settings, is_copy: bool, ids: Sequence[UUID]) -> None:
    work_off(settings, COPY if is_copy else task.recalculate_range, ids)


def one_pass(settings: Settings, sql: psycopg.Connection, *, is_copy: bool, processes: int) -> Pass:
    """Change the rates, plan the ranges, and have them worked off; only that is measured."""
    sql.execute("UPDATE rate_tables SET base_rate = base_rate + 1")
    sql.execute("DELETE FROM job")
    sql.execute("SELECT enqueue_quotes_recalculation()")
    [(whole,)] = sql.execute("SELECT id FROM job").fetchall()
    work_off(settings, task.recalculate_many, [whole])
    ids = [row[0] for row in sql.execute("SELECT id FROM job WHERE parent_id = %s ORDER BY id", [whole])]
    shares = [ids[number::processes] for number in range(processes)]
    if processes == 1:
        start = time.monotonic()
        _work_off(settings, is_copy, ids)
        seconds = time.monotonic() - start
    else:
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            pool.starmap(_work_off, [(settings, is_copy, [])] * processes)  # imports are not what is measured
            start = time.monotonic()
            pool.starmap(_work_off, [(settings, is_copy, share) for share in shares], chunksize=1)
            seconds = time.monotonic() - start
    [(written,)] = sql.execute("SELECT sum((progress ->> 'rated')::integer) FROM job WHERE state = 'done'").fetchall()
    [(premiums,)] = sql.execute("SELECT count(DISTINCT premium) FROM quotes").fetchall()
    return Pass(seconds, written, premiums)


@contextmanager
def _a_database() -> Any:
    with tempfile.TemporaryDirectory() as folder, EmbeddedServers(Path(folder) / "home", durable=False) as servers:
        for urls in database_from(servers, "template0"):
            migrate(urls)
            yield urls, servers.redis_url


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quotes", type=int, default=100_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--passes", type=int, default=2, help="of each kind, in turn")
    asked = parser.parse_args()
    with _a_database() as (urls, redis_url):
        database: DatabaseUrls = urls
        settings = settings_for(database, redis_url, calls_in_flight=4)
        with psycopg.connect(database.owner_url, autocommit=True) as sql:
            file_everything(sql, asked.quotes)
            times: dict[bool, list[float]] = {True: [], False: []}
            for number in range(2 * asked.passes):
                is_copy = number % 2 == 0
                done = one_pass(settings, sql, is_copy=is_copy, processes=asked.processes)
                times[is_copy].append(done.seconds)
                word = "without calculation" if is_copy else "rated"
                print(f"{done.written} quotes {word}: {done.seconds:.1f} s, {done.written / done.seconds:.0f}/s")
    print(f"rated at {min(times[True]) / min(times[False]):.0%} of the speed without calculation")


if __name__ == "__main__":
    main()
