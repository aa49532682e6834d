"""Which port a service of the system gets."""

import random
from collections.abc import Set

from worker.dev.embedded.ports import RANGE, is_free
from worker.errors import Misconfigured


def choose(port: int, option: str, given: Set[int] = frozenset()) -> int:
    """`port` if it is free, any free one for 0, and none of those `given`. `option` is how the user could have chosen
    another."""
    if port == 0:
        return next(one for one in random.sample(RANGE, len(RANGE)) if one not in given and is_free(one))
    if port in given or not is_free(port):
        raise Misconfigured(f"port {port} is taken: choose another with {option}, or 0 for any that is free")
    return port


class Ports:
    """Of one system: what it gave stays given, although nothing may listen there for a while."""

    def __init__(self) -> None:
        self._given: set[int] = set()

    def choose(self, port: int, option: str) -> int:
        """As the function of this name."""
        chosen = choose(port, option, self._given)
        self._given.add(chosen)
        return chosen
