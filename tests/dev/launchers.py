"""Launchers of embedded servers that are processes of their own, and the ways in which they may run them."""

import contextlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import redis

from worker.dev.embedded import placement

ROOT = os.geteuid() == 0
NOBODY = 65534
NAMESPACES = ROOT and placement.namespaces_work()
"""Elsewhere what would live in a namespace is tested with copies, the way that root then takes."""

WAYS = ["as nobody", *(["in a namespace"] if NAMESPACES else []), "from copies", "ordinary user"]

LAUNCHER = """
import encodings.idna  # sockets ask for it late, when a former root can no longer read its own Python
import json, os, signal, sys
from pathlib import Path
from worker.dev.embedded import EmbeddedServers, placement

options = json.loads(sys.argv[1])
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it would be ignored
sys.path[:0] = options["sites"]
placement.OUTSIDE = Path(options["outside"])
if options["uid"] is not None:
    os.setgroups([])
    os.setgid(options["uid"])
    os.setuid(options["uid"])
print("begun", flush=True)
with EmbeddedServers(Path(options["home"])) as servers:
    try:
        print(json.dumps({
            "owner": servers.migration_database_url,
            "redis": servers.redis_url,
            "pids": servers.pids,
            "home": str(servers.home),
        }), flush=True)
        sys.stdin.read()
    except KeyboardInterrupt:
        import psycopg, redis
        psycopg.connect(servers.database_url).close()
        redis.Redis.from_url(servers.redis_url).ping()
        print("both answer", flush=True)
"""


@dataclass(frozen=True)
class Way:
    """How a launcher is started: as whom, with which home and programs, and where it may copy to."""

    home: Path
    outside: Path
    expected: tuple[int, bool] = (os.geteuid(), False)
    """The uid of the servers, and whether they live in a user namespace of their own."""
    path: str = os.environ["PATH"]
    copies: bool = False
    uid: int | None = None
    site: Path | None = None
    """A folder of packages that comes before the installed ones."""


class Launcher:
    """A process that starts embedded servers and keeps them until its input is closed."""

    def __init__(self, way: Way) -> None:
        sites = [] if way.site is None else [str(way.site)]
        options = {"home": str(way.home), "outside": str(way.outside), "uid": way.uid, "sites": sites}
        self.process = subprocess.Popen(
            [sys.executable, "-c", LAUNCHER, json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PATH": way.path},
            start_new_session=True,
            text=True,
        )
        assert self._line() == "begun"

    def ready(self) -> "Launcher":
        answer: dict[str, Any] = json.loads(self._line())
        self.owner_url, self.redis_url = answer["owner"], answer["redis"]
        self.pids, self.home = answer["pids"], Path(answer["home"])
        return self

    def leave(self) -> None:
        self.process.communicate(timeout=30)
        assert self.process.returncode == 0

    def write(self) -> None:
        with psycopg.connect(self.owner_url) as owner:
            owner.execute("CREATE TABLE kept (n int)")
            owner.execute("INSERT INTO kept VALUES (1)")
        with redis.Redis.from_url(self.redis_url) as client:
            client.set("kept", "1")

    def has_what_was_written(self) -> bool:
        with psycopg.connect(self.owner_url) as owner, redis.Redis.from_url(self.redis_url) as client:
            return owner.execute("SELECT n FROM kept").fetchall() == [(1,)] and client.get("kept") == b"1"

    def said(self) -> str:
        return self._line()

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


def wait_until_gone(pid: int) -> None:
    """Return when no process has this number, or only a dead one that nobody has collected yet."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX":
                time.sleep(0.005)
                continue
        return
    raise AssertionError(f"process {pid} still runs")


def runs_as(pid: int) -> tuple[int, bool]:
    """The uid of a process as files see it, and whether its user namespace differs from ours."""
    namespaces = {os.readlink(f"/proc/{process}/ns/user") for process in (pid, "self")}
    return Path(f"/proc/{pid}").stat().st_uid, len(namespaces) > 1
