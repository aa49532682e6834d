"""Asks one system for jobs: python -m benchmarks.producer MODULE

A process in that system's own environment. Orders come as lines of JSON on standard input, an answer to each goes to
standard output.
"""

import argparse
import asyncio
import importlib
import inspect
import json
import sys
import time
from types import ModuleType
from typing import Any


class Producer:
    """Calls `enqueue_one` and `enqueue_many` of a module, be they functions or coroutine functions."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    async def obey(self, order: dict[str, Any]) -> list[float]:
        """Do what the order says; gives the moments (`time.monotonic`) before each call, and the one at the end."""
        ids: list[int] = order["ids"]
        match order["do"]:
            case "start":
                if (start := getattr(self._module, "start", None)) is not None:
                    await _called(start())
                return []
            case "one":
                return await self._one_by_one(ids, order.get("per_second"))
            case "many":
                begun = time.monotonic()
                await _called(self._module.enqueue_many(ids))
                return [begun, time.monotonic()]
        raise ValueError(order["do"])

    async def _one_by_one(self, ids: list[int], per_second: float | None) -> list[float]:
        moments = []
        start = time.monotonic()
        for number, id_ in enumerate(ids):
            if per_second is not None:
                await asyncio.sleep(max(0.0, start + number / per_second - time.monotonic()))
            moments.append(time.monotonic())
            await _called(self._module.enqueue_one(id_))
        return [*moments, time.monotonic()]


async def _called(result: Any) -> None:
    if inspect.isawaitable(result):
        await result


async def _serve(producer: Producer) -> None:
    while line := await asyncio.to_thread(sys.stdin.readline):
        moments = await producer.obey(json.loads(line))
        sys.stdout.write(json.dumps(moments) + "\n")
        sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("module")
    asyncio.run(_serve(Producer(importlib.import_module(parser.parse_args().module))))


if __name__ == "__main__":
    main()
