"""The databases that rounds are copies of: ours with people to ask about, and the peers' with the rows of their job."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from benchmarks.place import Place
from benchmarks.provider import PERSON
from worker.crypto import Keyring
from worker.database import Database
from worker.dev.demo.households import add_drivers, license_number
from worker.dev.demo.sample import configure_sandbox
from worker.dev.embedded import roles
from worker.schema import migrate
from worker.settings import load_settings

PEERS = "peers"
PERSONS_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Template:
    """A database, and the ids of the drivers in it that can be asked about."""

    database: str
    drivers: Sequence[int]


def make_ours(place: Place, drivers: int) -> Template:
    """The system's own database, migrated, with the way to the provider."""
    migrate()
    settings = load_settings()
    database, keyring = Database(settings), Keyring.of(settings)
    with database.transaction() as connection:
        configure_sandbox(connection, keyring, place.provider.url)
    ids: list[int] = []
    while len(ids) < drivers:
        with database.transaction() as connection:
            ids += add_drivers(connection, keyring, [PERSON] * min(PERSONS_AT_ONCE, drivers - len(ids)))
    database.close()
    with psycopg.connect(place.admin_url(roles.DATABASE), autocommit=True) as admin:
        admin.execute("VACUUM (FREEZE, ANALYZE)")
    return Template(roles.DATABASE, ids)


def make_peers(place: Place, drivers: int) -> Template:
    """Tables of the minimal job, as many rows, and the tables of Procrastinate, which keeps its jobs there."""
    with psycopg.connect(place.servers.admin_database_url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(PEERS), sql.Identifier(roles.APP)))
    with psycopg.connect(place.url(PEERS), autocommit=True) as database:
        database.execute((Path(__file__).parent / "peers" / "schema.sql").read_bytes())
        address = PERSON.address
        database.execute(
            """
            INSERT INTO driver (id, first_name, last_name, date_of_birth, license_number, state_code, street_1, city,
                state, zip_code)
            SELECT n, %s, %s, %s, %s, %s, %s, %s, %s, %s FROM generate_series(1, %s) AS n
            """,
            [
                *(PERSON.first_name, PERSON.last_name, PERSON.date_of_birth, license_number(PERSON)),
                *(PERSON.state_code, address.street_1, address.city, address.state, address.zip_code, drivers),
            ],
        )
        database.execute("INSERT INTO request (driver_id) SELECT id FROM driver")
        database.execute("VACUUM (FREEZE, ANALYZE)")
    return Template(PEERS, range(1, drivers + 1))
