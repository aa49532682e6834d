"""A dictionary that forgets its oldest entries, and a counter on top of it: what keeps the sandbox's memory finite."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Bounded(OrderedDict[K, V], Generic[K, V]):
    """Holds at most `limit` entries; setting one more drops the one set longest ago."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def __setitem__(self, key: K, value: V) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        if len(self) > self._limit:
            self.popitem(last=False)


class Counters:
    """Counts from 1, separately for each key; the 100,000 keys counted last are remembered."""

    def __init__(self) -> None:
        self._counts: Bounded[tuple[str, ...], int] = Bounded(100_000)

    def next(self, *key: str) -> int:
        count = self._counts.get(key, 0) + 1
        self._counts[key] = count
        return count
