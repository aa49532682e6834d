"""How migrations are run: from the command line, from a program anywhere, twice at once, and when they refuse."""

import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.util import CommandError

import migrations
from tests.conftest import DatabaseUrls, environment_of, settings_for
from tests.migrations.rows import only
from tests.migrations.running import configured, owner_connection

CHECKOUT = Path(migrations.__file__).parents[1]


def alembic(environment: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "alembic", *arguments],
        cwd=CHECKOUT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def test_the_command_line_upgrades_from_the_environment(fresh_database: DatabaseUrls, tmp_path: Path) -> None:
    with psycopg.connect(fresh_database.app_url) as connection:
        assert only(connection, "SELECT version()").startswith("PostgreSQL")
    environment = environment_of(settings_for(fresh_database, "redis://127.0.0.1:1/0"), tmp_path)
    # Two at once: the second waits for the first and finds its work done.
    for upgrade in [alembic(environment, "upgrade", "head") for _ in range(2)]:
        output, _ = upgrade.communicate(timeout=60)
        assert upgrade.returncode == 0, output
    asked = [alembic(environment, question) for question in ("current", "history")]
    current, history = (question.communicate(timeout=60)[0] for question in asked)
    assert "(head)" in current
    assert [line.split(" -> ")[1][:3] for line in history.splitlines()[-9:]] == [f"{n:03d}" for n in range(9, 0, -1)]
    with psycopg.connect(fresh_database.app_url) as connection:
        assert only(connection, "SELECT count(*) FROM third_party_integration") == 3


def test_no_extension_is_needed(owner: psycopg.Connection) -> None:
    assert owner.execute("SELECT extname FROM pg_extension").fetchall() == [("plpgsql",)]


def test_an_old_server_is_refused(fresh_database: DatabaseUrls) -> None:
    with owner_connection(fresh_database.owner_url) as connection:
        connection.dialect.server_version_info = (14, 11)
        with pytest.raises(CommandError, match=r"PostgreSQL 15 or newer is needed; this server runs 14\.11"):
            command.upgrade(configured(connection), "head")


def test_offline_scripts_are_refused() -> None:
    with pytest.raises(CommandError, match="live database only"):
        command.upgrade(configured(), "head", sql=True)
