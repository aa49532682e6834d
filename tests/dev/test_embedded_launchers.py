"""What happens around a launcher that is a process of its own: who the servers run as, and how they end.

Root has three ways to run PostgreSQL, an ordinary user one; run as root, these tests cover all four.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from tests.dev.homes import data_of
from tests.dev.launchers import Launcher, Way, runs_as, wait_until_gone
from worker.dev.embedded import EmbeddedServers, binaries, placement


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
def test_half_made_cluster_is_made_anew(home: Path, launch: Callable[[Way], Launcher]) -> None:
    way, data = Way(home, placement.OUTSIDE), data_of(home)
    first = launch(way)
    while not (data / "pg.new" / "PG_VERSION").exists():
        assert first.process.poll() is None
        time.sleep(0.005)
    first.process.kill()
    assert not (data / "pg").exists()
    second = launch(way).ready()
    assert not (data / "pg.new").exists()
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
        lock_file = str(first.home / "lock")
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
