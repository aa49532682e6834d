"""`worker up`: everything on this machine, in the foreground, until a signal.

With DATABASE_URL and REDIS_URL set, those servers are used: nothing embedded starts, and neither do the sandbox and
its sample rows, because the database may be a real one.
"""

import os
import secrets
import shutil
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from worker.crypto import Keyring
from worker.database import Database
from worker.dev.demo.sample import INTEGRATION, seed
from worker.dev.embedded import EmbeddedServers
from worker.dev.system import parts
from worker.dev.system.home import Home
from worker.dev.system.interruption import Interrupted, Interruption
from worker.dev.system.nursery import Nursery
from worker.dev.system.ports import Ports
from worker.dev.system.readiness import accepts, answers, listeners
from worker.dev.system.supervisor import Supervisor
from worker.errors import Misconfigured
from worker.schema import migrate
from worker.secret_files import secret
from worker.settings import Settings, load_settings

SERVERS = ("DATABASE_URL", "REDIS_URL")
KEYS = ("ENCRYPTION_KEYS", "BLIND_INDEX_KEY")
LOOK_EVERY_S = 0.25


@dataclass(frozen=True, slots=True)
class Request:
    """`home` is absolute. A port of 0 takes any free one."""

    home: Path
    workers: int
    api_port: int
    flower_port: int
    sandbox_port: int


@dataclass(frozen=True, slots=True)
class _Announcement:
    """A line for the person, due once `is_true`."""

    text: str
    is_true: Callable[[], bool]


def up(request: Request, console: Console, nursery: Nursery | None = None) -> None:
    """Run the system until a signal; then stop it. Raises `Misconfigured` if it can't start as asked.

    The programs come out of the `nursery`, which is closed when they all have.
    """
    is_embedded = _uses_embedded_servers()
    with Interruption() as interruption:
        try:
            with ExitStack() as stack:
                _run(request, is_embedded, console, nursery, interruption, stack)
        except Interrupted:
            pass
    console.print("Stopped.")


def _run(
    request: Request,
    is_embedded: bool,
    console: Console,
    nursery: Nursery | None,
    interruption: Interruption,
    stack: ExitStack,
) -> None:
    home = Home(request.home)
    home.create()
    os.environ["WORKER_HOME"] = str(home.path)
    ports = Ports()
    api_port, flower_port = ports.choose(request.api_port, "--port"), ports.choose(request.flower_port, "--flower-port")
    sandbox_port = ports.choose(request.sandbox_port, "--sandbox-port") if is_embedded else None
    with interruption.at_once():
        servers: EmbeddedServers | None = None
        if is_embedded:
            console.print(f"Starting PostgreSQL and Valkey in {home.path} ...", soft_wrap=True)
            servers = _start_servers(home, stack)
        settings = load_settings()
        migrate()
        if sandbox_port is not None:
            _seed(settings, _url(sandbox_port))
        if nursery is not None:
            nursery.wait_until_ready()
    password = secrets.token_urlsafe(16)
    supervisor = stack.enter_context(Supervisor(home.logs, partial(console.print, soft_wrap=True), nursery))
    if sandbox_port is not None:
        supervisor.start(parts.sandbox(sandbox_port))
    numbers = range(1, request.workers + 1)
    health = {name: ports.free() for name in (*(f"worker-{n}" for n in numbers), "rating", "maintenance")}
    # Each of them has a beat: the clock goes on whichever dies, and no process is there for it alone.
    supervisor.start(*(parts.verification_worker(n, health_port=health[f"worker-{n}"], beat=True) for n in numbers))
    supervisor.start(parts.rating_worker(health["rating"]), parts.maintenance_worker(health["maintenance"]))
    supervisor.start(parts.flower(flower_port, password), parts.api(api_port))
    if nursery is not None:
        nursery.close()
    announcements = [
        _Announcement(f"API      {_url(api_port)} (see /docs, /readyz)", partial(answers, api_port, "/readyz")),
        _Announcement(
            f"Flower   {_url(flower_port)} (user {parts.FLOWER_USER}, password {password})",
            partial(answers, flower_port, "/healthcheck"),
        ),
    ]
    named = ", ".join(f"{name} {port}" for name, port in {**health, "api": api_port}.items())
    announcements.append(
        _Announcement(
            f"Health   /healthz, /readyz and /metrics at 127.0.0.1: {named}",
            lambda: all(answers(port, "/healthz") for port in health.values()),
        )
    )
    if sandbox_port is not None:
        redis_url = settings.redis_url.get_secret_value()
        announcements += [
            _Announcement(f"Sandbox  {_url(sandbox_port)}", partial(accepts, sandbox_port)),
            _Announcement(
                f"Workers  {request.workers} for verifications, 1 for rating, 1 for upkeep (logs in {home.logs})",
                lambda: listeners(redis_url) >= request.workers + 2,
            ),
        ]

    def tend() -> None:
        supervisor.tend()
        for name in servers.tend() if servers is not None else ():
            console.print(f"{name} died and was started again (see {home.servers}).", soft_wrap=True)

    _watch(announcements, tend, console, interruption, hint=_hint(request.home) if is_embedded else None)
    console.print("Stopping: the workers finish what they have begun. Ctrl-C again to end at once.")


