"""Where personal data must not be, read as bytes: Redis, files, and the tables that hold ids and codes only."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from redis import Redis
from redis.exceptions import RedisError

from models import Base
from models.facts import data_class_of

Found = Iterator[tuple[str, bytes]]
"""The name of a place, and what is there."""

_CHUNK = 1 << 20
_OVERLAP = 200  # longer than any canary: one that lies across two chunks is found in the second


def redis_keys(client: Any) -> Found:
    """Every key with its value, however it is kept."""
    for key in client.scan_iter(count=1000):
        name = f"Redis key {key[:40].decode(errors='replace')}"
        yield name, key
        match client.type(key):
            case b"string":
                yield name, client.get(key) or b""
            case b"list":
                yield name, b"\n".join(client.lrange(key, 0, -1))
            case b"set":
                yield name, b"\n".join(client.smembers(key))
            case b"zset":
                yield name, b"\n".join(client.zrange(key, 0, -1))
            case b"hash":
                yield name, b"\n".join(part for pair in client.hgetall(key).items() for part in pair)
            case b"stream":
                yield name, repr(client.xrange(key)).encode()


def redis_files(client: Any) -> list[Path]:
    """The files in which the server keeps its data, if they can be read here."""
    try:
        directory = Path(client.config_get("dir")["dir"])
        return [path for path in directory.rglob("*") if path.is_file()]
    except (RedisError, OSError, KeyError):
        return []


class Monitor:
    """Hears every command that Redis is sent, hints and Celery's events among them, until `stop`."""

    def __init__(self, url: str) -> None:
        self._client: Any = Redis.from_url(url, socket_timeout=1)
        self._said: list[bytes] = []
        self._farewell = uuid4().hex
        self._stopping = threading.Event()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._listening.wait(10)

    def stop(self) -> bytes:
        """What was heard. It listens until it hears itself take leave: what came before that is not missed."""
        self._stopping.set()
        with suppress(RedisError):
            self._client.echo(self._farewell)
        self._thread.join(5)
        self._client.close()
        return b"\n".join(self._said)

    def _listen(self) -> None:
        with self._client.monitor() as monitor:
            self._listening.set()
            while not (self._said and self._farewell.encode() in self._said[-1]):
                try:
                    self._said.append(monitor.connection.read_response(disable_decoding=True))
                except (TimeoutError, RedisError):
                    if self._stopping.is_set():
                        return


def files(paths: list[Path], kind: str = "file") -> Found:
    """Each file, directories with all in them, in pieces; `kind` is what they are called."""
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if not file.is_file():
                continue
            with file.open("rb") as opened:
                before = b""
                while piece := opened.read(_CHUNK):
                    yield f"{kind} {file.name}", before + piece
                    before = piece[-_OVERLAP:]


def tables(connection: sa.Connection) -> Found:
    """What is in the columns that are declared to hold nothing personal: the ledger, its arguments, the audit trail."""
    for table in Base.metadata.sorted_tables:
        columns = [
            sa.cast(column, sa.Text)
            for column in table.columns
            if data_class_of(column) is None and not isinstance(column.type, sa.Numeric | sa.Integer | sa.Boolean)
        ]
        rows = connection.execution_options(stream_results=True).execute(sa.select(sa.func.concat_ws("\n", *columns)))
        for part in rows.scalars().partitions(1000):
            yield f"table {table.name}", "\n".join(part).encode()
