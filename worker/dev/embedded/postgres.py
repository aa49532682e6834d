"""The PostgreSQL cluster of a home: made once, started, stopped.

TCP on 127.0.0.1 with passwords only: every local user can reach a port, and without a password each of them would be
a superuser who can run programs as the server's user.
"""

import contextlib
import shutil
import signal
import subprocess
import time
from pathlib import Path

from worker.dev.embedded.process import START_TIMEOUT_S, Server, ServerFailed, Spawner
from worker.errors import Misconfigured

SUPERUSER = "postgres"

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",
    # Until there are old segments to use again, a new one a second: filling it with zeros takes 5 to 25 ms, in which
    # every commit waits. What the file system does instead is done a page at a time.
    "wal_init_zero": "off",
    "jit": "off",  # jobs run thousands of short statements; compiling them costs more than it saves
    "TimeZone": "UTC",
    "log_timezone": "UTC",
    # A queue table turns over all the time: vacuum it often, without waiting between pages. With 10 s, who waits for
    # an answer waits for a round's CPU six times a minute.
    "autovacuum_naptime": "30s",
    "autovacuum_vacuum_scale_factor": "0.05",
    "autovacuum_vacuum_cost_delay": "0",
    # Looking at each of a wide row's columns takes a third of a second of CPU. A young system's tables grow by a tenth,
    # PostgreSQL's measure, between any two rounds; the planner sees for itself how large they are.
    "autovacuum_analyze_scale_factor": "0.5",
    # Personal data must not reach the log. Statements, parameters and details (which quote rows) stay out, and so do
    # errors of statements, whose text may quote a value: the client gets them. In the order of this setting "log"
    # stands above "error", so start, stop, crashes and refused logins are still written.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_line_prefix": "%m [%p] ",
}

WITHOUT_DURABILITY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class Postgres(Server):
    def __init__(self, spawner: Spawner, password_file: Path, *, durable: bool) -> None:
        # Fast shutdown, then immediate (recovers at the next start), then the kernel's.
        super().__init__("PostgreSQL", spawner, (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL))
        self._binaries = spawner.placement.binaries
        self._data = spawner.placement.home / "pg"
        self._password_file = password_file
        self._durable = durable
        self.port = 0

    def prepare(self) -> None:
        """Make the cluster, or check that the one there fits; the lock must be held."""
        if self._data.exists():
            self._check_version()
        else:
            self._initdb()
        # Nothing runs here while we hold the lock, whatever process has this file's number by now.
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def start(self, port: int) -> None:
        """Start on `port` and return once connections are accepted."""
        settings = {**SETTINGS, "port": str(port)} | ({} if self._durable else WITHOUT_DURABILITY)
        arguments = [f"--{name}={value}" for name, value in settings.items()]
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                self.run([self._binaries.postgres, "-D", self._data, *arguments], self._is_ready)
            except ServerFailed as error:
                # After a crash its sessions live on for a moment, until they look up from their work.
                if "pre-existing shared memory block" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                break
        self.port = port

    def _is_ready(self, pid: int) -> bool:
        """Line 1 of postmaster.pid is the server's pid, line 8 its status (PostgreSQL's miscadmin.h and pidfile.h)."""
        with contextlib.suppress(FileNotFoundError):
            lines = (self._data / "postmaster.pid").read_text().splitlines()
            return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"
        return False

    def _initdb(self) -> None:
        # Under another name until it is whole: a first start that is cut short leaves no half cluster behind.
        new = self._data.with_name("pg.new")
        shutil.rmtree(new, ignore_errors=True)
        command: list[str | Path] = [
            self._binaries.initdb,
            f"--pgdata={new}",
            f"--username={SUPERUSER}",
            f"--pwfile={self._password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            # Sorts by code point like C, but knows upper and lower case beyond ASCII; same on every system.
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--locale=C",
            "--no-instructions",
            # A new segment is filled with zeros while every commit waits: 16 MB took 50 ms, every few seconds.
            "--wal-segsize=4",
            *([] if self._durable else ["--no-sync"]),
        ]
        log = self.log.with_name("initdb.log")
        log.unlink(missing_ok=True)
        if status := self.spawner.spawn(command, log).wait():
            output = log.read_text(errors="replace").strip()
            tail = "\n".join(output.splitlines()[-8:])
            raise ServerFailed(f"initdb ended with status {status}; {log} ends with:\n{tail}")
        new.rename(self._data)

    def _check_version(self) -> None:
        version_file = self._data / "PG_VERSION"
        if not version_file.exists():
            raise Misconfigured(f"{self._data} is not a PostgreSQL data directory: it has no file PG_VERSION")
        found = version_file.read_text().strip()
        answer = subprocess.run(  # noqa: S603 - our own binary
            [self._binaries.postgres, "--version"], capture_output=True, text=True, check=True
        )
        installed = answer.stdout.split()[-1].split(".")[0]  # postgres (PostgreSQL) 18.6
        if found != installed:
            raise Misconfigured(
                f"the data in {self._data} is of PostgreSQL {found}, the installed server is PostgreSQL {installed}: "
                "install the server it was made with and dump it, or delete it"
            )
