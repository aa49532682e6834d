"""EmbeddedServers: both servers as one thing to start and to stop."""

import json
import os
import signal
from pathlib import Path
from types import FrameType, TracebackType
from typing import NoReturn, Self

from worker.dev.embedded import binaries, lock, placement, roles
from worker.dev.embedded.files import own_directory, password, write_private
from worker.dev.embedded.ports import start_on_free_port
from worker.dev.embedded.postgres import SUPERUSER, Postgres
from worker.dev.embedded.process import Spawner, require_main_thread
from worker.dev.embedded.valkey import Valkey
from worker.errors import Misconfigured


class EmbeddedServers:
    """PostgreSQL and Valkey on 127.0.0.1, with their data, ports and passwords kept below one directory.

    Use it as a context manager in the main thread; inside, both servers answer. Passwords and ports stay the same
    over restarts (a port changes if somebody else has taken it). A second launcher on the same home waits for the
    first to finish. Ctrl-C does not reach the servers; they stop when the block is left, and on Linux also when the
    launcher is killed. Stop the processes that use them first.

    `durable=False` is for test suites: faster, but a stop loses what Valkey holds, a killed PostgreSQL may lose its
    last commits, and a crash of the machine everything.
    """

    def __init__(self, home: Path, *, durable: bool = True) -> None:
        self._asked = home.resolve()
        self.home = self._asked
        """Where the data lies; below /var/lib if root could not use the directory asked for (see placement.py)."""
        self._durable = durable
        self._lock: int | None = None
        self._launcher = 0
        self._passwords: dict[str, str] = {}
        self._postgres: Postgres
        self._valkey: Valkey
        self._running: list[Postgres | Valkey] = []

    @property
    def database_url(self) -> str:
        """As the application's role: no superuser, owns nothing."""
        return self._postgres_url(roles.APP, roles.DATABASE)

    @property
    def migration_database_url(self) -> str:
        """As the role that owns the database and its schema `public`."""
        return self._postgres_url(roles.OWNER, roles.DATABASE)

    @property
    def admin_database_url(self) -> str:
        """As superuser, to the database `postgres`; for tests and this launcher only."""
        return self._postgres_url(SUPERUSER, "postgres")

    @property
    def redis_url(self) -> str:
        return f"redis://:{self._passwords['valkey']}@127.0.0.1:{self._valkey.port}/0"

    @property
    def pids(self) -> tuple[int, int]:
        """PostgreSQL's process id and Valkey's."""
        return self._postgres.pid, self._valkey.pid

    def start(self) -> Self:
        """Start both servers and return once both answer; Misconfigured or ServerFailed says why they can't."""
        if self._lock is not None:
            raise Misconfigured(f"the embedded servers in {self.home} are started already")
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop both servers, then let the next launcher in. A fork of the launcher has nothing to stop."""
        if self._lock is None or os.getpid() != self._launcher:
            return
        for server in reversed(self._running):
            server.stop()
        self._running = []
        os.close(self._lock)
        self._lock = None
        for number in _ENDINGS:
            if signal.getsignal(number) is _leave:
                signal.signal(number, signal.SIG_DFL)

    def restart_postgres(self) -> None:
        """Stop PostgreSQL if it runs, and start it on the same port."""
        self._postgres.stop()
        self._postgres.start(self._postgres.port)

    def tend(self) -> list[str]:
        """Start again whichever server has died, on its port; gives their names. To be called now and then."""
        dead = [server for server in self._running if server.has_died]
        for server in dead:
            server.start(server.port)
        return [server.name for server in dead]

    def stop_redis(self) -> None:
        self._valkey.stop()

    def kill_redis(self) -> None:
        """End Valkey with SIGKILL; up to a second of its last writes may be lost."""
        self._valkey.kill()

    def start_redis(self) -> None:
        """Start Valkey again on the same port."""
        self._valkey.start(self._valkey.port)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self) -> None:
        require_main_thread()
        programs = binaries.find()
        _make_home(self._asked)
        place = placement.choose(programs, self._asked)
        self.home = place.home
        self._launcher, self._lock = os.getpid(), lock.acquire(self.home)
        placement.tie(place, self._asked)
        for number in _ENDINGS:
            # Only where nobody has said otherwise: without a handler the launcher would end before it could stop.
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, _leave)
        own_directory(self.home, place.owner)
        secrets = self.home / "passwords"
        own_directory(secrets, place.owner)
        names = (SUPERUSER, roles.OWNER, roles.APP, "valkey")
        self._passwords = {name: password(secrets, name, place.owner) for name in names}
        spawner = Spawner(place, self._lock)
        self._postgres = Postgres(spawner, secrets / SUPERUSER, durable=self._durable)
        self._valkey = Valkey(spawner, self._passwords["valkey"], durable=self._durable)
        self._running = [self._postgres, self._valkey]
        memory = self.home / "ports.json"
        remembered = json.loads(memory.read_text()) if memory.exists() else {}
        self._postgres.prepare()
        start_on_free_port(self._postgres.start, remembered.get("postgres"))
        start_on_free_port(self._valkey.start, remembered.get("valkey"))
        roles.provision(self._postgres.port, SUPERUSER, self._passwords)
        ports = {"postgres": self._postgres.port, "valkey": self._valkey.port}
        write_private(memory, json.dumps(ports), place.owner)

    def _postgres_url(self, role: str, database: str) -> str:
        return f"postgresql://{role}:{self._passwords[role]}@127.0.0.1:{self._postgres.port}/{database}"


_ENDINGS = (signal.SIGTERM, signal.SIGHUP)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    """End like Ctrl-C does, through the blocks that are open."""
    raise SystemExit(128 + number)


def _make_home(home: Path) -> None:
    """Make `home`, or refuse a directory that is not ours: it would be closed to others and change owner."""
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Misconfigured(f"the directory {home} can not be made: {error.strerror}") from error
    owner, user = home.stat().st_uid, os.geteuid()
    if owner != user and (user != 0 or owner != placement.NOBODY):
        raise Misconfigured(f"{home} belongs to user {owner}, not to user {user}: choose another directory or user")
    is_ours = (home / "lock").exists() or (home / placement.LINK).is_symlink()
    if not is_ours and any(home.iterdir()):
        raise Misconfigured(f"{home} holds other files: give the embedded servers a directory of their own")
