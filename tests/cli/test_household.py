"""`worker household`: seeing whom a provider named, and deciding, without a name on the screen."""

from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import text

from tests.cli.here import run_here
from tests.cli.operator import Worker, read, refused, said
from tests.conftest import environment_of
from worker.crypto import Keyring
from worker.database import Database
from worker.dev.demo.households import add_drivers
from worker.dev.sandbox.personas import BY_LICENSE
from worker.settings import Settings

NINA, TOM = uuid4(), uuid4()


@pytest.fixture
def household(settings: Settings, tmp_path: Path) -> Worker:
    return partial(run_here, "household", cwd=tmp_path, environment=environment_of(settings, tmp_path))


@pytest.fixture
def driver(settings: Settings, db: Database) -> int:
    """A driver at whose address two people were named."""
    with db.transaction() as connection:
        (driver,) = add_drivers(connection, Keyring.of(settings), [BY_LICENSE["TX00000002"]])
        for offer, name in ((NINA, "Nina"), (TOM, "Tom")):
            connection.execute(
                text(
                    """INSERT INTO household_member_offer (
                        id, driver_id, relationship, first_name, last_name, date_of_birth, status_id, created_by
                    ) SELECT :id, id, 'child', :name, 'Canary', '2001-01-01', status_id, created_by
                    FROM driver WHERE id = :driver"""
                ),
                {"id": offer, "name": name, "driver": driver},
            )
    return driver


def test_people_are_decided_about_by_id(household: Worker, driver: int, db: Database) -> None:
    assert [offer["decision"] for offer in read(household("offers", "--driver", str(driver), "--json"))] == ["open"] * 2
    made = int(said(household("accept", str(NINA))))
    assert int(said(household("accept", str(NINA)))) == made
    said(household("decline", str(TOM)))
    shown = said(household("offers", "--driver", str(driver)))
    assert "Canary" not in shown
    assert [line.split()[1:] for line in sorted(shown.splitlines()[1:], key=lambda line: line.split()[2])] == [
        ["child", "accepted", str(made)],
        ["child", "declined", "-"],
    ]
    with db.transaction() as connection:
        assert connection.scalars(text("SELECT first_name FROM driver ORDER BY id")).all() == ["Hank", "Nina"]


def test_what_was_decided_stays_and_what_is_unknown_is_named(household: Worker, driver: int) -> None:
    said(household("decline", str(TOM)))
    assert f"offer {TOM} was declined" in refused(household("accept", str(TOM)))
    assert f"there is no offer {(nobody := uuid4())}" in refused(household("accept", str(nobody)))
