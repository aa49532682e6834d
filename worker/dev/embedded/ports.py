"""TCP ports: neither server can be told to take any free one, so one is found here and tried.

Ports come from below the range that systems hand out for outgoing connections (32768 upwards on Linux, 49152 on
macOS). Otherwise, while a server restarts, a client that keeps dialling it can be given that very port as its own,
connect to itself, and keep the server from coming back.
"""

import random
import socket
from collections.abc import Callable, Iterator

from worker.dev.embedded.process import PortTaken

RANGE = range(20_000, 32_000)
TRIES = 20


def start_on_free_port(start: Callable[[int], None], remembered: int | None) -> None:
    """Call `start` with the remembered port if it is free, else with others, until one was not taken meanwhile."""
    taken: PortTaken | None = None
    for port in _candidates(remembered):
        try:
            return start(port)
        except PortTaken as error:
            taken = error
    raise taken or PortTaken(f"no free port between {RANGE.start} and {RANGE.stop} was found in {TRIES} tries")


def _candidates(remembered: int | None) -> Iterator[int]:
    drawn = random.sample(RANGE, TRIES)
    for port in drawn if remembered is None else (remembered, *drawn):
        if is_free(port):
            yield port


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As the servers do; without it a port counts as taken for a minute after its last connection closed.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
