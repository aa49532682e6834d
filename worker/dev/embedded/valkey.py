"""The Valkey server of a home: a configuration file of ours, an append-only file for the data."""

import contextlib
import signal
import socket
from pathlib import Path

from worker.dev.embedded.files import own_directory, write_private
from worker.dev.embedded.process import Server, Spawner


class Valkey(Server):
    def __init__(self, spawner: Spawner, password: str, *, durable: bool) -> None:
        super().__init__("Valkey", spawner, (signal.SIGTERM, signal.SIGKILL))
        self._password = password
        self._durable = durable
        self.port = 0

    def start(self, port: int) -> None:
        """Start on `port` and return once commands are answered, that is after the data has been loaded."""
        place = self.spawner.placement
        data, conf = place.home / "valkey", place.home / "valkey.conf"
        own_directory(data, place.owner)
        write_private(conf, self._configuration(port, data), place.owner)
        self.run([place.binaries.valkey_server, conf], lambda _: self._answers(port))
        self.port = port

    def _configuration(self, port: int, data: Path) -> str:
        settings = {
            "bind": "127.0.0.1",
            "port": str(port),
            "requirepass": self._password,
            "dir": _quoted(str(data)),
            "save": '""',
            "appendonly": "yes" if self._durable else "no",
            # A broker that throws messages away when memory is short would do it silently.
            "maxmemory-policy": "noeviction",
        }
        return "".join(f"{name} {value}\n" for name, value in settings.items())

    def _answers(self, port: int) -> bool:
        """Two inline commands of the Redis protocol; while data loads, PING gets an error."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as connection:
            connection.sendall(f"AUTH {self._password}\r\nPING\r\n".encode())
            with connection.makefile("rb") as answers:
                return answers.readline() == b"+OK\r\n" and answers.readline() == b"+PONG\r\n"
        return False


def _quoted(value: str) -> str:
    """Valkey's configuration file splits at spaces; in double quotes it knows the usual backslash escapes."""
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r"}
    return '"' + "".join(escapes.get(character, character) for character in value) + '"'
