"""A proxy before Redis that can lose connections the bad way: they stay open, and whatever is sent is swallowed."""

import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit


class HalfOpenProxy:
    """Listens on `port`; `swallow` is for the connections of that moment, later ones work."""

    def __init__(self, url: str) -> None:
        self._target = (urlsplit(url).hostname, urlsplit(url).port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._pairs: list[_Pair] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def swallow(self) -> int:
        """Gives how many connections it was."""
        alive = [pair for pair in self._pairs if not pair.is_over]
        for pair in alive:
            pair.is_swallowing = True
        return len(alive)

    def close(self) -> None:
        self._listener.close()
        for pair in self._pairs:
            pair.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                self._pairs.append(_Pair(client, socket.create_connection(self._target)))
            except OSError:
                return


class _Pair:
    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.is_swallowing = False
        self.is_over = False
        self._ends = {client: server, server: client}
        threading.Thread(target=self._pass_on, daemon=True).start()

    def close(self) -> None:
        for end in self._ends:
            end.close()

    def _pass_on(self) -> None:
        with selectors.DefaultSelector() as selector:
            try:
                for end in self._ends:
                    selector.register(end, selectors.EVENT_READ)
                while True:
                    for key, _ in selector.select():
                        end: socket.socket = key.fileobj  # type: ignore[assignment]  # those that were registered
                        if not (data := end.recv(65536)):
                            return
                        if not self.is_swallowing:
                            self._ends[end].sendall(data)
            except OSError:
                pass
            finally:
                self.is_over = True
                self.close()


@contextmanager
def half_open_proxy(url: str) -> Iterator[HalfOpenProxy]:
    proxy = HalfOpenProxy(url)
    try:
        yield proxy
    finally:
        proxy.close()
