"""The job that every peer runs, and nothing more: one read, one call, three writes.

What a program that uses one of those systems would have to write at the least. It has no attempts, no configuration, no
checks of the answer, no record of what happened and no guard against a second run. The SQL is the same for all.
"""

import asyncio
import os
import threading
from collections.abc import Sequence
from typing import Any

import aiohttp
import orjson
import psycopg
import urllib3
from psycopg_pool import AsyncConnectionPool

DATABASE_URL = os.environ["BENCH_DATABASE_URL"]
REDIS_URL = os.environ["BENCH_REDIS_URL"]
PROVIDER_URL = os.environ["BENCH_PROVIDER_URL"]
IN_FLIGHT = int(os.environ["BENCH_IN_FLIGHT"])
"""Jobs that one process works on at the same time, for systems that let it be chosen."""

CONNECTIONS = 8
"""To the database, of one asynchronous process. More made no difference."""

READ = """
    SELECT id, first_name, last_name, date_of_birth, license_number, state_code, street_1, city, state, zip_code
    FROM driver WHERE id = %s
"""
WRITES = (
    "UPDATE request SET status = 'completed', runs = runs + 1, response = %(response)s, finished_at = now()"
    " WHERE driver_id = %(id)s",
    "UPDATE driver SET verification_status = %(status)s, verified_at = now() WHERE id = %(id)s",
    "INSERT INTO result (driver_id, status, confidence, transaction_id)"
    " VALUES (%(id)s, %(status)s, %(confidence)s, %(transaction)s)",
)


def question(row: Sequence[Any]) -> bytes:
    """The provider's form, from the row that `READ` gives."""
    id_, first_name, last_name, birth, license_number, state_code, street, city, state, zip_code = row
    who = {
        "client_ref": f"driver:{id_}",
        "first_name": first_name,
        "last_name": last_name,
        "date_of_birth": birth.isoformat(),
        "license_number": license_number,
        "state_code": state_code,
    }
    where = {"street_1": street, "city": city, "state": state, "zip_code": zip_code}
    return orjson.dumps(
        {
            "transaction_info": {"department_id": "1", "user_id": "svc", "user_name": "worker"},
            "search": {"driver": who, "address": where},
            "options": {"include_household": True, "include_criminal_history": False},
        }
    )


def values(id_: int, answer: bytes) -> dict[str, Any]:
    """What `WRITES` need."""
    said = orjson.loads(answer)
    return {
        "id": id_,
        "response": answer.decode(),
        "status": said["verification_status"],
        "confidence": said["confidence_score"],
        "transaction": said["transaction_id"],
    }


HEADERS = {"Content-Type": "application/json", "Authorization": "Bearer benchmark"}
_here = threading.local()


def run(id_: int) -> None:
    """The job in a thread or process of its own, with a connection of its own to either side."""
    if not hasattr(_here, "database"):
        _here.database = psycopg.connect(DATABASE_URL, autocommit=True)
        _here.http = urllib3.PoolManager(maxsize=1)
    database: psycopg.Connection = _here.database
    row = database.execute(READ, [id_]).fetchone()
    assert row is not None  # noqa: S101 - the rows were made before the jobs
    answer = _here.http.request("POST", PROVIDER_URL, body=question(row), headers=HEADERS).data
    given = values(id_, answer)
    with database.transaction():
        for statement in WRITES:
            database.execute(statement, given)


class Asynchronous:
    """The job in an event loop. One object a process."""

    async def open(self) -> "Asynchronous":
        self.database = AsyncConnectionPool(
            DATABASE_URL, min_size=CONNECTIONS, max_size=CONNECTIONS, kwargs={"autocommit": True}, open=False
        )
        await self.database.open()
        self.http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        return self

    async def run(self, id_: int) -> None:
        async with self.database.connection() as connection:
            row = await (await connection.execute(READ, [id_])).fetchone()
        assert row is not None  # noqa: S101 - the rows were made before the jobs
        given = values(id_, await self.ask(row))
        async with self.database.connection() as connection, connection.transaction():
            for statement in WRITES:
                await connection.execute(statement, given)

    async def ask(self, row: Sequence[Any]) -> bytes:
        async with self.http.post(PROVIDER_URL, data=question(row), headers=HEADERS) as response:
            return await response.read()

    async def close(self) -> None:
        await self.http.close()
        await self.database.close()


_opened: Asynchronous | None = None
_opening = asyncio.Lock()


async def run_async(id_: int) -> None:
    """The job in this process's event loop, for systems that have no place for what is opened once."""
    global _opened  # one a process
    if _opened is None:
        async with _opening:
            _opened = _opened or await Asynchronous().open()
    await _opened.run(id_)
