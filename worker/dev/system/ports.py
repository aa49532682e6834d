"""Which port a service of the system gets."""

import random

from worker.dev.embedded.ports import RANGE, is_free
from worker.errors import Misconfigured


def choose(port: int, option: str) -> int:
    """`port` if it is free, any free one for 0. `option` is how the user could have chosen another."""
    if port == 0:
        return next(candidate for candidate in random.sample(RANGE, len(RANGE)) if is_free(candidate))
    if not is_free(port):
        raise Misconfigured(f"port {port} is taken: choose another with {option}, or 0 for any that is free")
    return port
