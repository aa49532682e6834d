"""A proxy before Redis that can lose connections the bad way: they stay open, and whatever is sent is swallowed."""

import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit


class HalfOpenProxy:
    """Listens at `url`; `swallow` is for the connections of that moment, later ones work."""

    def __init__(self, url: str) -> None:
        target = urlsplit(url)
        self._target = (target.hostname, target.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        self.url = target._replace(netloc=target.netloc.replace(f":{target.port}", f":{port}")).geturl()
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
                    selector.register(end, selectors.EVENT_READ, end)
                while True:
                    for key, _ in selector.select():
                        if not (data := key.data.recv(65536)):
                            return
                        if not self.is_swallowing:
                            self._ends[key.data].sendall(data)
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
