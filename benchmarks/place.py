"""Where everything is measured: one PostgreSQL, one Valkey and one provider for a whole run, a fresh database a round.

The servers are durable, as in production: every commit waits for the disk.
"""

import http.client
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from uuid import uuid4

import orjson
import psycopg
import redis

from benchmarks.processes import Fleet, cpu_s
from worker.dev.embedded import EmbeddedServers, roles
from worker.dev.system.child import Child, Program
from worker.dev.system.home import Home
from worker.dev.system.ports import free_port

CHECKOUT = Path(__file__).parents[1]
READY_WITHIN_S = 30.0


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """Seconds of CPU used so far, or within a round."""

    workers: float
    postgres: float
    valkey: float
    provider: float

    def __sub__(self, earlier: Self) -> "CpuTimes":
        return CpuTimes(
            self.workers - earlier.workers,
            self.postgres - earlier.postgres,
            self.valkey - earlier.valkey,
            self.provider - earlier.provider,
        )

    def total_of_system(self) -> float:
        """All but the provider, which is somebody else's machine."""
        return self.workers + self.postgres + self.valkey


class Provider:
    """The provider's process, and what it has seen."""

    def __init__(self, port: int, logs: Path) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        command = (sys.executable, "-m", "benchmarks.provider", "--port", str(port))
        self._child = Child(Program("provider", command, {"PYTHONPATH": str(CHECKOUT)}), logs)
        deadline = time.monotonic() + READY_WITHIN_S
        while True:
            try:
                self.count()
            except OSError:
                if time.monotonic() > deadline or self._child.ended() is not None:
                    raise RuntimeError(f"the provider did not start:\n{self._child.last_words()}") from None
                time.sleep(0.05)
            else:
                break

    @property
    def pid(self) -> int:
        return self._child.pid

    def reset(self, latency_s: float) -> None:
        """Forget all calls, and answer after this long from now on."""
        self._ask("POST", "/reset", str(latency_s))

    def set_latency(self, latency_s: float) -> None:
        """Answer the calls from now on after this long."""
        self._ask("POST", "/latency", str(latency_s))

    def count(self) -> int:
        """Calls since the last reset, tokens apart."""
        return int(self._ask("GET", "/count"))

    def calls(self) -> dict[str, list[float]]:
        """By reference, the moments (`time.monotonic`) at which a call's first byte came."""
        calls: dict[str, list[float]] = orjson.loads(self._ask("GET", "/calls"))
        return calls

    def stop(self) -> None:
        self._child.terminate()
        self._child.wait(5)

    def _ask(self, method: str, path: str, body: str = "") -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body)
            return connection.getresponse().read()
        finally:
            connection.close()


class Place:
    """The servers of a run."""

    def __init__(self, home: Home, servers: EmbeddedServers, provider: Provider) -> None:
        self.home = home
        self.servers = servers
        self.provider = provider
        self.redis_url = servers.redis_url

    @contextmanager
    def copy_of(self, template: str) -> Iterator[str]:
        """Name of a database for one round, with an empty Valkey. Nobody may be connected to `template` meanwhile."""
        name = f"round_{uuid4().hex[:12]}"
        with psycopg.connect(self.servers.admin_database_url, autocommit=True) as admin:
            admin.execute(f"CREATE DATABASE {name} OWNER {roles.APP} TEMPLATE {template} STRATEGY file_copy")
            with redis.Redis.from_url(self.redis_url) as valkey:
                valkey.flushall()
            admin.execute("CHECKPOINT")  # of the round before; this one must not pay for it
            try:
                yield name
            finally:
                admin.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def url(self, database: str) -> str:
        """As the application's role."""
        return f"{self.servers.database_url.rpartition('/')[0]}/{database}"

    def admin_url(self, database: str) -> str:
        return f"{self.servers.admin_database_url.rpartition('/')[0]}/{database}"

    def cpu(self, fleet: Fleet) -> CpuTimes:
        postgres, valkey = self.servers.pids
        return CpuTimes(cpu_s(fleet.pids), cpu_s([postgres]), cpu_s([valkey]), cpu_s([self.provider.pid]))


@contextmanager
def open_place() -> Iterator[Place]:
    with ExitStack() as stack:
        home = Home(Path(tempfile.mkdtemp(prefix="worker-benchmarks-")))
        stack.callback(lambda: shutil.rmtree(home.path, ignore_errors=True))
        home.path.chmod(0o711)  # root's servers are another user's
        home.create()
        servers = EmbeddedServers(home.servers)
        stack.callback(lambda: shutil.rmtree(servers.home, ignore_errors=True))
        stack.enter_context(servers)
        provider = Provider(free_port(), home.logs)
        stack.callback(provider.stop)
        os.environ.pop("BROKER_URL", None)
        os.environ.update(
            home.keys(),
            WORKER_HOME=str(home.path),
            DATABASE_URL=servers.database_url,
            MIGRATION_DATABASE_URL=servers.migration_database_url,
            REDIS_URL=servers.redis_url,
            WORKER_ALLOW_PRIVATE_PROVIDERS="true",  # the provider is this machine
            WORKER_LOG_LEVEL="WARNING",
        )
        yield Place(home, servers, provider)
