"""What can be proved of the containers without Docker: the file's form, its promises, and the database's first start.

`compose-spec.json` is the Compose Specification's own schema (Apache License 2.0), as docker compose 2.40 carries it,
without its descriptions. `test_compose_commands.py` runs the commands.
"""

import json
import os
import re
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema_rs
import psycopg
import pytest
import yaml

from tests.conftest import DatabaseUrls, migrate
from tests.sources import ROOT
from worker.broker import QUEUES
from worker.crypto import Keyring
from worker.dev.embedded import EmbeddedServers, binaries

OWNER_PASSWORD = "it's \\ $HOME"
APP_PASSWORD = 'say "app"'
COMPOSE = (ROOT / "docker-compose.yml").read_text("utf-8")
FILE: dict[str, Any] = yaml.safe_load(COMPOSE)
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
OURS = sorted(name for name, service in SERVICES.items() if "build" in service)
SCHEMA = json.loads((ROOT / "tests" / "packaging" / "compose-spec.json").read_text("utf-8"))


@pytest.fixture
def first_start(tmp_path: Path) -> Iterator[DatabaseUrls]:
    """A server as the container's image leaves it, after docker/roles.sh has run."""
    with EmbeddedServers(tmp_path / "home", durable=False) as servers:
        with psycopg.connect(servers.admin_database_url, autocommit=True) as admin:
            admin.execute("DROP DATABASE worker")
            admin.execute("DROP ROLE owner, app")
            admin.execute("CREATE DATABASE worker")
        url = urlsplit(servers.admin_database_url)
        assert url.username
        assert url.password
        path = f"{binaries.find().install / 'bin'}:{os.environ['PATH']}"
        address = {"PGHOST": "127.0.0.1", "PGPORT": str(url.port), "PGPASSWORD": url.password}
        given = {"POSTGRES_USER": url.username, "POSTGRES_DB": "worker"}
        for name, password in (("OWNER_PASSWORD", OWNER_PASSWORD), ("APP_PASSWORD", APP_PASSWORD)):
            (tmp_path / name).write_text(f"{password}\n")
            given[f"{name}_FILE"] = str(tmp_path / name)
        subprocess.run([ROOT / "docker" / "roles.sh"], env={"PATH": path, **address, **given}, check=True)
        at = f"127.0.0.1:{url.port}/worker"
        yield DatabaseUrls("worker", _login("owner", OWNER_PASSWORD, at), _login("app", APP_PASSWORD, at))


def _login(role: str, password: str, at: str) -> str:
    quoted = "".join(f"%{byte:02X}" for byte in password.encode())
    return f"postgresql://{role}:{quoted}@{at}"


@pytest.mark.servers
def test_database_starts_with_roles_that_can_migrate_and_work(first_start: DatabaseUrls) -> None:
    migrate(first_start)
    with psycopg.connect(first_start.app_url) as app:
        app.execute("UPDATE users SET updated_at = updated_at WHERE false")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            app.execute("CREATE TABLE mine (id int)")


@pytest.mark.servers
def test_no_role_of_the_application_is_a_superuser(first_start: DatabaseUrls) -> None:
    with psycopg.connect(first_start.owner_url) as owner:
        rows = owner.execute(
            "SELECT rolname FROM pg_roles WHERE rolname IN ('owner', 'app')"
            " AND (rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls)"
        ).fetchall()
    assert rows == []


def test_it_is_what_the_specification_says() -> None:
    assert [error.message for error in jsonschema_rs.validator_for(SCHEMA).iter_errors(FILE)] == []


def test_a_misspelt_word_would_be_found() -> None:
    misspelt = {**FILE, "services": {**SERVICES, "api": {**SERVICES["api"], "healthchek": {}}}}
    assert not jsonschema_rs.validator_for(SCHEMA).is_valid(misspelt)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_container_can_do_and_use_no_more_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert name in OURS or ":" in service["image"]


@pytest.mark.parametrize("name", OURS)
def test_our_image_runs_as_nobody_in_particular(name: str) -> None:
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
    user = re.search(r"--uid (\d+)", dockerfile)
    assert user is not None
    assert SERVICES[name]["user"] == f"{user[1]}:{user[1]}"
    assert re.search(r"^USER worker$", dockerfile, re.MULTILINE)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_each_service_that_stays_is_looked_after(name: str) -> None:
    service = SERVICES[name]
    if service.get("restart") == "no":
        assert "healthcheck" not in service
        return
    check = service["healthcheck"]
    assert {"test", "interval", "timeout"} <= set(check)
    assert "ping" not in check["test"] or name == "redis", "a worker that answers may be stuck"


def test_all_that_the_system_is_made_of_is_there() -> None:
    assert set(SERVICES) == {
        *("postgres", "redis", "migrate", "api", "worker-verification", "worker-rating", "worker-maintenance"),
        *("beat", "flower", "sandbox", "prometheus", "grafana"),
    }
    assert SERVICES["beat"]["deploy"]["replicas"] == 2
    profiles = {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service}
    assert profiles == {"sandbox": ["sandbox"], "prometheus": ["monitoring"], "grafana": ["monitoring"]}
    queues = {
        service["command"][service["command"].index("--queues") + 1]
        for name, service in SERVICES.items()
        if name.startswith("worker-")
    }
    assert queues == set(QUEUES)


def test_secrets_come_from_files_and_nothing_has_a_default() -> None:
    assert set(re.findall(r"\$\{(\w+)", COMPOSE)) == {"WORKER_ALLOW_PRIVATE_PROVIDERS"}
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            if re.search("PASSWORD|_URL|KEY|TOKEN|AUTH(?!_ANONYMOUS)", variable) and "ANONYMOUS" not in variable:
                assert variable.endswith("_FILE"), f"{name}: {variable}"
                assert value.removeprefix("/run/secrets/") in service["secrets"], f"{name}: {variable}"
        assert set(service.get("secrets", [])) <= set(FILE["secrets"])


def test_secrets_are_made_once_and_kept(tmp_path: Path) -> None:
    def make() -> dict[str, str]:
        subprocess.run(["sh", ROOT / "docker" / "secrets.sh", tmp_path / "secrets"], check=True)
        return {path.name: path.read_text().strip() for path in (tmp_path / "secrets").iterdir()}

    first = make()
    assert {f"./secrets/{name}" for name in first} == {secret["file"] for secret in FILE["secrets"].values()}
    assert len(set(first.values())) == len(first)
    assert all(len(value) >= 32 for value in first.values())
    assert make() == first
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    Keyring.parse(first["encryption_keys"], first["blind_index_key"])


def test_no_secret_is_committed() -> None:
    assert "/secrets/" in (ROOT / ".gitignore").read_text("utf-8").splitlines()


def test_images_are_pinned_to_a_version() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
    images = [*re.findall(r"^\s+image: (\S+)$", COMPOSE, re.M), *re.findall(r"^FROM (\S+)", dockerfile, re.M)]
    assert len(images) >= 4
    assert [image for image in images if not re.search(r":v?\d", image)] == []
