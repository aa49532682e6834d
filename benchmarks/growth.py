"""What does not grow: the cost of a claim with the history, a worker's memory with the backlog and with time."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from statistics import linear_regression, median

import psycopg

from benchmarks.contenders import CONTENDERS
from benchmarks.ours.plain import args_of
from benchmarks.place import Place
from benchmarks.processes import memory_mb
from benchmarks.stage import open_stage
from benchmarks.templates import Template
from tasks.rating.task import recalculate
from worker import ledger, window
from worker.bulk import enqueue_many
from worker.database import Database
from worker.outcomes import Done
from worker.settings import DatabaseSettings
from worker.verdict import judge

BATCH = 100
BATCHES = 30
LEASE = timedelta(seconds=30)
SOAK_PER_S = 50

# As the ledger leaves it: no lease, no hint, an end. Without triggers, which have nothing to do for such rows.
_FINISHED = """
    INSERT INTO job (id, kind, queue, tenant, args, state, attempt, fence, created_at, started_at, finished_at, run_at)
    SELECT gen_random_uuid(), 'rating.recalculate', 'rating', 'system', '{"quote_id": "none"}', 'done', 1, 1,
        ended - interval '2 seconds', ended - interval '1 second', ended, ended - interval '2 seconds'
    FROM (SELECT now() - n * interval '0.1 seconds' AS ended FROM generate_series(1, %s) AS n) AS history
"""
_SCHEDULED = """
    INSERT INTO job (id, kind, queue, tenant, args, run_at)
    SELECT gen_random_uuid(), 'verification.verify', 'verification', 'tenant ' || n %% 10, '{"request_id": 0}',
        now() + interval '1 day' + n * interval '0.01 seconds'
    FROM generate_series(1, %s) AS n
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """Milliseconds a job: picked, claimed and finished a hundred at a time, beside this many finished rows."""

    finished_rows: int
    ms_per_job: float
    spread_ms: float


@dataclass(frozen=True, slots=True)
class Memory:
    """Megabytes of one worker that has run as many jobs before and after."""

    scheduled_rows: int
    before_mb: float
    after_mb: float


@dataclass(frozen=True, slots=True)
class Soak:
    """The straight line through a worker's memory in the second half of a steady load."""

    minutes: float
    jobs: int
    lost: int
    start_mb: float
    end_mb: float
    mb_per_hour: float


def history(place: Place, template: Template, sizes: Sequence[int]) -> Iterator[Cost]:
    """The same claims beside more and more finished rows, in one database."""
    with place.copy_of(template.database) as name:
        database = Database(DatabaseSettings.model_validate({"DATABASE_URL": place.url(name)}))
        with psycopg.connect(place.admin_url(name), autocommit=True) as sql:
            sql.execute("SET session_replication_role = replica")
            there = 0
            for size in sizes:
                if size > there:
                    sql.execute(_FINISHED, [size - there])
                    there = size
                sql.execute("VACUUM (ANALYZE) job")
                sql.execute("CHECKPOINT")
                yield _cost(database, size)
        database.close()


def _cost(database: Database, size: int) -> Cost:
    with database.transaction() as connection:
        enqueue_many(connection, recalculate, [args_of(n) for n in range(BATCH * BATCHES)])
    times = []
    for _ in range(BATCHES):
        start = time.monotonic()
        with database.transaction() as connection:
            due = window.pick(
                connection, "rating", limit=BATCH, settled_for=timedelta(0), lost_after=timedelta(minutes=1)
            )
        with database.transaction() as connection:
            jobs = ledger.claim(connection, [one.id for one in due], owner="benchmark", lease=LEASE)
        with database.transaction() as connection:
            ended = ledger.finish(connection, [(job, judge(job, Done(None))) for job in jobs])
        if len(ended) != BATCH:
            raise RuntimeError(f"{len(ended)} of {BATCH} jobs were claimed and finished")
        times.append((time.monotonic() - start) * 1000 / BATCH)
    return Cost(size, median(times), max(times) - min(times))


def backlog(place: Place, template: Template, rows: int, warm_up: int) -> Memory:
    """A worker's memory after some jobs, and after as many more beside jobs that are due tomorrow."""
    ours = replace(next(one for one in CONTENDERS if one.is_ours), processes=1)
    with open_stage(place, ours, template, latency_s=0.05, in_flight=128, warm_up=warm_up) as stage:
        found = []
        for number in (0, rows):
            if number:
                stage.sql.execute("SET session_replication_role = replica")
                stage.sql.execute(_SCHEDULED, [number])
                stage.sql.execute("VACUUM (ANALYZE) job")
            stage.ask(warm_up)
            stage.wait()
            found.append(memory_mb(stage.fleet.pids))
        return Memory(rows, *found)


def soak(place: Place, template: Template, minutes: float, warm_up: int) -> Soak:
    """A steady load. Nobody's answer is kept, so the same drivers can be asked about again and again."""
    ours = replace(next(one for one in CONTENDERS if one.is_ours), processes=1)
    with open_stage(place, ours, template, latency_s=0.05, in_flight=128, warm_up=warm_up) as stage:
        stage.sql.execute("UPDATE integration_configuration SET cache_ttl_hours = 0")
        start = time.monotonic()
        times: list[float] = []
        sizes: list[float] = []
        # A line needs points, however busy the machine is.
        while (elapsed := time.monotonic() - start) < minutes * 60 or len(times) < 4:
            stage.ask_again(SOAK_PER_S, SOAK_PER_S)
            times.append(elapsed / 3600)
            sizes.append(memory_mb(stage.fleet.pids))
        stage.wait()
        half = len(times) // 2
        slope = linear_regression(times[half:], sizes[half:]).slope
        return Soak(minutes, stage.asked, stage.asked - stage.done(), sizes[0], sizes[-1], slope)
