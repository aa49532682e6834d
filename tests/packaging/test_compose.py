"""What can be proved of the containers without Docker: the database's first start, and the names of the secrets."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.conftest import DatabaseUrls, migrate
from tests.sources import ROOT
from worker.dev.embedded import EmbeddedServers, binaries

OWNER_PASSWORD = "it's \\ $HOME"
APP_PASSWORD = 'say "app"'
COMPOSE = (ROOT / "docker-compose.yml").read_text("utf-8")


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
        given = {
            "POSTGRES_USER": url.username,
            "POSTGRES_DB": "worker",
            "OWNER_PASSWORD": OWNER_PASSWORD,
            "APP_PASSWORD": APP_PASSWORD,
        }
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


def test_example_names_every_secret_and_holds_none() -> None:
    example = (ROOT / ".env.example").read_text("utf-8")
    lines = dict(line.split("=", 1) for line in example.splitlines() if line and not line.startswith("#"))
    assert set(lines) == set(re.findall(r"\$\{(\w+)", COMPOSE))
    assert set(lines.values()) == {""}


def test_images_are_pinned_to_a_version() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
    images = [*re.findall(r"^\s+image: (\S+)$", COMPOSE, re.M), *re.findall(r"^FROM (\S+)", dockerfile, re.M)]
    assert len(images) >= 4
    assert [image for image in images if not re.search(r":\d", image)] == []
