"""No job system at all: python -m benchmarks.peers.bare NUMBER [--gathered]

The floor. An event loop reads ids from a socket and does the same calls and SQL; with --gathered, the reads and writes
of neighbours share statements. Nothing is kept: whatever a process has read is lost with it.
"""

import argparse
import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import orjson
import uvloop

from benchmarks.peers import work
from worker.gather import Gatherer

PROCESSES = 2
LINGER_S = 0.005
AT_MOST = 100

_READ = work.READ.replace("id = %s", "id = ANY(%s)")
_WRITES = (
    "UPDATE request SET status = 'completed', runs = runs + 1, response = given.response::jsonb, finished_at = now()"
    " FROM jsonb_to_recordset(%s) AS given (id bigint, response text) WHERE driver_id = given.id",
    "UPDATE driver SET verification_status = given.status, verified_at = now()"
    " FROM jsonb_to_recordset(%s) AS given (id bigint, status text) WHERE driver.id = given.id",
    "INSERT INTO result (driver_id, status, confidence, transaction_id) SELECT * FROM jsonb_to_recordset(%s)"
    " AS given (id bigint, status text, confidence integer, transaction text)",
)


def _socket(number: int) -> str:
    return f"{os.environ['BENCH_SOCKETS']}.{number}"


def start() -> None:
    """Wait until all processes listen."""
    while not all(Path(_socket(number)).exists() for number in range(1, PROCESSES + 1)):
        time.sleep(0.05)


async def enqueue_one(id_: int) -> None:
    await _send(1 + id_ % PROCESSES, [id_])


async def enqueue_many(ids: Sequence[int]) -> None:
    for number in range(PROCESSES):
        await _send(number + 1, ids[number::PROCESSES])


async def _send(number: int, ids: Sequence[int]) -> None:
    _, writer = await asyncio.open_unix_connection(_socket(number))
    writer.write("".join(f"{id_}\n" for id_ in ids).encode())
    writer.close()  # no answer is waited for: the reader may be held


class _Gathered:
    """The job with its SQL shared."""

    def __init__(self, opened: work.Asynchronous) -> None:
        self._opened = opened
        self._reads: Gatherer[int, Any] = Gatherer(self._read, linger_s=LINGER_S, at_most=AT_MOST, at_once=2)
        self._writes: Gatherer[dict[str, Any], None] = Gatherer(
            self._write, linger_s=LINGER_S, at_most=AT_MOST, at_once=2
        )

    async def run(self, id_: int) -> None:
        row = await self._reads.submit(id_)
        await self._writes.submit(work.values(id_, await self._opened.ask(row)))

    async def _read(self, ids: list[int]) -> list[Any]:
        async with self._opened.database.connection() as connection:
            rows = {row[0]: row for row in await (await connection.execute(_READ, [ids])).fetchall()}
        return [rows[id_] for id_ in ids]

    async def _write(self, given: list[dict[str, Any]]) -> list[None]:
        document = orjson.dumps(given).decode()
        async with self._opened.database.connection() as connection, connection.transaction():
            for statement in _WRITES:
                await connection.execute(statement, [document])
        return [None] * len(given)


async def _serve(number: int, *, is_gathered: bool) -> None:
    opened = await work.Asynchronous().open()
    run: Callable[[int], Awaitable[None]] = _Gathered(opened).run if is_gathered else opened.run
    free = asyncio.Semaphore(work.IN_FLIGHT)
    running: set[asyncio.Task[None]] = set()

    async def one(id_: int) -> None:
        await run(id_)
        free.release()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for line in reader:
            await free.acquire()
            task = asyncio.create_task(one(int(line)))
            running.add(task)
            task.add_done_callback(running.discard)
        writer.close()

    server = await asyncio.start_unix_server(serve, _socket(number))
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("number", type=int)
    parser.add_argument("--gathered", action="store_true")
    asked = parser.parse_args()
    uvloop.run(_serve(asked.number, is_gathered=asked.gathered))


if __name__ == "__main__":
    main()
