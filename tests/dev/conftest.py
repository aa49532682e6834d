"""Homes and launchers of embedded servers."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.dev.homes import data_of, install
from tests.dev.launchers import NOBODY, ROOT, WAYS, Launcher, Way
from worker.dev.embedded import EmbeddedServers, placement


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What servers leave behind; only to be copied."""
    with EmbeddedServers(tmp_path_factory.mktemp("made") / "home", durable=False) as servers:
        return servers.home


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The directory given to a launcher, which may have to keep its data elsewhere: see `data`."""
    return tmp_path / "home"


@pytest.fixture
def data(home: Path, made: Path) -> Path:
    """Where the servers of `home` keep their data, once they have run."""
    return shutil.copytree(made, data_of(home), dirs_exist_ok=True)


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that everybody may enter; pytest's own are closed."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name).resolve()
        directory.chmod(0o755)
        yield directory


@pytest.fixture(scope="session")
def outside() -> Iterator[Path]:
    """Where root's copies go; shared, because copying is slow and done once by design."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name).resolve()
        directory.chmod(0o755)
        yield directory / "outside"


@pytest.fixture(scope="session")
def open_site(outside: Path) -> Path:
    """The servers' programs where everybody can run them; those installed may lie below root's closed home."""
    return install(outside.with_name("site"), 0o022)


@pytest.fixture(params=WAYS if ROOT else ["ordinary user"])
def way(request: pytest.FixtureRequest, open_directory: Path, outside: Path, open_site: Path) -> Way:
    closed = open_directory / "closed"
    closed.mkdir(mode=0o700)
    match request.param:
        case "as nobody":
            return Way(open_directory / "home", outside, (NOBODY, False), site=open_site)
        case "in a namespace":
            return Way(closed / "home", outside, (0, True))
        case "from copies":
            return Way(closed / "home", outside, (NOBODY, False), path="/nonexistent", copies=True)
        case _:
            if not ROOT:
                return Way(closed / "home", outside)
            os.chown(closed, NOBODY, NOBODY)
            return Way(closed / "home", outside, (NOBODY, False), uid=NOBODY, site=open_site)


@pytest.fixture
def easy_way(home: Path, data: Path) -> Way:
    """For what is the same in every way: the first that comes, on a home made before."""
    return Way(home, placement.OUTSIDE)


@pytest.fixture
def launch() -> Iterator[Callable[[Way], Launcher]]:
    """Start launchers; those still running at the end are killed."""
    launchers: list[Launcher] = []

    def start(way: Way) -> Launcher:
        launchers.append(Launcher(way))
        return launchers[-1]

    yield start
    for launcher in launchers:
        launcher.process.kill()
        launcher.process.communicate()
