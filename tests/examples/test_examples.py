"""The examples, each run as its reader would run it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.api.clients import add_client
from tests.api.served import served
from tests.sources import ROOT
from tests.worker.test_bulk import drivers  # noqa: F401 - a fixture
from worker.database import Database
from worker.dev.demo.sample import INTEGRATION
from worker.dev.embedded import binaries
from worker.settings import Settings

EXAMPLES = ROOT / "examples"


STAND_IN = Path(__file__).with_name("curl.py")


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LD_LIBRARY_PATH") if name in os.environ}
    return subprocess.run(command, env={**kept, **environment}, capture_output=True, text=True, check=False, timeout=60)


def counts(db: Database) -> tuple[int, int]:
    with db.transaction() as connection:
        row = connection.execute(text("SELECT (SELECT count(*) FROM job), (SELECT count(*) FROM quotes)")).one()
    return row[0], row[1]


def test_an_application_asks_in_its_own_transaction(
    settings: Settings,
    db: Database,
    drivers: list[int],  # noqa: F811 - the fixture
    tmp_path: Path,
) -> None:
    def ask(*asked: int) -> subprocess.CompletedProcess[str]:
        options = [word for driver in asked for word in ("--driver", str(driver))]
        url = settings.database_url.get_secret_value()
        script = str(EXAMPLES / "quote_service.py")
        return run(sys.executable, script, *options, DATABASE_URL=url, WORKER_HOME=str(tmp_path))

    done = ask(*drivers, 999_999)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[-1] for line in lines] == ["new", "new", "unknown_driver"]
    assert counts(db) == (2, 1)
    refused = ask(999_999)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("unknown_driver: ")
    assert counts(db) == (2, 1), "the application's own row is gone with the job"


def test_a_shell_asks_over_http(
    settings: Settings,
    db: Database,
    drivers: list[int],  # noqa: F811 - the fixture
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    if shutil.which("curl") is None:
        (tmp_path / "curl").write_text(f'#!/bin/sh\nexec {sys.executable} {STAND_IN} "$@"\n')
        (tmp_path / "curl").chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("WORKER_HOME", str(tmp_path))
    client = add_client(db, "T1", scopes=["verifications:write", "jobs:read"])
    with served(settings) as api:
        asked = {
            "API": f"http://127.0.0.1:{api.port}", "CLIENT_ID": client.client_id,
            "CLIENT_SECRET": client.client_secret,
        }  # fmt: skip
        refused = run(str(EXAMPLES / "verify.sh"), INTEGRATION, "999999", **asked)
        assert refused.returncode != 0
        assert counts(db)[0] == 0
        with subprocess.Popen(
            [str(EXAMPLES / "verify.sh"), INTEGRATION, str(drivers[0])],
            env={"PATH": os.environ["PATH"], **asked}, stdout=subprocess.PIPE, text=True,
        ) as running:  # fmt: skip
            assert running.stdout is not None
            job = running.stdout.readline().split()
            with db.transaction() as connection:
                connection.execute(text("UPDATE job SET state = 'done', finished_at = now()"))
            assert running.stdout.read() == "state done\n"
            assert running.wait(30) == 0
    with db.transaction() as connection:
        assert job == ["job", str(connection.execute(text("SELECT id FROM job")).scalar_one())]


def test_psql_asks_in_sql(settings: Settings, db: Database, drivers: list[int]) -> None:  # noqa: F811 - the fixture
    psql = binaries.find().install / "bin" / "psql"
    assert psql.exists() or shutil.which("psql"), "this example is for machines with psql, and so is its test"
    command = [str(psql) if psql.exists() else "psql", settings.database_url.get_secret_value(), "--no-psqlrc"]

    def ask(driver: int) -> subprocess.CompletedProcess[str]:
        script = str(EXAMPLES / "verify.sql")
        return run(*command, "--set", f"integration={INTEGRATION}", "--set", f"driver={driver}", "--file", script)

    done = ask(drivers[0])
    assert done.returncode == 0, done.stderr
    assert " t" in done.stdout
    refused = ask(999_999)
    assert refused.returncode != 0
    assert "there is no driver 999999" in refused.stderr
    assert counts(db)[0] == 1
