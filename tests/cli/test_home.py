"""The home directory: keys that last, and an `env` file that is there only while the system runs."""

import contextlib
import stat
from pathlib import Path

import pytest

from worker.dev.system.home import Home
from worker.dev.system.interruption import Interrupted
from worker.errors import Misconfigured


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.create()
    return home


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_keys_are_made_once_and_kept_to_their_owner(home: Home) -> None:
    keys = home.keys()
    assert home.keys() == keys
    assert mode(home.path / "keys") == 0o600
    assert Home(home.path).keys() == keys


def test_keys_of_the_environment_win_and_are_not_kept(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = home.keys()
    given = Home(home.path / "other")
    given.create()
    for name, value in kept.items():
        monkeypatch.setenv(name, value)
    assert given.keys() == kept
    assert not (given.path / "keys").exists()


def test_half_of_the_keys_is_refused(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLIND_INDEX_KEY", "x")
    with pytest.raises(Misconfigured, match="BLIND_INDEX_KEY is set and ENCRYPTION_KEYS is not"):
        home.keys()


def test_keys_that_are_no_keys_are_refused_without_repeating_them(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENCRYPTION_KEYS", "k1:c2VjcmV0")
    monkeypatch.setenv("BLIND_INDEX_KEY", "c2VjcmV0")
    with pytest.raises(Misconfigured, match="must be 32 bytes") as refused:
        home.keys()
    assert "c2VjcmV0" not in str(refused.value)


def test_env_is_readable_by_its_owner_only_and_gone_afterwards(home: Home) -> None:
    file = home.path / "env"
    with contextlib.suppress(Interrupted), home.announced({"REDIS_URL": "redis://127.0.0.1:1/0"}):
        assert file.read_text() == "REDIS_URL=redis://127.0.0.1:1/0\n"
        assert mode(file) == 0o600
        raise Interrupted
    assert not file.exists()


def test_a_path_that_cannot_be_a_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Misconfigured, match="file cannot be the home directory: Not a directory"):
        Home(tmp_path / "file").create()
