"""Flower never starts open, whoever starts it and however; its pages are looked at in tests/packaging."""

from pathlib import Path

import pytest

from tests.cli.processes import clean_environment, run_worker
from worker import flower_start
from worker.errors import Misconfigured
from worker.flower_start import LOGIN, serve


@pytest.fixture(autouse=True)
def no_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(LOGIN, raising=False)
    monkeypatch.delenv(f"{LOGIN}_FILE", raising=False)


def refusal(host: str = "127.0.0.1", *, without_login: bool = False) -> str:
    with pytest.raises(Misconfigured) as refused:
        serve(host, 5555, without_login=without_login, allow_changes=False)
    return str(refused.value)


def test_a_login_is_needed_on_this_machine_too() -> None:
    assert "user:password in FLOWER_BASIC_AUTH" in refusal()


@pytest.mark.parametrize("login", ["worker", ":secret", "worker:", "a:b,c", "a:b,"])
def test_half_a_login_is_none(monkeypatch: pytest.MonkeyPatch, login: str) -> None:
    monkeypatch.setenv(LOGIN, login)
    said = refusal()
    assert "must be user:password" in said
    assert "secret" not in said


def test_a_login_in_a_file_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(f"{LOGIN}_FILE", str(tmp_path / "gone"))
    assert str(tmp_path / "gone") in refusal()


@pytest.mark.parametrize("host", ["0.0.0.0", "", "::", "192.0.2.1", "example.test"])  # noqa: S104 - what is refused
def test_without_a_login_it_stays_on_this_machine(host: str) -> None:
    assert "loopback" in refusal(host, without_login=True)


def test_with_and_without_a_login_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LOGIN, "worker:secret")
    assert "leave out one of them" in refusal(without_login=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.4.5", "::1", "localhost"])
def test_loopback_is_recognised(host: str) -> None:
    assert flower_start._is_open_here(host, without_login=True)


def test_other_programs_of_celery_are_left_alone() -> None:
    flower_start.refuse_if_open()


def test_celerys_own_command_was_open_by_default(tmp_path: Path) -> None:
    nowhere = {
        "DATABASE_URL": "postgresql://app@127.0.0.1:1/none",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "ENCRYPTION_KEYS": "k1:-",
        "BLIND_INDEX_KEY": "-",
    }
    environment = clean_environment(**nowhere)
    environment.pop(LOGIN, None)
    said = run_worker("-A", "worker.app", "flower", cwd=tmp_path, environment=environment, program="celery")
    assert said.returncode == 1, said.stderr
    assert "Flower would be open to everybody" in said.stderr
