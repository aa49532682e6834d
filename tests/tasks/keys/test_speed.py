"""The measurement of key rotation does what it says; how fast it is, a person looks at on a quiet machine."""

import psycopg

from tests.conftest import DatabaseUrls
from tests.tasks.keys.speed import add_licences, compare


def test_the_measurement_encrypts_every_second_batch_anew_and_copies_the_others(database: DatabaseUrls) -> None:
    with psycopg.connect(database.owner_url, autocommit=True) as owner:
        add_licences(owner, 40)
        anew, copied = compare(database, 10)
        assert (anew.rows, copied.rows, anew.batches) == (20, 20, 3)
        keys = owner.execute("SELECT split_part(license_number, ':', 3), count(*) FROM license GROUP BY 1 ORDER BY 1")
        assert keys.fetchall() == [("new", 20), ("old", 20)]
