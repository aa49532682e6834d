"""Starts the sandbox: in the foreground for people, in a thread of the process for tests."""

import asyncio
import ipaddress
import signal
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

from worker.errors import Misconfigured

from .app import Sandbox, create_app
from .connection import Connection
from .settings import SandboxSettings

T = TypeVar("T")
BACKLOG = 1024


def announce(url: str) -> None:
    sys.stdout.write(f"{url}\n")
    sys.stdout.flush()


def serve(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    control: bool = False,
    seed: int = 0,
    latency: str = "0",
    allow_non_loopback: bool = False,
    ready: Callable[[str], None] = announce,
) -> None:
    """Serve until SIGINT or SIGTERM; call from the main thread. `ready` gets the URL once connections are accepted.

    Raises Misconfigured for an address that other machines could reach, a taken port or an unreadable latency.
    """
    if not allow_non_loopback:
        require_loopback(host)
    sandbox = create_app(SandboxSettings(control=control, seed=seed, latency=latency))

    async def until_signalled() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await _serve(sandbox, host, port, ready, stop)

    asyncio.run(until_signalled())


def require_loopback(host: str) -> None:
    """The sandbox lets anybody in who can read its source: it is for this machine."""
    try:
        is_loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise Misconfigured(f"the sandbox binds to loopback addresses only, not to {host}, unless told otherwise")


async def _serve(sandbox: Sandbox, host: str, port: int, ready: Callable[[str], None], stop: asyncio.Event) -> None:
    connections: set[Connection] = set()
    try:
        server = await asyncio.get_running_loop().create_server(
            lambda: Connection(sandbox, connections), host, port, backlog=BACKLOG
        )
    except OSError as error:
        raise Misconfigured(f"the sandbox can't listen on {host} port {port}: {error.strerror}") from error
    address, bound = server.sockets[0].getsockname()[:2]
    ready(f"http://[{address}]:{bound}" if ":" in address else f"http://{address}:{bound}")
    await stop.wait()
    server.close()
    for connection in list(connections):
        connection.abort()
    await server.wait_closed()


class SandboxServer:
    """A sandbox of its own for a test: `with SandboxServer() as sandbox: httpx2.post(sandbox.url + ...)`."""

    url: str

    def __init__(self, settings: SandboxSettings | None = None) -> None:
        self._sandbox = create_app(settings or SandboxSettings(control=True))
        self._thread = threading.Thread(target=self._run, name="sandbox", daemon=True)
        self._ready = threading.Event()

    def __enter__(self) -> "SandboxServer":
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def journal(self) -> list[dict[str, Any]]:
        """The calls received since the last reset, oldest first; the keys are those of `journal.Entry`."""
        return self._in_loop(self._sandbox.journal.entries)

    def reset(self) -> None:
        self._in_loop(self._sandbox.reset)

    def faults(self, **faults: object) -> None:
        """As `POST /_sandbox/faults`: rate_500, seed, latency."""
        self._in_loop(lambda: self._sandbox.set_faults(faults))

    def _run(self) -> None:
        asyncio.run(self._until_stopped())

    async def _until_stopped(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        await _serve(self._sandbox, "127.0.0.1", 0, self._on_ready, self._stop)

    def _on_ready(self, url: str) -> None:
        self.url = url
        self._ready.set()

    def _in_loop(self, ask: Callable[[], T]) -> T:
        """The state belongs to the server's thread; ask there."""

        async def answer() -> T:
            return ask()

        return asyncio.run_coroutine_threadsafe(answer(), self._loop).result()
