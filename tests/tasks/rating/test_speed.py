"""The measurement of a mass recalculation does what it says; how fast it is, a person looks at on a quiet machine."""

import psycopg

from tests.conftest import DatabaseUrls, settings_for
from tests.tasks.rating.speed import file_everything, one_pass

QUOTES = 1_200


def test_both_passes_write_every_quote_and_one_of_them_rates(database: DatabaseUrls, redis_url: str) -> None:
    settings = settings_for(database, redis_url, calls_in_flight=2)
    with psycopg.connect(database.owner_url, autocommit=True) as sql:
        file_everything(sql, QUOTES)
        copied = one_pass(settings, sql, is_copy=True, processes=1)
        rated = one_pass(settings, sql, is_copy=False, processes=1)
    assert copied.written == rated.written == QUOTES
    assert copied.premiums <= 3 < rated.premiums
