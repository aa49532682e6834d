"""`worker migrate` and `worker seed`: what they write, and that the second time changes nothing."""

from pathlib import Path
from typing import Any

import sqlalchemy as sa

from tests.cli.here import run_here
from tests.cli.processes import run_worker
from tests.conftest import DatabaseUrls, environment_of, settings_for
from worker.crypto import Keyring, Place
from worker.database import Database
from worker.dev.demo.households import license_number
from worker.dev.embedded import EmbeddedServers
from worker.dev.sandbox.personas import PERSONAS
from worker.dev.sandbox.settings import CLIENT_SECRET
from worker.settings import Settings

BY_NUMBER = {license_number(persona): persona for persona in PERSONAS if persona.api != "vehicles"}
TABLES = ("program", "producer", "integration_configuration", "address", "driver", "license", "vehicle")


EVERY_ROW = "SELECT to_jsonb(t) FROM {} t ORDER BY id"


def rows(database: Database) -> dict[str, list[Any]]:
    """Every row of the tables that are seeded, with the times of their last changes."""
    with database.transaction() as connection:
        return {table: list(connection.scalars(sa.text(EVERY_ROW.format(table)))) for table in TABLES}


def keyring_of(settings: Settings) -> Keyring:
    return Keyring.parse(settings.encryption_keys.get_secret_value(), settings.blind_index_key.get_secret_value())


def test_migrating_and_seeding_twice_changes_nothing(
    fresh_database: DatabaseUrls, servers: EmbeddedServers, tmp_path: Path
) -> None:
    settings = settings_for(fresh_database, servers.redis_url)
    environment = environment_of(settings, tmp_path)
    database = Database(settings)
    try:
        states = []
        for run, said in ((run_worker, "went from nothing to revision"), (run_here, "is at revision")):
            answer = run("migrate", cwd=tmp_path, environment=environment)
            assert answer.returncode == 0, answer.stderr
            assert said in answer.stdout
            answer = run("seed", cwd=tmp_path, environment=environment)
            assert answer.returncode == 0, answer.stderr
            states.append(rows(database))
        assert "Nothing to add" in answer.stdout
        assert states[0] == states[1]
        assert all(states[0].values())
    finally:
        database.close()


def test_seeded_secrets_decrypt_in_their_own_rows_only(settings: Settings, db: Database, tmp_path: Path) -> None:
    run_here("seed", cwd=tmp_path, environment=environment_of(settings, tmp_path)).check_returncode()
    keyring, seeded = keyring_of(settings), rows(db)
    for configuration in seeded["integration_configuration"]:
        secret = configuration["auth_config"]["client_secret"]["$enc"]
        place = Place("integration_configuration", "auth_config", str(configuration["id"]), "client_secret")
        assert keyring.decrypt(secret, place) == CLIENT_SECRET
    numbers = {
        row["id"]: keyring.decrypt(row["license_number"], Place("license", "license_number", str(row["id"])))
        for row in seeded["license"]
    }
    assert sorted(numbers.values()) == sorted(BY_NUMBER)
    drivers = {row["license_id"]: row for row in seeded["driver"]}
    for row in seeded["license"]:
        persona = BY_NUMBER[numbers[row["id"]]]
        driver = drivers[row["id"]]
        assert (driver["id"], driver["last_name"]) == (row["driver_id"], persona.last_name)
        assert row["license_number_bidx"] == keyring.blind_index("license|TX", numbers[row["id"]])


def test_seeding_with_another_url_moves_the_configuration(settings: Settings, db: Database, tmp_path: Path) -> None:
    environment = environment_of(settings, tmp_path)
    for url in ("http://127.0.0.1:8081", "http://127.0.0.1:9090/"):
        run_here("seed", "--sandbox-url", url, cwd=tmp_path, environment=environment).check_returncode()
    configurations = rows(db)["integration_configuration"]
    assert {configuration["endpoint_url"] for configuration in configurations} == {
        f"http://127.0.0.1:9090/{path}"
        for path in ("v2.7/household-drivers", "v1.0/criminal", "v2.3/household-vehicles")
    }
    for configuration in configurations:
        assert configuration["auth_config"]["token_url"] == "http://127.0.0.1:9090/oauth2/token"
        assert configuration["auth_config"]["scope"] == "drivers criminal vehicles"
