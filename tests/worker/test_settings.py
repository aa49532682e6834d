"""Settings: all mistakes are named at once, secrets print as stars, the environment wins over the file."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.conftest import OUTSIDE
from worker.errors import Misconfigured
from worker.settings import Settings, home_directory, load_broker_url, load_settings

GOOD = {
    "DATABASE_URL": "postgresql://app:canary-a@db:5432/platform",
    "REDIS_URL": "redis://:canary-b@cache:6379/0",
    "ENCRYPTION_KEYS": "k1:canary-c",
    "BLIND_INDEX_KEY": "canary-d",
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home without servers, and an environment without settings."""
    for name in OUTSIDE:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORKER_HOME", str(tmp_path))
    load_settings.cache_clear()
    yield tmp_path
    load_settings.cache_clear()


@pytest.fixture
def environment(home: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment in which nothing is wrong."""
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def refusal() -> list[str]:
    """The lines of the error, one for each mistake."""
    load_settings.cache_clear()
    with pytest.raises(Misconfigured) as refused:
        load_settings()
    assert refused.value.__suppress_context__, "pydantic's own error repeats values"
    first, *problems, last = str(refused.value).splitlines()
    assert first == "These settings are missing or wrong:"
    assert "worker up" in last
    return [problem.strip() for problem in problems]


def test_good_settings_are_read_once(environment: pytest.MonkeyPatch) -> None:
    settings = load_settings()
    assert settings.application_url == "postgresql+psycopg://app:canary-a@db:5432/platform"
    assert settings.celery_broker_url == GOOD["REDIS_URL"]
    environment.setenv("WORKER_CALLS_IN_FLIGHT", "1")
    assert load_settings() is settings


def test_everything_that_is_missing_is_said_at_once(home: Path) -> None:
    assert refusal() == [f"{name}: Field required" for name in GOOD]


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("DATABASE_URL", "mysql://app:canary@db/platform", "postgresql://"),
        ("DATABASE_URL", "canary", "postgresql://"),
        ("DATABASE_URL", "", "postgresql://"),
        ("MIGRATION_DATABASE_URL", "sqlite:///canary", "postgresql://"),
        ("REDIS_URL", "amqp://user:canary@queue/", "redis://"),
        ("WORKER_CALLS_IN_FLIGHT", "0", "greater than or equal to 1"),
        ("WORKER_CALLS_IN_FLIGHT", "canary", "integer"),
        ("WORKER_CALLS_IN_FLIGHT", "10001", "less than or equal to 10000"),
        ("WORKER_DATABASE_POOL_SIZE", "1", "greater than or equal to 2"),
        ("WORKER_LEASE_S", "0.5", "greater than or equal to 1"),
        ("WORKER_RENEW_EVERY_S", "0", "greater than 0"),
        ("WORKER_GATHER_MS", "1001", "less than or equal to 1000"),
        ("WORKER_GATHER_MAX", "0", "greater than or equal to 1"),
        ("WORKER_LOG_LEVEL", "canary", "'WARNING'"),
        ("WORKER_LOG_FORMAT", "canary", "'json'"),
    ],
)
def test_a_bad_value_is_named_and_not_repeated(
    environment: pytest.MonkeyPatch, name: str, value: str, reason: str
) -> None:
    environment.setenv(name, value)
    (problem,) = refusal()
    assert problem.startswith(f"{name}: ")
    assert reason in problem
    assert "canary" not in problem


@pytest.mark.parametrize("value", ["inf", "nan"])
@pytest.mark.parametrize("name", ["WORKER_LEASE_S", "WORKER_RENEW_EVERY_S"])
def test_an_endless_time_was_taken_and_broke_the_first_claim(
    environment: pytest.MonkeyPatch, name: str, value: str
) -> None:
    environment.setenv(name, value)
    (problem,) = refusal()
    assert problem.startswith(f"{name}: ")


@pytest.mark.parametrize("password", ["ca[nary]", "canary℀", "canary]", "[canary"])
@pytest.mark.parametrize("name", ["DATABASE_URL", "MIGRATION_DATABASE_URL", "REDIS_URL"])
def test_a_password_that_urlsplit_disliked_was_repeated(
    environment: pytest.MonkeyPatch, name: str, password: str
) -> None:
    scheme = "redis" if name == "REDIS_URL" else "postgresql"
    environment.setenv(name, f"{scheme}://app:{password}@host/0")
    environment.setenv("WORKER_GATHER_MAX", "0")
    said = "\n".join(refusal())
    assert "nary" not in said


def test_all_mistakes_of_all_fields_are_said_at_once(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("REDIS_URL")
    for name in ("DATABASE_URL", "WORKER_LEASE_S", "WORKER_LOG_LEVEL"):
        environment.setenv(name, "canary")
    names = [problem.split(":")[0] for problem in refusal()]
    assert sorted(names) == ["DATABASE_URL", "REDIS_URL", "WORKER_LEASE_S", "WORKER_LOG_LEVEL"]


@pytest.mark.parametrize(("lease", "renewal", "is_good"), [(30, 15, True), (30, 15.1, False), (1, 10, False)])
def test_a_lease_outlives_one_lost_renewal(
    environment: pytest.MonkeyPatch, lease: float, renewal: float, is_good: bool
) -> None:
    environment.setenv("WORKER_LEASE_S", str(lease))
    environment.setenv("WORKER_RENEW_EVERY_S", str(renewal))
    if is_good:
        assert load_settings().renew_every_s == renewal
    else:
        (problem,) = refusal()
        assert "WORKER_RENEW_EVERY_S must be at most half of WORKER_LEASE_S" in problem


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_each_spelling_of_the_scheme_gets_the_driver(environment: pytest.MonkeyPatch, scheme: str) -> None:
    environment.setenv("DATABASE_URL", f"{scheme}://app@db/platform")
    assert load_settings().application_url == "postgresql+psycopg://app@db/platform"


def test_secrets_print_as_stars(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("MIGRATION_DATABASE_URL", "postgresql://owner:canary-e@db/platform")
    environment.setenv("BROKER_URL", "amqp://user:canary-f@queue/")
    settings = load_settings()
    for printed in (repr(settings), str(settings), f"{settings}", settings.model_dump_json(), repr(vars(settings))):
        assert "canary" not in printed
        assert "****" in printed


def test_settings_do_not_change(environment: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load_settings().gather_max = 1


def test_the_file_fills_what_the_environment_leaves_open(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"{name}={value}" for name, value in GOOD.items()]
    (home / "env").write_text("\n".join([*lines, "WORKER_GATHER_MAX=7", "WORKER_LEASE_S=60", "OTHER=1"]))
    monkeypatch.setenv("WORKER_LEASE_S", "90")
    monkeypatch.setenv("DATABASE_URL", "postgresql://mine@db/platform")
    settings = load_settings()
    assert (settings.gather_max, settings.lease_s) == (7, 90)
    assert settings.application_url == "postgresql+psycopg://mine@db/platform"
    assert settings.redis_url.get_secret_value() == GOOD["REDIS_URL"]


def test_home_is_dot_worker_unless_said_otherwise(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WORKER_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    assert home_directory() == tmp_path / ".worker"
    monkeypatch.setenv("WORKER_HOME", "elsewhere")
    assert home_directory() == tmp_path / "elsewhere"


@pytest.mark.parametrize(
    ("owner_url", "role", "migration_url"),
    [
        (None, None, "postgresql+psycopg://app@db/platform"),
        ("postgresql://app:other@db/platform", None, "postgresql+psycopg://app:other@db/platform"),
        ("postgres://owner@db/platform", "app", "postgresql+psycopg://owner@db/platform"),
    ],
)
def test_the_application_has_a_role_of_its_own_only_where_another_owns_the_tables(
    owner_url: str | None, role: str | None, migration_url: str
) -> None:
    settings = Settings.model_validate(
        {**GOOD, "DATABASE_URL": "postgresql://app@db/platform", "MIGRATION_DATABASE_URL": owner_url}
    )
    assert settings.application_role == role
    assert settings.migration_url == migration_url


def test_a_role_whose_name_is_escaped_in_the_url_was_named_with_its_escapes() -> None:
    settings = Settings.model_validate(
        {
            **GOOD,
            "DATABASE_URL": "postgresql://app%40platform:x@db/platform",
            "MIGRATION_DATABASE_URL": "postgresql://owner:x@db/platform",
        }
    )
    assert settings.application_role == "app@platform"


def test_the_broker_can_be_another_than_redis(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("BROKER_URL", "amqp://queue/")
    assert load_settings().celery_broker_url == "amqp://queue/"
    environment.setenv("BROKER_URL", "")
    load_settings.cache_clear()
    assert load_settings().celery_broker_url == GOOD["REDIS_URL"]


def test_the_broker_is_found_without_any_other_setting(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_broker_url() is None
    (home / "env").write_text("REDIS_URL=redis://of-the-file/\nDATABASE_URL=nonsense\n")
    assert load_broker_url() == "redis://of-the-file/"
    monkeypatch.setenv("REDIS_URL", "redis://of-the-environment/")
    assert load_broker_url() == "redis://of-the-environment/"
    monkeypatch.setenv("BROKER_URL", "amqp://queue/")
    assert load_broker_url() == "amqp://queue/"


def as_file(environment: pytest.MonkeyPatch, name: str, content: str, path: Path) -> Path:
    environment.delenv(name, raising=False)
    path.write_text(content)
    environment.setenv(f"{name}_FILE", str(path))
    return path


def test_secrets_come_from_files_too(environment: pytest.MonkeyPatch, home: Path) -> None:
    for number, (name, value) in enumerate(GOOD.items()):
        as_file(environment, name, f"{value}\n", home / f"secret-{number}")
    as_file(environment, "WORKER_METRICS_TOKEN", "canary-of-monitoring", home / "token")
    settings = load_settings()
    assert settings.application_url == "postgresql+psycopg://app:canary-a@db:5432/platform"
    assert settings.blind_index_key.get_secret_value() == "canary-d"
    assert settings.metrics_token is not None
    assert settings.metrics_token.get_secret_value() == "canary-of-monitoring"
    assert load_broker_url() == GOOD["REDIS_URL"]


def test_a_file_counts_more_than_what_the_home_says(environment: pytest.MonkeyPatch, home: Path) -> None:
    (home / "env").write_text("REDIS_URL=redis://of-the-home/\n")
    as_file(environment, "REDIS_URL", "redis://of-the-secret/", home / "secret")
    assert load_settings().celery_broker_url == load_broker_url() == "redis://of-the-secret/"


def test_secrets_files_that_cannot_be_used_are_all_named_and_not_repeated(
    environment: pytest.MonkeyPatch, home: Path
) -> None:
    as_file(environment, "DATABASE_URL", "", home / "gone").unlink()
    as_file(environment, "REDIS_URL", "\n", home / "empty")
    as_file(environment, "ENCRYPTION_KEYS", "", home / "binary").write_bytes(b"canary\xff")
    as_file(environment, "BROKER_URL", "canary" * 20_000, home / "large")
    as_file(environment, "MIGRATION_DATABASE_URL", "mysql://canary", home / "wrong")
    (home / "twice").write_text("canary")
    environment.setenv("BLIND_INDEX_KEY_FILE", str(home / "twice"))
    said = refusal()
    assert sorted(problem.split(": ")[0] for problem in said) == sorted(
        ["DATABASE_URL", "REDIS_URL", "ENCRYPTION_KEYS", "BROKER_URL", "MIGRATION_DATABASE_URL", "BLIND_INDEX_KEY"]
    )
    assert "canary" not in str(said)
    for file in ("gone", "empty", "binary", "large"):
        assert str(home / file) in str(said)
    assert "BLIND_INDEX_KEY: BLIND_INDEX_KEY is set, and so is BLIND_INDEX_KEY_FILE" in str(said)
    with pytest.raises(Misconfigured, match=r"REDIS_URL_FILE names .*empty, which is empty"):
        load_broker_url()
