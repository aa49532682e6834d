"""What this process did, for Prometheus: requests, what became of those that asked for jobs, database connections.

Beside it stands what is true of the whole system (`system_metrics.py`).

Labels are route templates, methods, status codes and kinds, so there are a few hundred series at most, whatever is
asked. Nobody outside is told: without WORKER_METRICS_TOKEN only this machine may ask, and a proxy on it counts as
outside; with it, whoever shows it.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from fastapi import APIRouter, HTTPException, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from sqlalchemy import QueuePool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from worker.api import problems
from worker.api.system_metrics import SystemCollector
from worker.database import Database
from worker.errors import BadRequest
from worker.health.access import REFUSED, may_read
from worker.settings import Settings

router = APIRouter(tags=["health"])

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Of one application."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "worker_api_requests_total", "Requests that were answered.", ("method", "route", "status"),
            registry=self._registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "worker_api_request_seconds", "From a request to the end of its answer.", ("method", "route"),
            buckets=_BUCKETS, registry=self._registry,
        )  # fmt: skip
        self._asked = Counter(
            "worker_api_enqueued_total", "Jobs asked for, by what became of it.", ("kind", "outcome"),
            registry=self._registry,
        )  # fmt: skip

        self._database: Database | None = None
        self._system: SystemCollector | None = None
        for name, count in (("in_use", QueuePool.checkedout), ("max", QueuePool.size)):
            gauge = Gauge(f"worker_api_database_connections_{name}", "Of this process.", registry=self._registry)
            gauge.set_function(partial(self._of_the_pool, count))

    def watch(self, database: Database, settings: Settings) -> None:
        """Tell of this pool's connections, and of the whole system, from now on."""
        self._database = database
        self._system = SystemCollector(database, settings)
        self._registry.register(self._system)

    def close(self) -> None:
        if self._system is not None:
            self._system.close()

    def _of_the_pool(self, count: Callable[[QueuePool], int]) -> float:
        pool = self._database.engine.pool if self._database is not None else None  # another after each outage
        return count(pool) if isinstance(pool, QueuePool) else 0

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def asked(self, kind: str, *outcomes: str) -> None:
        """Count what became of asking: new, joined, cached, repeated or refused."""
        for outcome in outcomes:
            self._asked.labels(kind, outcome).inc()

    @contextmanager
    def refusals(self, kind: str) -> Iterator[None]:
        """Count what is refused in here."""
        try:
            yield
        except BadRequest:
            self.asked(kind, "refused")
            raise

    def text(self) -> bytes:
        return generate_latest(self._registry)


class Measured:
    """Middleware, around everything else."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})["metrics"] = self._metrics
        status, began = 500, time.perf_counter()

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, answer)
        finally:
            method = scope["method"] if scope["method"] in _METHODS else "other"
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.answered(method, route, status, time.perf_counter() - began)


def metrics_of(request: Request) -> Metrics:
    found: Metrics = request.state.metrics
    return found


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
        403: problems.documented("Only this machine may ask, or whoever shows WORKER_METRICS_TOKEN."),
    },
)
def get_metrics(request: Request) -> Response:
    """What this process did since it was started, and how the whole system stands, for Prometheus."""
    client = request.client.host if request.client is not None else None
    if not may_read(request.state.metrics_token, client, request.headers):
        raise HTTPException(403, REFUSED)
    return Response(metrics_of(request).text(), headers={"Content-Type": CONTENT_TYPE_LATEST})
