"""What the children of a prefork worker say of themselves, asked for by their parent over Unix sockets.

The parent runs no jobs and its children have no ports: one place to ask is enough, and children come and go. Each
listens in a directory that the parent made before it forked, under its number in the pool. Their series carry the label
`child`; a counter that begins at 0 again is that of a child which took another's place.
"""

import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Client, Connection
from pathlib import Path
from typing import Any

import orjson
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

PATIENCE_S = 3.0
_LOOK_EVERY_S = 2.0

Said = Mapping[str, Callable[[], bytes]]
"""What can be asked for, and who answers."""


class Child:
    """The child's end: a thread that answers its parent."""

    def __init__(self, directory: Path, number: int, said: Said) -> None:
        path = directory / str(number)
        path.unlink(missing_ok=True)  # of the child whose place this one took
        self._said = said
        # Not a Listener of multiprocessing: it unlinks its path when the process ends, but that is the parent's to do.
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen(16)
        threading.Thread(target=self._serve, name="health", daemon=True).start()
        threading.Thread(target=_go_with_parent, args=(os.getppid(),), name="parent", daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                accepted, _ = self._socket.accept()
            except OSError:
                return
            with Connection(accepted.detach()) as connection:
                try:
                    if connection.poll(PATIENCE_S):
                        connection.send_bytes(self._said[connection.recv_bytes(100).decode()]())
                except (OSError, EOFError, KeyError):
                    continue


def _go_with_parent(parent: int) -> None:
    """End when the parent has died: nobody brings hints any more, and what stays behind would seem to be at work."""
    while os.getppid() == parent:
        time.sleep(_LOOK_EVERY_S)
    os._exit(os.EX_UNAVAILABLE)  # the leases of its jobs run out, and others take them over


class Children:
    """The parent's end. Made before the fork; the children find `directory` in their copy of it."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="integration-worker-"))

    def ask(self, what: str) -> dict[int, bytes | None]:
        """What each child answers, by its number; None from one that is silent."""
        return {int(path.name): _ask(path, what) for path in sorted(self.directory.iterdir())}

    def ask_json(self, what: str) -> dict[int, Any]:
        return {number: said and orjson.loads(said) for number, said in self.ask(what).items()}

    def metrics(self) -> bytes:
        """All that the children count."""
        registry = CollectorRegistry()
        registry.register(_Labelled({number: said for number, said in self.ask("metrics").items() if said}))
        return generate_latest(registry)

    def close(self) -> None:
        for path in self.directory.iterdir():
            path.unlink(missing_ok=True)
        self.directory.rmdir()


def _ask(path: Path, what: str) -> bytes | None:
    try:
        with Client(str(path), "AF_UNIX") as connection:
            connection.send_bytes(what.encode())
            return connection.recv_bytes() if connection.poll(PATIENCE_S) else None
    except (OSError, EOFError):
        return None


class _Labelled(Collector):
    """Texts of several processes as one: each sample with the number of its process, families of a name together."""

    def __init__(self, texts: Mapping[int, bytes]) -> None:
        self._texts = texts

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for number, said in self._texts.items():
            for family in text_string_to_metric_families(said.decode()):
                whole = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                for sample in family.samples:
                    if not sample.name.endswith("_created"):
                        whole.add_sample(sample.name, {**sample.labels, "child": str(number)}, sample.value)
        yield from families.values()


def number_in_pool() -> int:
    """Of this child. Celery's pool counts its places from 0 and gives a dead child's to the next."""
    from billiard.process import current_process  # only a prefork child has one

    index: int = getattr(current_process(), "index", os.getpid())
    return index
