"""Quote numbers under many writers."""

import re
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import psycopg

from tests.conftest import DatabaseUrls
from tests.migrations.rows import insert, only


def test_numbers_are_sequential_under_concurrency(database: DatabaseUrls) -> None:
    start = Barrier(4)

    def write(_: int) -> None:
        with psycopg.connect(database.app_url, autocommit=True) as connection:
            start.wait()
            for _ in range(10):
                insert(connection, "quotes", product_type="auto", state="TX")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    with psycopg.connect(database.app_url) as connection:
        numbers = [n for (n,) in connection.execute("SELECT quote_number FROM quotes ORDER BY 1")]
        year = only(connection, "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY')")
    assert numbers == [f"QUOT-{year}-{n:07d}" for n in range(1, 41)]


def test_more_than_seven_digits_are_not_cut(database: DatabaseUrls) -> None:
    with psycopg.connect(database.owner_url) as connection:
        connection.execute("SELECT setval('quote_number_seq', 123456789)")
        assert re.fullmatch(r"QUOT-\d{4}-123456790", only(connection, "SELECT generate_quote_number()"))
