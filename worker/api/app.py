"""The HTTP application. `create_app` is what an ASGI server is given."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from worker import spans
from worker.api import batch, docs, jobs, metrics, oauth, openapi, problems, quotes, raw, verifications
from worker.api.admissions import Admissions
from worker.api.envelope import Envelope
from worker.api.hinting import Hinting
from worker.api.tracing import Traced
from worker.api.waiting import Waiting
from worker.database import Database
from worker.health.access import metrics_token
from worker.health.readiness import Readiness
from worker.settings import Settings, load_settings


class Alive(BaseModel):
    status: Literal["alive"] = "alive"


class Ready(BaseModel):
    status: Literal["ready"] = "ready"


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application; with `settings` given, the environment plays no part. Raises `Misconfigured`."""
    settings = settings or load_settings()

    measures = metrics.Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        readiness, database = Readiness(settings), Database(settings)
        hinting = Hinting(database)
        measures.watch(database, settings)
        spans.configure("integration-worker-api")
        try:
            yield {
                "readiness": readiness,
                "database": database,
                "hinting": hinting,
                "admissions": Admissions(hinting),
                "waiting": Waiting(database),
                "metrics_token": metrics_token(settings),
                "hashing": asyncio.Semaphore(oauth.HASHES_AT_ONCE),
            }
        finally:
            readiness.close()
            measures.close()
            spans.close()
            hinting.close()
            database.close()

    app = FastAPI(title="Integration worker", version="0.1.0", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_middleware(Envelope)
    app.add_middleware(Traced)
    app.add_middleware(metrics.Measured, metrics=measures)
    problems.install(app)
    app.add_api_route("/healthz", healthz)
    app.add_api_route("/readyz", readyz, response_model=Ready, responses={503: _NOT_READY})
    for part in (metrics, oauth, verifications, batch, raw, quotes, jobs):
        app.include_router(part.router)
    openapi.describe(app)
    docs.serve_docs(app)
    return app


def _readiness(request: Request) -> Readiness:
    found: Readiness = request.state.readiness
    return found


_NOT_READY = problems.documented("A part that is needed is missing; `failing` names it.")


async def healthz() -> Alive:
    """Whether this process is alive. Asks nobody else."""
    return Alive()


def readyz(readiness: Annotated[Readiness, Depends(_readiness)]) -> Ready | JSONResponse:
    """Whether jobs can be asked for and done: the database answers and is migrated, Redis answers."""
    if failing := readiness.failing():
        return problems.problem(503, "; ".join(f"{k}: {v}" for k, v in failing.items()), failing=list(failing))
    return Ready()
