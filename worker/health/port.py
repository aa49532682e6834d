"""A small HTTP port in a thread: GET /metrics, /healthz (alive?) and /readyz (able to work?).

It listens on the first free port of WORKER_HEALTH_PORT, so that several processes of one machine can share the setting.
Where none is free it goes on trying: a process that works is worth more than one that can be watched, and the old one
of a rolling restart gives its port up when it has finished.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any

import orjson
import structlog
from prometheus_client import CONTENT_TYPE_LATEST

from worker.health.access import REFUSED, may_read, metrics_token
from worker.process.trace import where
from worker.settings import Settings

_log = structlog.get_logger(__name__)

PATIENCE_S = 5
"""For a request to arrive and for its answer to leave."""

_AT_ONCE = 16
_TRY_AGAIN_S = 2.0

Complaints = Callable[[], Mapping[str, str]]
"""What is wrong, by part, in sentences without addresses or secrets; empty where all is well."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What a process says of itself. Each is called in a thread of the port, several at the same time."""

    metrics: Callable[[], bytes]
    stuck: Complaints
    unready: Complaints


class HealthPort:
    """One a process. Nothing listens until `start`, and nothing at all without WORKER_HEALTH_PORT."""

    def __init__(self, settings: Settings, answers: Answers) -> None:
        self._host = settings.health_host
        self._ports = settings.health_ports
        self._token = metrics_token(settings)
        self._answers = answers
        self._end = threading.Event()
        self._server: _Server | None = None
        self._thread = threading.Thread(target=self._serve, name="health", daemon=True)

    def start(self) -> None:
        if self._ports:
            self._thread.start()

    def close(self) -> None:
        self._end.set()
        if self._server is not None:
            self._server.shutdown()
        if self._thread.is_alive():
            self._thread.join(timeout=PATIENCE_S)

    def forget(self) -> None:
        """Close this process's copy of the socket: a child that was forked must not keep its parent's port."""
        if self._server is not None:
            self._server.socket.close()

    def _serve(self) -> None:
        is_told = False
        while not self._end.is_set():
            if (server := self._bind()) is not None:
                with server:
                    self._server = server
                    _log.info("health.listens", port=server.server_port)
                    server.serve_forever(poll_interval=0.2)
                return
            if not is_told:
                _log.error("health.no_port", ports=f"{self._ports[0]}-{self._ports[-1]}")
                is_told = True
            self._end.wait(_TRY_AGAIN_S)

    def _bind(self) -> "_Server | None":
        for port in self._ports:
            try:
                return _Server((self._host, port), self._answers, self._token)
            except OSError:
                continue
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], answers: Answers, token: str | None) -> None:
        self.answers = answers
        self.token = token
        self._places = threading.BoundedSemaphore(_AT_ONCE)
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # HTTPServer's own looks its name up, which may take as long as DNS likes
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]  # IPv4, so both are there

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The client's troubles are its own. Ours are answered with 500 and logged by the handler."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = PATIENCE_S
    server_version = "worker"
    sys_version = ""

    def do_GET(self) -> None:
        try:
            status, form, body = self._answer()
        except Exception as error:  # noqa: BLE001 - monitoring that fails is told of, and harms nobody
            _log.error("health.failed", error=type(error).__name__, where=where(error))
            status, form, body = HTTPStatus.INTERNAL_SERVER_ERROR, *_json({"status": "failed"})
        self.send_response(status)
        self.send_header("Content-Type", form)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _answer(self) -> tuple[HTTPStatus, str, bytes]:
        match self.path.partition("?")[0]:
            case "/metrics":
                if not may_read(self.server.token, str(self.client_address[0]), dict(self.headers)):
                    return HTTPStatus.FORBIDDEN, *_json({"detail": REFUSED})
                return HTTPStatus.OK, CONTENT_TYPE_LATEST, self.server.answers.metrics()
            case "/healthz":
                return _verdict("alive", "stuck", self.server.answers.stuck())
            case "/readyz":
                return _verdict("ready", "not ready", self.server.answers.unready())
        return HTTPStatus.NOT_FOUND, *_json({"detail": "there are /metrics, /healthz and /readyz"})

    def log_message(self, format: str, *_: Any) -> None:
        """Probes ask every few seconds: no line for each."""


def _verdict(well: str, ill: str, complaints: Mapping[str, str]) -> tuple[HTTPStatus, str, bytes]:
    if complaints:
        return HTTPStatus.SERVICE_UNAVAILABLE, *_json({"status": ill, "because": dict(complaints)})
    return HTTPStatus.OK, *_json({"status": well})


def _json(said: Mapping[str, Any]) -> tuple[str, bytes]:
    return "application/json", orjson.dumps(said)
