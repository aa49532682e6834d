"""What ending tokens costs beside the same rows written plainly, by hand: python -m tests.tasks.tokens.speed

Of two copies of one database, one is cleaned by the job in its batches, the other by one statement for each kind of
change: a row of the log for each token that has expired, the old tokens deleted, sessions closed. The suite runs it
with few rows and looks at what it did, not at how long it took.
"""

import argparse
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import psycopg

from models.users import SYSTEM_USER_ID
from tasks.tokens.task import expire
from tests.conftest import DatabaseUrls, database_from, migrate, settings_for
from tests.tasks.maintaining import maintained
from worker.database import Database
from worker.dev.embedded import EmbeddedServers

PARTS = 5


def add_tokens(sql: psycopg.Connection, count: int) -> None:
    """A fifth each: refresh and access tokens that have just expired, others so old that they leave; sessions."""
    sql.execute("INSERT INTO oauth2_clients (client_id, client_name) VALUES ('portal', 'Portal')")
    values = {"user": SYSTEM_USER_ID, "each": count // PARTS}
    for ago in ("1 hour", "30 days"):
        sql.execute(_REFRESH_TOKENS, values | {"ago": ago})
        sql.execute(_ACCESS_TOKENS, values | {"ago": ago})
    sql.execute(_SESSIONS, values)
    sql.execute("VACUUM ANALYZE")


_REFRESH_TOKENS = """
    INSERT INTO oauth2_refresh_tokens (client_id, user_id, token_hash, expires_at)
    SELECT (SELECT id FROM oauth2_clients), %(user)s, md5(%(ago)s || n) || md5('r'),
        now() - %(ago)s::interval - n * interval '1 ms'
    FROM generate_series(1, %(each)s) AS n
"""
_ACCESS_TOKENS = """
    INSERT INTO oauth2_access_tokens (client_id, token_hash, expires_at)
    SELECT (SELECT id FROM oauth2_clients), md5(%(ago)s || n) || md5('a'),
        now() - %(ago)s::interval - n * interval '1 ms'
    FROM generate_series(1, %(each)s) AS n
"""
_SESSIONS = """
    INSERT INTO user_sessions (user_id, session_token_hash, expires_at)
    SELECT %(user)s, md5(n::text) || md5('s'), now() - n * interval '1 ms' FROM generate_series(1, %(each)s) AS n
"""

PLAIN = (
    """
    INSERT INTO oauth2_token_logs (client_id, user_id, token_type, token_hash, action)
    SELECT client_id, user_id, 'refresh_token', token_hash, 'expired' FROM oauth2_refresh_tokens
    WHERE expires_at <= now()
    """,
    """
    INSERT INTO oauth2_token_logs (client_id, token_type, token_hash, action)
    SELECT client_id, 'access_token', token_hash, 'expired' FROM oauth2_access_tokens WHERE expires_at <= now()
    """,
    "DELETE FROM oauth2_refresh_tokens WHERE expires_at < now() - interval '7 days'",
    "DELETE FROM oauth2_access_tokens WHERE expires_at < now() - interval '1 day'",
    "UPDATE user_sessions SET revoked_at = expires_at WHERE revoked_at IS NULL AND expires_at <= now()",
)


def plainly(urls: DatabaseUrls) -> tuple[float, int]:
    """Seconds, and rows changed."""
    with psycopg.connect(urls.app_url) as connection:
        start = time.perf_counter()
        changed = sum(connection.execute(statement.encode()).rowcount for statement in PLAIN)
        connection.commit()
        return time.perf_counter() - start, changed


def by_the_job(urls: DatabaseUrls) -> tuple[float, int]:
    settings = settings_for(urls, "redis://127.0.0.1:1/0", calls_in_flight=2)
    database = Database(settings)
    with maintained(settings, database, urls, expire) as tokens:
        job = tokens.ask()
        start = time.perf_counter()
        ended: dict[str, Any] = tokens.run(job)
        took = time.perf_counter() - start
    database.close()
    counts = ended["progress"]["counts"].values()
    return took, sum(sum(each.values()) for each in counts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    copy = contextmanager(database_from)
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place,
        EmbeddedServers(Path(place) / "home") as servers,
        copy(servers, "template0") as filled,
    ):
        migrate(filled)
        with psycopg.connect(filled.owner_url, autocommit=True) as sql:
            add_tokens(sql, given.rows)
        shares = []
        for _ in range(given.rounds):
            with copy(servers, filled.name) as urls:
                plain_s, changed = plainly(urls)
            with copy(servers, filled.name) as urls:
                job_s, changed_by_job = by_the_job(urls)
            if changed != changed_by_job:
                raise RuntimeError(f"the plain way changed {changed} rows, the job {changed_by_job}")
            print(f"{changed} rows: plain {plain_s:.1f} s, job {job_s:.1f} s")
            shares.append(plain_s / job_s)
        print(f"Ending tokens runs at {median(shares):.2f} of the speed of one plain statement for each kind.")


if __name__ == "__main__":
    main()
