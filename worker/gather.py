"""Work that arrives one by one, done many at a time.

Items that come within a few milliseconds of each other go to one call of `work`; while all calls that may run at once
are running, more of them gather. So batches are small when it is quiet and grow with the load. How long the first of a
batch waits for others may change with the load too: it is asked for each batch.

Calls that run side by side compete for the same cores, and have fewer items each. Where that costs more than it gives,
another begins only once one has ended or has taken `alone_s`: nobody waits for longer behind one that is held up.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Gatherer(Generic[Item, Result]):
    """Lives in one event loop. `work` gets a list and gives as many results, in the same order."""

    def __init__(
        self,
        work: Callable[[list[Item]], Awaitable[list[Result]]],
        *,
        linger_s: float | Callable[[], float],
        at_most: int,
        at_once: int,
        alone_s: float = 0,
    ) -> None:
        self._work = work
        self._linger_s = linger_s if callable(linger_s) else lambda: linger_s
        self._at_most = at_most
        self._free = asyncio.Semaphore(at_once)
        self._alone_s = alone_s
        self._turn = asyncio.Event()
        self._turn.set()
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._collector: asyncio.Task[None] | None = None
        self._calls: set[asyncio.Task[None]] = set()

    async def submit(self, item: Item) -> Result:
        """Have `item` worked on in some batch. Raises what `work` raised for its batch."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._collector is None or self._collector.done():
            # What is done for many is in nobody's context: not in the trace of the first, nor with its fields in logs.
            self._collector = asyncio.create_task(self._collect(), context=Context())
        return await future

    async def _collect(self) -> None:
        while self._waiting:
            if len(self._waiting) < self._at_most:
                await asyncio.sleep(self._linger_s())
            await self._free.acquire()
            await self._turn.wait()
            self._turn.clear()
            batch, self._waiting = self._waiting[: self._at_most], self._waiting[self._at_most :]
            call = asyncio.create_task(self._call(batch))
            self._calls.add(call)  # the loop itself keeps only a weak reference
            call.add_done_callback(self._calls.discard)

    async def _call(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        turn = asyncio.get_running_loop().call_later(self._alone_s, self._turn.set)
        try:
            done = list(zip(batch, await self._work([item for item, _ in batch]), strict=True))
        except BaseException as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            if not isinstance(error, Exception):
                raise
        else:
            for (_, future), result in done:
                if not future.done():
                    future.set_result(result)
        finally:
            turn.cancel()
            self._turn.set()
            self._free.release()