def _watch(
    announcements: list[_Announcement],
    tend: Callable[[], None],
    console: Console,
    interruption: Interruption,
    hint: str | None,
) -> None:
    """Tend the processes until a signal comes, saying on the way what has become ready."""
    while not interruption.wait(LOOK_EVERY_S):
        tend()
        for announcement in [a for a in announcements if a.is_true()]:
            console.print(announcement.text, highlight=False, markup=False, soft_wrap=True)
            announcements.remove(announcement)
            if not announcements:
                console.print("Everything runs. Ctrl-C stops it.")
                if hint:
                    console.print(hint, highlight=False, markup=False, soft_wrap=True)


def _uses_embedded_servers() -> bool:
    """Whether no servers are given. Raises `Misconfigured` when the environment gives only a part of what is needed."""
    given = [name for name in (*SERVERS, "BROKER_URL") if secret(name)]
    if not given:
        return True
    if missing := [name for name in SERVERS if name not in given]:
        raise Misconfigured(
            f"{given[0]} is set and {missing[0]} is not: set both servers' URLs, or none to use embedded servers"
        )
    if missing := [name for name in KEYS if not secret(name)]:
        raise Misconfigured(
            f"{' and '.join(missing)} must be set where DATABASE_URL is: all who share a database share its keys "
            "(a new one: openssl rand -base64 32; ENCRYPTION_KEYS wants it as k1:<key>)"
        )
    return False


def _start_servers(home: Home, stack: ExitStack) -> EmbeddedServers:
    """Start the embedded servers, and let this process, its children and other terminals find them."""
    servers = stack.enter_context(EmbeddedServers(home.servers))
    variables = {
        "DATABASE_URL": servers.database_url,
        "MIGRATION_DATABASE_URL": servers.migration_database_url,
        "REDIS_URL": servers.redis_url,
        "WORKER_ALLOW_PRIVATE_PROVIDERS": "true",  # the sandbox listens on this machine
        **home.keys(),
    }
    os.environ.update(variables)
    for name in variables:
        os.environ.pop(f"{name}_FILE", None)  # it has been read, or is meant for other servers
    stack.enter_context(home.announced(variables))
    return servers


def _seed(settings: Settings, sandbox_url: str) -> None:
    keyring = Keyring.of(settings)
    database = Database(settings)
    try:
        with database.transaction() as connection:
            seed(connection, keyring, sandbox_url)
    finally:
        database.close()


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def _hint(home: Path) -> str:
    where = "" if home == Path(".worker").absolute() else f"WORKER_HOME={home} "
    command = Path(sys.executable).with_name("worker")
    if shutil.which("worker") == str(command):
        command = Path("worker")
    elif command.is_relative_to(Path.cwd()):
        command = command.relative_to(Path.cwd())
    ask = f"enqueue verification --integration {INTEGRATION} --driver 1 --wait"
    return f"Try in another terminal: {where}{command} {ask}"
