"""What encrypting anew costs beside reading and writing, by hand: python -m tests.tasks.keys.speed

Batches of the licences are taken turn by turn: one is decrypted and encrypted with the newer key, the next is read and
written back the same way with nothing changed. So both meet the same machine. The suite runs it with few rows and looks
at what it did, not at how long it took.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import psycopg

from models.users import SYSTEM_USER_ID
from tasks.keys.store import EncryptedColumn, encrypted_columns
from tests.conftest import DatabaseUrls, database_from, migrate, settings_for
from tests.tasks.turns import Pass, in_turn
from worker.crypto import Keyring, Place, new_key
from worker.database import Database
from worker.dev.embedded import EmbeddedServers

OLD, BLIND = new_key(), new_key()
BEFORE = Keyring.parse(f"old:{OLD}", BLIND)
AFTER = Keyring.parse(f"new:{new_key()},old:{OLD}", BLIND)


class Verbatim(EncryptedColumn):
    """Changes nothing."""

    __slots__ = ()

    def _anew(self, key: str, value: Any) -> Any:
        return value


def add_licences(sql: psycopg.Connection, count: int) -> None:
    """Each with a number that the old key encrypts."""
    ids = sql.execute(
        """
        INSERT INTO license (state_code, status_id, created_by)
        SELECT 'TX', (SELECT id FROM status WHERE code = 'ACTIVE'), %s FROM generate_series(1, %s) RETURNING id
        """,
        [SYSTEM_USER_ID, count],
    ).fetchall()
    sql.cursor().executemany(
        "UPDATE license SET license_number = %s WHERE id = %s",
        [(BEFORE.encrypt(f"TX{id_:08}", Place("license", "license_number", str(id_))), id_) for (id_,) in ids],
    )
    sql.execute("VACUUM ANALYZE license")


def compare(urls: DatabaseUrls, batch_size: int) -> list[Pass]:
    """Encrypt every second batch anew, and copy the others. Gives both."""
    (column,) = (one for one in encrypted_columns() if str(one) == "license.license_number")
    stages = [EncryptedColumn(column, AFTER), Verbatim(column, AFTER)]
    database = Database(settings_for(urls, "redis://127.0.0.1:1/0"))
    passes = in_turn(database, stages, batch_size)
    database.close()
    return passes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=1000)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place,
        EmbeddedServers(Path(place) / "home") as servers,
    ):
        for urls in database_from(servers, "template0"):
            migrate(urls)
            with psycopg.connect(urls.owner_url, autocommit=True) as sql:
                add_licences(sql, given.rows)
            anew, copied = compare(urls, given.batch)
            for name, one in (("encrypted anew", anew), ("copied", copied)):
                print(f"{name}: {one.rows} values in {one.batches} batches, {one.rate:.0f}/s")
            print(f"Encrypting anew runs at {anew.rate / copied.rate:.2f} of the speed of reading and writing alone.")


if __name__ == "__main__":
    main()
