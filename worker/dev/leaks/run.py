"""One check: invented people go through the running system, and everything outside of PostgreSQL is searched for them.

The system has to call the sandbox, and workers have to run. What the people leave in PostgreSQL is marked as DELETED,
so that retention takes it away.
"""

import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from redis import Redis
from sqlalchemy import text

from worker.crypto import Keyring
from worker.database import Database
from worker.dev.demo.households import add_drivers
from worker.dev.leaks import api, places
from worker.dev.leaks.canaries import Search, disguised, values_of, word
from worker.dev.sandbox.personas import PERSONAS, Address, Persona
from worker.enqueue import enqueue_verification
from worker.errors import BadRequest
from worker.operating import control
from worker.settings import Settings


@dataclass(frozen=True, slots=True)
class Request:
    """What to look at. `logs` are files and directories; `pages` addresses such as those of metrics."""

    integration: str
    within_s: float
    logs: list[Path] = field(default_factory=list)
    flower_url: str | None = None
    flower_login: str | None = None
    api_url: str | None = None
    pages: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Report:
    """`leaks` name a place and what kinds of values were found there; `looked_at` how much was searched, in bytes."""

    people: int
    ended: dict[str, int]
    looked_at: dict[str, int]
    leaks: dict[str, list[str]]


def check(request: Request, settings: Settings, say: Callable[[str], None]) -> Report:
    """Run the check. Raises `BadRequest` if the system doesn't work off the jobs at all."""
    keyring, database = Keyring.of(settings), Database(settings)
    people = [disguised(persona) for persona in PERSONAS if persona.api == "drivers"] + [_stranger(), _stranger()]
    canaries = {f"{what} of {n}": value for n, one in enumerate(people) for what, value in values_of(one).items()}
    # The licences of the sandbox's people are no secret: others may ask about them at the same time.
    known = {persona.license_number for persona in PERSONAS}
    canaries = {name: value for name, value in canaries.items() if value not in known} | _secrets(settings)
    with closing(database), closing(Redis.from_url(settings.redis_url.get_secret_value())) as redis:
        monitor = places.Monitor(settings.redis_url.get_secret_value())
        monitor.start()
        with database.transaction() as connection:
            drivers = add_drivers(connection, keyring, people)
        if request.api_url:
            canaries |= api.provoke(database, request.api_url, word)
        say(f"{len(people)} invented people are asked about ...")
        jobs = _ask(database, request.integration, drivers)
        ended = _await(database, jobs, request.within_s)
        _put_away(database, drivers)
        heard = monitor.stop()
        search = Search(canaries)
        found: defaultdict[str, set[str]] = defaultdict(set)
        looked_at: defaultdict[str, int] = defaultdict(int)
        say("Searching ...")
        for place, data in _everywhere(request, database, redis, heard):
            looked_at[place.split(" ")[0]] += len(data)
            if kinds := search(data):
                found[place] |= kinds
    leaks = {place: sorted(kinds) for place, kinds in sorted(found.items())}
    return Report(len(people), ended, dict(looked_at), leaks)


def _stranger() -> Persona:
    """Somebody whom the sandbox doesn't know, with a licence number that can be searched for."""
    ok = next(persona for persona in PERSONAS if persona.scenario == "ok")
    number = f"TX8{secrets.randbelow(10**12):012d}"
    one = disguised(ok)
    return Persona(
        "drivers", "ok", one.first_name, one.last_name, one.date_of_birth, ok.expected, Address(word()), number
    )


def _secrets(settings: Settings) -> dict[str, str]:
    keys = {
        f"encryption key of {number}": entry.split(":", 1)[1]
        for number, entry in enumerate(settings.encryption_keys.get_secret_value().split(","))
    }
    return keys | {"blind index key of 0": settings.blind_index_key.get_secret_value()}


def _ask(database: Database, integration: str, drivers: list[int]) -> list[UUID]:
    with database.transaction() as connection:
        return [
            enqueue_verification(connection, integration=integration, driver_id=driver_id).job_id
            for driver_id in drivers
        ]


def _await(database: Database, jobs: list[UUID], within_s: float) -> dict[str, int]:
    """Wait for the jobs to end; whoever waits for longer, as some of the people make a worker do, is cancelled."""
    deadline = time.monotonic() + within_s
    while True:
        with database.transaction() as connection:
            states: dict[str, int] = dict(connection.execute(_STATES, {"ids": jobs}).tuples().all())
        waiting = sum(count for state, count in states.items() if state in ("ready", "running"))
        if not waiting:
            return states
        if time.monotonic() > deadline:
            break
        time.sleep(0.2)
    if not states.keys() & {"done", "failed"}:
        raise BadRequest("nobody_works", f"no job ended within {within_s:.0f} s: do workers run, and the sandbox?")
    with database.transaction() as connection:
        for job_id in connection.execute(_WAITING, {"ids": jobs}).scalars().all():
            control.cancel(connection, job_id, "check leaks")
    return states


_STATES = text("SELECT state, count(*) AS count FROM job WHERE id = ANY(CAST(:ids AS uuid[])) GROUP BY state")
_WAITING = text("SELECT id FROM job WHERE id = ANY(CAST(:ids AS uuid[])) AND state IN ('ready', 'running')")


def _put_away(database: Database, drivers: list[int]) -> None:
    with database.transaction() as connection:
        for statement in _DELETED:
            connection.execute(statement, {"ids": drivers})


_DELETED = tuple(
    text(
        f"UPDATE {table} SET status_id = (SELECT id FROM status WHERE code = 'DELETED') WHERE {which}"  # noqa: S608 - constants of this file
    )
    for table, which in (
        ("license", "driver_id = ANY(:ids)"),
        ("address", "id IN (SELECT address_id FROM driver WHERE id = ANY(:ids))"),
        ("driver", "id = ANY(:ids)"),
    )
)


def _everywhere(request: Request, database: Database, redis: Redis, heard: bytes) -> Iterator[tuple[str, bytes]]:
    yield "MONITOR", heard
    yield from places.redis_keys(redis)
    yield from places.files(places.redis_files(redis))
    yield from places.files(request.logs)
    yield from _pages(request)
    with database.engine.connect() as connection:
        yield from places.tables(connection)


def _pages(request: Request) -> Iterable[tuple[str, bytes]]:
    flower = request.flower_url.rstrip("/") if request.flower_url else None
    addresses = [(f"{flower}{path}", request.flower_login) for path in places.PAGES_OF_FLOWER] if flower else []
    for url, login in [*addresses, *((url, None) for url in request.pages)]:
        status, said = places.page(url, login)
        if status >= 400 and status != 404:
            raise BadRequest("page_refused", f"{url} answers {status}: is the login right?")
        yield f"page {url}", said
