"""The application behind a real socket, and a small client for it."""

import http.client
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import uvicorn
from fastapi import FastAPI

from worker.api.app import create_app
from worker.settings import Settings

Answer = tuple[int, str | None, Any]


@dataclass(frozen=True)
class Reply:
    """An answer that has been read."""

    status: int
    headers: http.client.HTTPMessage
    body: Any

    @property
    def fields(self) -> list[str]:
        """The fields that a problem complains about."""
        return [error["field"] for error in self.body.get("errors") or []]


class Api:
    """A served application."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | Iterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> http.client.HTTPResponse:
        """Ask with the body as it is; an iterator's parts go as chunks."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=70)
        # A request that is refused early may be answered, and its connection closed, while its body is still sent.
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.request(method, path, body, {"Connection": "close", **(headers or {})})
        return connection.getresponse()

    def get(self, path: str) -> Answer:
        """Status, content type and decoded body."""
        with self.ask("GET", path) as answer:
            return answer.status, answer.getheader("content-type"), json.load(answer)

    def call(self, method: str, path: str, token: str | None = None, body: Any = None, **headers: str) -> Reply:
        """Ask with a token and JSON. Headers as `idempotency_key=...`; bytes go as they are."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            named["Authorization"] = f"Bearer {token}"
        if body is not None:
            named.setdefault("Content-Type", "application/json")
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        with self.ask(method, path, raw, named) as answer:
            said = answer.read()
            return Reply(answer.status, answer.headers, json.loads(said) if said else None)


@contextmanager
def served(settings: Settings) -> Iterator[Api]:
    with served_app(create_app(settings)) as api:
        yield api


@contextmanager
def served_app(app: FastAPI) -> Iterator[Api]:
    started = threading.Event()

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            started.set()

    server = Server(uvicorn.Config(app, port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    started.wait(30)
    try:
        yield Api(server.servers[0].sockets[0].getsockname()[1])
    finally:
        server.should_exit = True
        thread.join()
