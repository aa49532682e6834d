"""The wheel works without the checkout: everything that runs is inside, migrations too.

Built and installed without a download: the build tool and the dependencies come from this environment, the project's
own modules from the wheel alone.
"""

import importlib.metadata
import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import psycopg
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from uv import find_uv_bin

from tests.conftest import DatabaseUrls, environment_of, settings_for
from tests.sources import ROOT, python_files
from tests.worker.test_bulk import drivers  # noqa: F401 - a fixture
from worker.database import Database
from worker.settings import Settings

Installed = tuple[Path, Path]
"""The environment's folder and an unrelated working directory."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)], ROOT)
    (built,) = out.iterdir()
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    home = tmp_path_factory.mktemp("installed")
    venv.create(home / "venv", with_pip=False, symlinks=True)
    python = home / "venv" / "bin" / "python"
    install = [find_uv_bin(), "pip", "install", "--offline", "--no-config", "--no-deps", "--python", str(python)]
    run([*install, str(wheel)], home)
    # Folders named in a .pth file are searched after the environment's own, and .pth files inside them are not read:
    # the dependencies are found there, the checkout's editable install is not.
    site = run([str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], home).strip()
    (Path(site) / "dependencies.pth").write_text(
        "".join(f"{sysconfig.get_path(name)}\n" for name in ("purelib", "platlib"))
    )
    elsewhere = home / "elsewhere"
    elsewhere.mkdir()
    return home / "venv", elsewhere


def run(command: list[str], folder: Path, environment: dict[str, str] | None = None) -> str:
    """What a command printed; fails with what it complained about."""
    environment = {**(os.environ if environment is None else environment)}
    for name in ("PYTHONPATH", "VIRTUAL_ENV"):
        environment.pop(name, None)
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_wheel_holds_every_module_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    modules = {path.relative_to(ROOT).as_posix() for path in python_files()}
    assert inside == {name for name in modules if not name.startswith(("benchmarks/", "examples/", "tests/"))} | {
        "migrations/script.py.mako"
    }


def test_wheel_carries_its_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (licence,) = (name for name in archive.namelist() if name.endswith("/LICENSE"))
        assert b"Apache License" in archive.read(licence)


def test_installed_modules_come_from_the_wheel(installed: Installed) -> None:
    environment, elsewhere = installed
    printed = run(
        [
            str(environment / "bin" / "python"),
            "-c",
            "import beat_schedule, migrations, models, tasks, worker\n"
            "for m in (beat_schedule, migrations, models, tasks, worker): print(m.__file__)",
        ],
        elsewhere,
    )
    assert [place for place in printed.split() if not Path(place).is_relative_to(environment)] == []


def test_installed_command_tells_what_it_can_do(installed: Installed) -> None:
    environment, elsewhere = installed
    assert "migrate" in run([str(environment / "bin" / "worker"), "--help"], elsewhere)


def test_installed_command_migrates_a_database(
    installed: Installed, fresh_database: DatabaseUrls, redis_url: str
) -> None:
    environment, elsewhere = installed
    settings = settings_for(fresh_database, redis_url)
    run([str(environment / "bin" / "worker"), "migrate"], elsewhere, environment_of(settings, elsewhere / "home"))
    revisions = {path.name.partition("_")[0] for path in (ROOT / "migrations" / "versions").glob("[0-9]*.py")}
    with psycopg.connect(fresh_database.owner_url) as connection:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    assert row is not None
    assert row[0] == max(revisions)


ASK = """
import importlib.util
import sys
from sqlalchemy import create_engine
from sqlalchemy.orm import Session
from worker.enqueue import enqueue_verification
from worker.errors import BadRequest

missing = [name for name in ("celery", "fastapi", "redis", "cryptography") if not importlib.util.find_spec(name)]
with Session(create_engine(sys.argv[1])) as session:
    print(enqueue_verification(session, integration="DCS_HOUSEHOLD_DRIVERS", driver_id=int(sys.argv[2])).how)
    session.commit()
print(enqueue_verification(integration="DCS_HOUSEHOLD_DRIVERS", driver_id=int(sys.argv[2])).how, *missing)
"""


def test_an_application_upstream_needs_no_more_than_it_is_told(
    wheel: Path,
    tmp_path: Path,
    settings: Settings,
    db: Database,
    drivers: list[int],  # noqa: F811 - the fixture
) -> None:
    """Its environment holds the wheel and what pyproject.toml names without an extra, and nothing else."""
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    run(
        [find_uv_bin(), "pip", "install", "--offline", "--no-config", "--no-deps", "--python", python, str(wheel)],
        tmp_path,
    )
    site = Path(run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], tmp_path).strip())
    for name in needed_by(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]):
        distribution = importlib.metadata.distribution(name)
        for top in {file.parts[0] for file in distribution.files or () if file.parts[0] not in ("..", "__pycache__")}:
            place = site / top
            if not place.exists():
                place.symlink_to(str(distribution.locate_file(top)))
    home = tmp_path / "elsewhere"
    home.mkdir()
    environment = {"WORKER_HOME": str(home), "REDIS_URL": settings.redis_url.get_secret_value()}
    url = settings.database_url.get_secret_value()
    printed = run(
        [python, "-c", ASK, settings.application_url, str(drivers[0])],
        home,
        {**environment, "DATABASE_URL": url, "PATH": os.environ["PATH"]},
    )
    assert printed.splitlines() == ["new", "joined celery fastapi redis cryptography"]
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM job").fetchone() == (2,)


def needed_by(requirements: list[str]) -> set[str]:
    """Names of the distributions that these ask for, and of all those that they ask for in turn."""
    found: set[str] = set()
    waiting = list(requirements)
    while waiting:
        requirement = Requirement(waiting.pop())
        extras = [{"extra": extra} for extra in requirement.extras] or [{"extra": ""}]
        if requirement.marker is not None and not any(requirement.marker.evaluate(extra) for extra in extras):
            continue
        name = canonicalize_name(requirement.name)
        if name in found:
            continue
        found.add(name)
        for inner in importlib.metadata.distribution(name).requires or ():
            marker = Requirement(inner).marker
            if marker is None or any(marker.evaluate(extra) for extra in extras):
                waiting.append(inner.partition(";")[0])
    return found
