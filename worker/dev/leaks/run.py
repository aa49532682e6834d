"""One check: invented people go through the running system, and everything outside of PostgreSQL is searched for them.

The system has to call the sandbox, and workers have to run. What the people leave in PostgreSQL is marked as DELETED,
so that retention takes it away.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from redis import Redis
from sqlalchemy import text

from worker.crypto import Keyring
from worker.database import Database
from worker.dev.demo.households import INTEGRATIONS
from worker.dev.leaks import api, credentials, pages, people, places
from worker.dev.leaks.canaries import FROM_THE_SANDBOX, Search, disguised, strangers, values_of, word
from worker.dev.leaks.people import Guests
from worker.dev.sandbox.personas import PERSONAS
from worker.errors import BadRequest
from worker.operating import control
from worker.settings import Settings


@dataclass(frozen=True, slots=True)
class Request:
    """What to look at. `logs` are files and directories; `pages` addresses such as those of metrics."""

    within_s: float
    logs: list[Path] = field(default_factory=list)
    flower_url: str | None = None
    flower_login: str | None = None
    api_url: str | None = None
    pages: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Report:
    """`leaks` name a place and what kinds of values were found there; `looked_at` how much was searched, in bytes.

    `not_asked` are integrations without a configuration that anybody may use; `canaries` how many values of each kind
    were searched for.
    """

    people: int
    ended: dict[str, int]
    not_asked: list[str]
    canaries: dict[str, int]
    looked_at: dict[str, int]
    leaks: dict[str, list[str]]


def check(request: Request, settings: Settings, say: Callable[[str], None]) -> Report:
    """Run the check. Raises `BadRequest` if the system doesn't work off the jobs at all."""
    keyring, database = Keyring.of(settings), Database(settings)
    guests_to_be = [*map(disguised, PERSONAS), *strangers()]
    canaries = {f"{what} of {n}": value for n, one in enumerate(guests_to_be) for what, value in values_of(one).items()}
    canaries |= FROM_THE_SANDBOX | credentials.of_settings(settings, request.flower_login)
    with closing(database), closing(Redis.from_url(settings.redis_url.get_secret_value())) as redis:
        monitor = places.Monitor(settings.redis_url.get_secret_value())
        monitor.start()
        with database.transaction() as connection:
            canaries |= credentials.of_providers(connection, keyring)
            integrations = people.callable_integrations(connection)
            guests = people.bring_in(connection, keyring, guests_to_be, integrations)
        if not guests.jobs:
            raise BadRequest("nothing_to_ask", f"none of {', '.join(INTEGRATIONS.values())} has a configuration")
        if request.api_url:
            canaries |= api.provoke(database, request.api_url, word)
        say(f"{len(guests_to_be)} invented people are asked about ...")
        ended = _await(database, guests, request.within_s)
        canaries |= credentials.kept_tokens(redis, keyring)
        with database.transaction() as connection:
            people.put_away(connection, guests)
        heard = monitor.stop()
        search = Search(canaries)
        found: defaultdict[str, set[str]] = defaultdict(set)
        looked_at: defaultdict[str, int] = defaultdict(int)
        say("Searching ...")
        for place, data in _everywhere(request, database, redis, heard):
            looked_at[place.split(" ")[0]] += len(data)
            if kinds := search(data):
                found[place] |= kinds
    return Report(
        people=len(guests_to_be),
        ended=ended,
        not_asked=sorted(set(INTEGRATIONS.values()) - integrations),
        canaries=_by_kind(canaries),
        looked_at=dict(looked_at),
        leaks={place: sorted(kinds) for place, kinds in sorted(found.items())},
    )


def _by_kind(canaries: dict[str, str]) -> dict[str, int]:
    counts: defaultdict[str, int] = defaultdict(int)
    for name in canaries:
        counts[name.split(" of ")[0]] += 1
    return dict(sorted(counts.items()))


def _await(database: Database, guests: Guests, within_s: float) -> dict[str, int]:
    """Wait for the jobs to end; whoever waits for longer, as some of the people make a worker do, is cancelled."""
    began = time.monotonic()
    values = {"ids": guests.jobs, "quote": str(guests.quote)}
    while True:
        with database.transaction() as connection:
            states: dict[str, int] = dict(connection.execute(_STATES, values).tuples().all())
        waiting = sum(count for state, count in states.items() if state in ("ready", "running"))
        if not waiting:
            return states
        has_begun, waited_s = bool(states.keys() & {"done", "failed"}), time.monotonic() - began
        if waited_s > (within_s if has_begun else max(within_s, _FIRST_WITHIN_S)):
            break
        time.sleep(0.2)
    if not has_begun:
        raise BadRequest("nobody_works", f"no job ended within {waited_s:.0f} s: do workers run, and the sandbox?")
    with database.transaction() as connection:
        for job_id in connection.execute(_WAITING, values).scalars().all():
            with suppress(BadRequest):  # it has ended meanwhile
                control.cancel(connection, job_id, "check leaks")
    return states


_FIRST_WITHIN_S = 60.0
"""A system that has ended no job by then isn't at work."""

# With the recalculations of their quote, which the answers ask for.
_THEIRS = """
    (id = ANY(CAST(:ids AS uuid[])) OR kind = 'rating.recalculate' AND args ->> 'quote' = :quote)
"""
_STATES = text(f"SELECT state, count(*) AS count FROM job WHERE {_THEIRS} GROUP BY state")  # noqa: S608 - see above
_WAITING = text(f"SELECT id FROM job WHERE {_THEIRS} AND state IN ('ready', 'running')")  # noqa: S608 - see above


def _everywhere(request: Request, database: Database, redis: Redis, heard: bytes) -> Iterator[tuple[str, bytes]]:
    yield "MONITOR", heard
    yield from places.redis_keys(redis)
    yield from places.files(places.redis_files(redis), "dump")
    yield from places.files(request.logs)
    if request.flower_url:
        yield from pages.of_flower(request.flower_url, request.flower_login)
    if request.api_url:
        yield from pages.of_api(request.api_url)
    for url in request.pages:
        yield pages.page(url)
    with database.engine.connect() as connection:
        yield from places.tables(connection)
