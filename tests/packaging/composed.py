"""The system of docker-compose.yml without containers: its commands, its variables, and secrets of its own.

What a container would have to itself is replaced, and nothing else: addresses of services, ports, directories, and the
name of its host.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.cli.processes import clean_environment
from tests.conftest import DatabaseUrls
from tests.sources import ROOT
from worker.dev.embedded import binaries
from worker.dev.system.ports import free_port

SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
PORTS = ("8000", "5555", "8081", "9101")
OPERATOR = "redis://operator:operator@127.0.0.1"


@dataclass
class Composed:
    """`place` holds secrets/ and everything that a container would keep."""

    place: Path
    ports: dict[tuple[str, str], str] = field(default_factory=dict)
    """What stands for a port of a service here."""

    redis_port: int = 0

    def secret(self, name: str) -> str:
        return (self.place / "secrets" / name).read_text().strip()

    def port(self, service: str, port: str) -> str:
        known = self.ports.setdefault((service, port), "")
        if not known:
            known = self.ports[service, port] = str(free_port())
        return known

    def argv(self, service: str, command: Sequence[str]) -> list[str]:
        """The command as it runs here."""
        here = [self._here(service, word) for word in command]
        program = {name: [sys.executable, "-m", name] for name in ("celery", "worker")} | {"python": [sys.executable]}
        own_name = ["--hostname", f"celery@{service}"] if service.startswith("worker-") and here[0] == "celery" else []
        return [*program.get(here[0], [here[0]]), *here[1:], *own_name]

    def environment(self, service: str) -> dict[str, str]:
        """The service's variables as they are here, and nothing of this process that configures a system."""
        given = SERVICES[service].get("environment", {})
        variables = {name: self._here(service, value) for name, value in given.items()}
        return clean_environment(**variables, WORKER_HOME=str(self.place / "home"))

    @contextmanager
    def running(self, service: str) -> Iterator[subprocess.Popen[bytes]]:
        """A service, ended as `docker stop` would do it."""
        log = self.place / f"{service}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                self.argv(service, SERVICES[service]["command"]),
                env=self.environment(service), cwd=self.place, stdout=output, stderr=output,
            )  # fmt: skip
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                raise AssertionError(f"{service} did not stop; its log:\n{log.read_text()[-4000:]}") from None

    def run(self, service: str, *command: str) -> subprocess.CompletedProcess[str]:
        """A command in the place of the service's own, as `docker compose exec` runs one."""
        return subprocess.run(
            self.argv(service, command or SERVICES[service]["command"]),
            env=self.environment(service), cwd=self.place, capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip

    def is_healthy(self, service: str) -> bool:
        return self.run(service, *SERVICES[service]["healthcheck"]["test"][1:]).returncode == 0

    def _here(self, service: str, word: str) -> str:
        for port in PORTS:
            if port in word:
                word = word.replace(port, self.port("sandbox" if "sandbox:" in word else service, port))
        for container, here in (
            ("${WORKER_ALLOW_PRIVATE_PROVIDERS:-false}", "true"),
            ("/run/secrets", str(self.place / "secrets")),
            ("0.0.0.0", "127.0.0.1"),  # noqa: S104 - what is replaced
            ("//sandbox:", "//127.0.0.1:"),
            ("/docker/", f"{ROOT}/docker/"),
        ):
            word = word.replace(container, here)
        return word


def make(place: Path, database: DatabaseUrls) -> Composed:
    """Secrets as `docker/secrets.sh` makes them, with the addresses of this machine."""
    composed = Composed(place)
    subprocess.run(["sh", ROOT / "docker" / "secrets.sh", place / "secrets"], check=True)
    composed.redis_port = free_port()
    for name, address in {
        "database_url": database.app_url,
        "migration_database_url": database.owner_url,
        "redis_url": f"redis://worker:{composed.secret('redis_password')}@127.0.0.1:{composed.redis_port}/0",
    }.items():
        (place / "secrets" / name).unlink()
        (place / "secrets" / name).write_text(f"{address}\n")
    return composed


@contextmanager
def valkey(composed: Composed) -> Iterator[None]:
    """The server as `docker/redis.sh` starts it, but for a second user who may ask what was denied to the first."""
    programs, data = composed.place / "bin", composed.place / "data"
    programs.mkdir()
    data.mkdir()
    shim = programs / "valkey-server"
    server = binaries.find().valkey_server
    shim.write_text(f'#!/bin/sh\necho \'user operator on >operator ~* &* +@all\' >> "$2"\nexec {server} "$@"\n')
    shim.chmod(0o755)
    script, *options = composed.argv("redis", SERVICES["redis"]["command"][1:])
    options[options.index("/data")] = str(data)
    here = ("--port", str(composed.redis_port), "--bind", "127.0.0.1", "--daemonize", "no")
    environment = {
        **composed.environment("redis"),
        "PATH": f"{programs}:{os.environ['PATH']}",
        "TMPDIR": str(composed.place),
    }
    with (composed.place / "redis.log").open("wb") as output:
        process = subprocess.Popen(
            ["sh", script, *options, *here], env=environment, cwd=composed.place, stdout=output, stderr=output
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)
