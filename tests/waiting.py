"""Waiting for a condition or another thread, with an end."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


def until(claim: Callable[[], Result], timeout_s: float = 10) -> Result:
    """Wait until `claim` is true; gives what it gave."""
    end = time.monotonic() + timeout_s
    while not (found := claim()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
    return found


def in_thread(call: Callable[[], Result]) -> Callable[[], Result]:
    """Start `call` in a thread of its own; the function that comes back waits for its result."""
    executor = ThreadPoolExecutor(1)
    future = executor.submit(call)
    executor.shutdown(wait=False)
    return lambda: future.result(timeout=60)
