"""Asking over HTTP at a steady rate, with workers at work: a request leaves when its time has come, however slow others
are.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import aiohttp

from benchmarks.contenders import CONTENDERS
from benchmarks.latency import percentile
from benchmarks.place import READY_WITHIN_S, Place
from benchmarks.processes import running
from benchmarks.stage import open_stage
from benchmarks.templates import Template
from worker.api import clients
from worker.api.clients import Credentials
from worker.database import Database
from worker.dev.demo.sample import INTEGRATION
from worker.dev.system import parts
from worker.dev.system.child import Program
from worker.dev.system.ports import free_port
from worker.settings import DatabaseSettings

PER_SECOND = 200
TENANT = "benchmark"
WARM_UP = 20


@dataclass(frozen=True, slots=True)
class Answers:
    """Milliseconds from the moment a request was to leave to the end of its answer. `refused`: not answered by 202."""

    per_second: int
    requests: int
    p50_ms: float
    p99_ms: float
    refused: int


def open_loop(place: Place, template: Template, seconds: float, warm_up: int) -> Answers:
    contender = next(one for one in CONTENDERS if one.is_ours)
    with open_stage(place, contender, template, latency_s=0.05, in_flight=128, warm_up=warm_up) as stage:
        url = place.url(stage.database)
        database = Database(DatabaseSettings.model_validate({"DATABASE_URL": url}))
        with database.transaction() as connection:
            known = clients.add(
                connection,
                "Benchmark",
                scopes=("verifications:write",),
                tenants=(TENANT,),
                per_minute=1_000_000,
                per_hour=1_000_000,
            )
        database.close()
        port = free_port()
        api = parts.api(port)
        program = Program(api.name, api.command, {**api.environment, "DATABASE_URL": url})
        with running([program], place.home.logs):
            return asyncio.run(_ask(port, known, stage.next_drivers(round(seconds * PER_SECOND))))


async def _ask(port: int, known: Credentials, drivers: Sequence[int]) -> Answers:
    login = aiohttp.BasicAuth(known.client_id, known.client_secret)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", connector=aiohttp.TCPConnector(limit=0)) as http:
        token = await _token(http, login)
        headers = {"Authorization": f"Bearer {token}"}

        async def ask(due: float, driver: int) -> tuple[float, bool]:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            asked = {"integration": INTEGRATION, "driver_id": driver}
            async with http.post("/v1/verifications", json=asked, headers=headers) as reply:
                await reply.read()
                return time.monotonic() - due, reply.status == 202

        await asyncio.gather(*(ask(time.monotonic(), driver) for driver in drivers[:WARM_UP]))
        start = time.monotonic() + 0.5
        measured = drivers[WARM_UP:]
        found = await asyncio.gather(*(ask(start + n / PER_SECOND, driver) for n, driver in enumerate(measured)))
    times = [seconds * 1000 for seconds, _ in found]
    return Answers(
        PER_SECOND, len(found), median(times), percentile(times, 0.99), sum(not is_accepted for _, is_accepted in found)
    )


async def _token(http: aiohttp.ClientSession, login: aiohttp.BasicAuth) -> str:
    """As soon as the API is up."""
    deadline = time.monotonic() + READY_WITHIN_S
    while True:
        try:
            form = {"grant_type": "client_credentials"}
            async with http.post("/oauth2/token", data=form, auth=login) as reply:
                reply.raise_for_status()
                return str((await reply.json())["access_token"])
        except aiohttp.ClientConnectionError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.1)
