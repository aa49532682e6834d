"""The measurement of the tokens job does what it says; how fast it is, a person looks at on a quiet machine."""

from contextlib import contextmanager

import psycopg

from tests.conftest import DatabaseUrls, database_from
from tests.tasks.tokens.speed import add_tokens, by_the_job, plainly
from worker.dev.embedded import EmbeddedServers

LEFT = """
    SELECT (SELECT count(*) FROM oauth2_token_logs WHERE action = 'expired'),
        (SELECT count(*) FROM oauth2_refresh_tokens), (SELECT count(*) FROM oauth2_access_tokens),
        (SELECT count(*) FROM user_sessions WHERE revoked_at = expires_at)
"""


def test_both_ways_leave_the_same_rows(database: DatabaseUrls, servers: EmbeddedServers) -> None:
    with psycopg.connect(database.owner_url, autocommit=True) as owner:
        add_tokens(owner, 50)
    with contextmanager(database_from)(servers, database.name) as other:
        assert plainly(other)[1] == by_the_job(database)[1] == 70
        for urls in (database, other):
            with psycopg.connect(urls.owner_url) as connection:
                assert connection.execute(LEFT).fetchall() == [(40, 10, 10, 10)]
