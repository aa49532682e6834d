"""The night's chain on a database with a million rows: a beat finds the slots due, a worker runs them in their order.

Then what an operator would read about it: `worker schedule` on a narrow terminal, and the beat's log.
"""

import os
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import psycopg

from benchmarks.maintenance.rows import add_requests, settle
from benchmarks.maintenance.system import PATIENCE_S, System, maintenance_worker, system, wait_for
from worker.dev.system import parts

CHAIN = ("tokens.expire", "masking.sweep", "retention.sweep", "partitions.ensure")


def run(rows: int = 1_000_000, directory: Path | None = None) -> None:
    """Raises RuntimeError if an entry failed, or ran before what it comes after had ended."""
    with system(directory) as here:
        start = time.monotonic()
        with here.owner() as owner:
            _fill(owner, rows)
        print(f"{rows} rows in {time.monotonic() - start:.0f} s")
        beat = parts.verification_worker(1, beat=True)
        with here.processes(beat, maintenance_worker(), workers=2), here.owner() as owner:
            wait_for(lambda: _count(owner, "SELECT count(*) FROM schedule_entry") >= len(CHAIN))
            owner.execute(
                "UPDATE schedule_entry SET decided_until = now() - interval '1 day' WHERE name = ANY(%s)", [list(CHAIN)]
            )
            start = time.monotonic()
            wait_for(lambda: _count(owner, _ENDED, list(CHAIN)) >= len(CHAIN))
            print(f"the chain took {time.monotonic() - start:.0f} s")
            wait_for(lambda: b"partitions.ensure" in _told(here))
            _print_report(here)
            _check_order(owner)


_ENDED = "SELECT count(*) FROM job WHERE entry = ANY(%s) AND finished_at IS NOT NULL"


def _fill(owner: psycopg.Connection, rows: int) -> None:
    """Of a hundred rows twenty are due for removal, ten for masking, ten expire, and sixty stay as they are."""
    part = rows // 100
    add_requests(owner, 10 * part)
    add_requests(owner, 5 * part, days=100, is_masked=False)
    add_requests(owner, 30 * part, days=30)
    owner.execute(
        """
        INSERT INTO user_sessions (user_id, session_token_hash, expires_at)
        SELECT (SELECT id FROM users ORDER BY created_at LIMIT 1), md5(n::text), now() - interval '1 hour'
        FROM generate_series(1, %s) AS n
        """,
        [10 * part],
    )
    # More than a tenth of a table is due here, which would otherwise wait for a person's word.
    owner.execute("UPDATE data_retention_policies SET max_share = 1")
    settle(owner)


def _count(owner: psycopg.Connection, query: str, *values: object) -> int:
    (found,) = owner.execute(query.encode(), values).fetchone() or (0,)
    return int(found)


def _told(here: System) -> bytes:
    """What the beat has logged of runs that ended."""
    lines = (here.home.logs / "worker-1.log").read_bytes().splitlines()
    return b"\n".join(line for line in lines if b"clock.ended" in line)


def _print_report(here: System) -> None:
    print(_told(here).decode())
    environment = {**os.environ, "COLUMNS": "80"}
    subprocess.run([sys.executable, "-m", "worker", "schedule"], env=environment, check=True, timeout=PATIENCE_S)


def _check_order(owner: psycopg.Connection) -> None:
    rows = owner.execute(
        "SELECT entry, state, started_at, finished_at FROM job WHERE entry = ANY(%s) ORDER BY started_at", [list(CHAIN)]
    ).fetchall()
    order = tuple(row[0] for row in rows)
    ends: list[datetime] = [row[3] for row in rows]
    overlap = any(row[2] < end for row, end in zip(rows[1:], ends, strict=False))
    if order != CHAIN or overlap or {row[1] for row in rows} != {"done"}:
        raise RuntimeError(f"the night did not go as it should: {rows}")
