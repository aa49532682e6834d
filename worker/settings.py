"""Everything that can be configured, read once and checked together.

Values come from the environment; what is missing there is read from the file `env` in the home directory
(`WORKER_HOME`, default `.worker`), which `worker up` writes while its embedded servers run. So a second terminal
in the same directory talks to the same servers, and whoever sets `DATABASE_URL` and `REDIS_URL` never sees it. What is
a secret may be in a file that `<VARIABLE>_FILE` names (`secret_files.py`).
"""

import os
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Literal, Self, TypeVar
from urllib.parse import unquote, urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from worker.errors import Misconfigured
from worker.secret_files import secret


def home_directory() -> Path:
    """Where embedded servers keep their data and `worker up` its env file."""
    return Path(os.environ.get("WORKER_HOME", ".worker")).absolute()


class DatabaseSettings(BaseSettings):
    """What an application needs that only asks for jobs, in transactions of their own. It has no keys."""

    model_config = SettingsConfigDict(env_prefix="WORKER_", frozen=True, extra="ignore", populate_by_name=True)

    database_url: SecretStr = Field(alias="DATABASE_URL")
    """postgresql://user:password@host:port/name, PostgreSQL 15 or newer; a role that owns nothing will do."""

    database_pool_size: int = Field(4, ge=2, le=100)
    """Database connections of one process: two write, one renews leases, one dispatches."""

    @field_validator("database_url", "migration_database_url", check_fields=False)
    @classmethod
    def _is_postgresql(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and _scheme(url) not in ("postgresql", "postgres", "postgresql+psycopg"):
            raise ValueError("must begin with postgresql://")
        return url

    @property
    def application_url(self) -> str:
        """DATABASE_URL in SQLAlchemy's form, with the psycopg 3 driver."""
        return _with_driver(self.database_url)


class Settings(DatabaseSettings):
    """One frozen object a process. Each field is one environment variable, named by its alias or `WORKER_<FIELD>`."""

    migration_database_url: SecretStr | None = Field(None, alias="MIGRATION_DATABASE_URL")
    """The same database as the role that owns the tables. Not set: DATABASE_URL's role owns them."""

    redis_url: SecretStr = Field(alias="REDIS_URL")
    """redis:// or rediss://; hints, cached tokens and limits. May be emptied at any time."""

    broker_url: SecretStr | None = Field(None, alias="BROKER_URL")
    """Celery's broker where it is not REDIS_URL, for example amqp://."""

    encryption_keys: SecretStr = Field(alias="ENCRYPTION_KEYS")
    """`id:base64` of 32 bytes, comma separated; the first encrypts, all decrypt."""

    blind_index_key: SecretStr = Field(alias="BLIND_INDEX_KEY")
    """base64 of 32 bytes; lets equal licence numbers be found without decrypting them."""

    beat: bool = False
    """Whether each worker process runs a beat as well, in a thread. Any number may run."""

    calls_in_flight: int = Field(256, ge=1, le=10_000)
    """Jobs that one worker process works on at the same time."""

    lease_s: float = Field(30, ge=1, allow_inf_nan=False)
    """A running job belongs to its worker for this long without renewal."""

    stuck_after_s: float = Field(45, ge=5, allow_inf_nan=False)
    """A worker with room that hears of no job for so long, while jobs are due, ends itself."""

    renew_every_s: float = Field(10, gt=0, allow_inf_nan=False)

    gather_ms: float = Field(5, ge=0, le=1000)
    """Jobs claimed or finished within this time share a transaction; up to eight times as long under load."""

    gather_max: int = Field(200, ge=1, le=1000)

    allow_private_providers: bool = False
    """Sandbox configurations may call this machine, private networks and plain http. Never set where real ones run."""

    extra_provider_ports: frozenset[int] | None = None
    """Ports beside 443 on which providers may be called, as a JSON list."""

    local_limit_share: float = Field(0.1, gt=0, le=1)
    """Of a provider account's limits, for each process, while Redis is away and nobody counts for all."""

    metrics_token: SecretStr | None = Field(None, min_length=16)
    """Who shows it may read the API's /metrics. Not set: this machine only."""

    health_port: str | None = None
    """Where a worker or beat tells how it is: a port, or a range (9101-9110) of which it takes the first free one."""

    health_host: str = "127.0.0.1"
    """The address it listens on."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["console", "json"] = "console"

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, url: SecretStr) -> SecretStr:
        if _scheme(url) not in ("redis", "rediss", "unix"):
            raise ValueError("must begin with redis://, rediss:// or unix://")
        return url

    @field_validator("health_port")
    @classmethod
    def _is_port_or_range(cls, ports: str | None) -> str | None:
        if ports is not None:
            health_ports(ports)
        return ports

    @model_validator(mode="after")
    def _lease_outlives_renewal(self) -> Self:
        if self.renew_every_s * 2 > self.lease_s:
            raise ValueError("WORKER_RENEW_EVERY_S must be at most half of WORKER_LEASE_S")
        return self

    @property
    def migration_url(self) -> str:
        """URL of the role that owns the tables, in SQLAlchemy's form."""
        return _with_driver(self.migration_database_url or self.database_url)

    @property
    def application_role(self) -> str | None:
        """Name of the application's role where another role owns the tables, else None."""
        if self.migration_database_url is None:
            return None
        application = urlsplit(self.database_url.get_secret_value()).username
        owner = urlsplit(self.migration_database_url.get_secret_value()).username
        return unquote(application) if application and application != owner else None

    @property
    def health_ports(self) -> range:
        """The ports of WORKER_HEALTH_PORT; none where it is not set."""
        return range(0) if self.health_port is None else health_ports(self.health_port)

    @property
    def celery_broker_url(self) -> str:
        return (self.broker_url or self.redis_url).get_secret_value()


def health_ports(described: str) -> range:
    """The ports that a number or a range (9101-9110) means. Raises `ValueError`."""
    first, dash, last = described.partition("-")
    numbers = [first, last] if dash else [first]
    if all(number.isascii() and number.isdigit() for number in numbers):
        ports = range(int(numbers[0]), int(numbers[-1]) + 1)
        if ports and ports.start > 0 and ports.stop <= 65536:
            return ports
    raise ValueError("must be a port or a range of ports, such as 9101 or 9101-9110")


def _scheme(url: SecretStr) -> str:
    try:
        return urlsplit(url.get_secret_value()).scheme
    except ValueError:  # its text repeats a part of the password
        raise ValueError("is no URL; percent-encode what is special in its password") from None


def _with_driver(url: SecretStr) -> str:
    return "postgresql+psycopg://" + url.get_secret_value().split("://", 1)[1]


@cache
def load_settings() -> Settings:
    """Read and check the settings of this process, once.

    Raises `Misconfigured` with one line for each thing that is missing or wrong; values are not repeated.
    """
    return _load(Settings)


@cache
def load_database_settings() -> DatabaseSettings:
    """The same for an application that only asks for jobs."""
    return _load(DatabaseSettings)


_Loaded = TypeVar("_Loaded", bound=DatabaseSettings)


def _load(kind: type[_Loaded]) -> _Loaded:
    values, problems = _from_files(kind)
    try:
        settings = kind(_env_file=home_directory() / "env", **values)  # type: ignore[call-arg]  # pydantic takes it
        if not problems:
            return settings
    except ValidationError as error:
        for found in error.errors():
            problems.setdefault(_name(found["loc"]), found["msg"])
    lines = "\n".join(f"  {name}: {problem}" for name, problem in problems.items())
    raise Misconfigured(
        f"These settings are missing or wrong:\n{lines}\n"
        "Set them in the environment, or run `worker up` in this directory to use embedded servers."
    ) from None  # pydantic's own error repeats values


def _from_files(kind: type[BaseSettings]) -> tuple[dict[str, Any], dict[str, str]]:
    """Those secrets that are given as files, and what is wrong with which, by variable."""
    values: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for field_name, field in kind.model_fields.items():
        name = field.alias or _name((field_name,))
        if "Secret" not in str(field.annotation) or not os.environ.get(f"{name}_FILE"):
            continue
        try:
            values[field.alias or field_name] = secret(name) or ""
        except Misconfigured as error:
            problems[name] = str(error)
    return values, problems


class _Broker(BaseSettings):
    model_config = SettingsConfigDict(extra="ignore", populate_by_name=True)
    redis_url: SecretStr | None = Field(None, alias="REDIS_URL")
    broker_url: SecretStr | None = Field(None, alias="BROKER_URL")


_BROKER_VARIABLES = ("REDIS_URL", "BROKER_URL", "REDIS_URL_FILE", "BROKER_URL_FILE")


def load_broker_url() -> str | None:
    """The broker's address alone, for applications that only ask for jobs and need no other setting.

    Asked at every enqueue, so it is read anew only where the environment or the file `env` has changed.
    """
    file = home_directory() / "env"
    try:
        written_at = file.stat().st_mtime_ns
    except OSError:
        written_at = 0
    return _broker_url(file, written_at, *(os.environ.get(name) for name in _BROKER_VARIABLES))


@lru_cache(maxsize=8)
def _broker_url(file: Path, written_at: int, *_given: str | None) -> str | None:
    values, problems = _from_files(_Broker)
    for problem in problems.values():
        raise Misconfigured(problem)
    broker = _Broker(_env_file=file, **values)  # type: ignore[call-arg]  # pydantic takes it
    url = broker.broker_url or broker.redis_url
    return url.get_secret_value() if url else None


def _name(location: tuple[int | str, ...]) -> str:
    name = str(location[0]) if location else "settings"
    return name if name.isupper() else f"WORKER_{name.upper()}"
