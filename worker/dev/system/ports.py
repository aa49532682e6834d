"""Which port a service of the system gets."""

import random
from collections.abc import Set

from worker.dev.embedded.ports import RANGE, is_free
from worker.errors import Misconfigured


def free_port(given: Set[int] = frozenset()) -> int:
    """One that nothing listens on, and none of those `given`."""
    return next(port for port in random.sample(RANGE, len(RANGE)) if port not in given and is_free(port))


class Ports:
    """Of one system: what it gave stays given, although nothing may listen there for a while."""

    def __init__(self) -> None:
        self._given: set[int] = set()

    def free(self) -> int:
        """Any that is free."""
        port = free_port(self._given)
        self._given.add(port)
        return port

    def choose(self, port: int, option: str) -> int:
        """`port` if it is free, any free one for 0. `option` is how the user could have chosen another."""
        if port == 0:
            return self.free()
        if port in self._given or not is_free(port):
            raise Misconfigured(f"port {port} is taken: choose another with {option}, or 0 for any that is free")
        self._given.add(port)
        return port
