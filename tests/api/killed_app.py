"""An API process that kills itself once a verification is committed, before the first byte of its answer."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.api.served import Api
from worker.api.app import create_app


class _Killed:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def killed(message: Message) -> None:
            if message["type"] == "http.response.start" and scope.get("path") == "/v1/verifications":
                os.kill(os.getpid(), signal.SIGKILL)
            await send(message)

        await self._app(scope, receive, killed)


def create() -> FastAPI:
    """What the process serves."""
    app = create_app()
    app.add_middleware(_Killed)
    return app


@contextmanager
def killed_after_commit(environment: Mapping[str, str]) -> Iterator[Api]:
    """Such a process, answering; at the end it must have been killed by its own hand."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        # The socket listens already, so the first request waits until the process is there.
        command = [sys.executable, "-m", "uvicorn", "--factory", "tests.api.killed_app:create"]
        process = subprocess.Popen(
            [*command, "--fd", str(listening.fileno()), "--log-level", "error"],
            env=environment,
            pass_fds=[listening.fileno()],
        )
        port = listening.getsockname()[1]
    try:
        yield Api(port)
        assert process.wait(30) == -signal.SIGKILL
    finally:
        process.kill()
        process.wait()
