"""The wheel works without the checkout: everything that runs is inside, migrations too.

Built and installed without a download: the build tool and the dependencies come from this environment, the project's
own modules from the wheel alone.
"""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import psycopg
import pytest
from uv import find_uv_bin

from tests.conftest import DatabaseUrls, environment_of, settings_for
from tests.sources import ROOT, python_files

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
    assert inside == {name for name in modules if not name.startswith("tests/")} | {"migrations/script.py.mako"}


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
