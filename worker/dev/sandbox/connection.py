"""One client's connection: HTTP/1.1 with keep-alive, parsed by h11, on a bare asyncio transport.

Bare, because half of what the sandbox is for (a reset, a byte at a time, a false length) is out of reach through
ASGI. Answers to pipelined requests leave in order: the next is read when the one before is sent.
"""

import asyncio
import socket
import struct
from email.utils import formatdate
from typing import cast

import h11

from .app import BODY_LIMIT_BYTES, Exchange, Sandbox
from .message import Reply, Request

UNREAD_LIMIT_BYTES = 4 << 20  # a client that sends more than this ahead of its answers is cut off
_LINGER_NOT = struct.pack("ii", 1, 0)  # on, zero seconds: close() sends RST


class Connection(asyncio.Protocol):
    """Implements `wire.Wire` for the scenarios that misbehave."""

    _transport: asyncio.Transport
    _head: h11.Request  # of the request being read or answered

    def __init__(self, sandbox: Sandbox, open_connections: "set[Connection]") -> None:
        self._sandbox = sandbox
        self._open_connections = open_connections
        self._http = h11.Connection(h11.SERVER)
        self._body = bytearray()
        self._exchange: Exchange | None = None  # being answered
        self._answering: asyncio.Task[None] | None = None
        self._lost = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # what create_server promises
        self._open_connections.add(self)

    def data_received(self, data: bytes) -> None:
        self._http.receive_data(data)
        if self._exchange is None:
            self._read_requests()
        elif len(self._http.trailing_data[0]) > UNREAD_LIMIT_BYTES:
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._exchange is not None:
            self._exchange.entry.client_gone = True
        self._open_connections.discard(self)
        self._lost.set()
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def abort(self) -> None:
        self._transport.abort()

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    async def drain(self) -> None:
        await self._writable.wait()

    async def gone_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._lost.wait()
        except TimeoutError:
            return False
        return True

    def reset(self) -> None:
        sock: socket.socket = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        self._transport.abort()

    def _read_requests(self) -> None:
        while self._exchange is None and not self._transport.is_closing():
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                self._reject(error.error_status_hint)
                return
            if isinstance(event, h11.Request):
                self._head, self._body = event, bytearray()
            elif isinstance(event, h11.Data):
                if len(self._body) <= BODY_LIMIT_BYTES:
                    self._body += event.data
            elif isinstance(event, h11.EndOfMessage):
                self._begin()
            else:
                return

    def _reject(self, status: int) -> None:
        """Not HTTP: say so and hang up."""
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._send(Reply(status, b"", (("Connection", "close"),)), with_body=True)
        self._transport.close()

    def _begin(self) -> None:
        head = self._head
        request = Request(
            method=head.method.decode("latin-1"),
            path=head.target.decode("latin-1").partition("?")[0],
            headers={name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers},
            body=bytes(self._body),
            oversized=len(self._body) > BODY_LIMIT_BYTES,
        )
        exchange = self._exchange = self._sandbox.receive(request)
        if exchange.delay_s or exchange.misbehave:
            self._answering = asyncio.create_task(self._answer_later(exchange))
        else:
            self._answer(exchange)

    async def _answer_later(self, exchange: Exchange) -> None:
        if exchange.delay_s and await self.gone_within(exchange.delay_s):
            return
        if exchange.misbehave is None:
            self._answer(exchange)
            self._read_requests()
            return
        exchange.entry.status = await exchange.misbehave(self, exchange.reply)
        self._exchange = None
        self._transport.close()

    def _answer(self, exchange: Exchange) -> None:
        self._send(exchange.reply, with_body=self._head.method != b"HEAD")
        exchange.entry.status = exchange.reply.status
        self._exchange = None
        if self._http.our_state is h11.MUST_CLOSE:
            self._transport.close()
        else:
            self._http.start_next_cycle()

    def _send(self, reply: Reply, *, with_body: bool) -> None:
        framing = (("Date", formatdate(usegmt=True)), ("Content-Length", str(len(reply.body))))
        # As bytes: a correlation id is echoed whatever it holds, and h11 takes text in ASCII only.
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in (*reply.headers, *framing)]
        response = h11.Response(status_code=reply.status, headers=headers)
        parts = [self._http.send(response)]
        if with_body:
            parts.append(self._http.send(h11.Data(data=reply.body)))
        parts.append(self._http.send(h11.EndOfMessage()))
        self._transport.write(b"".join(part for part in parts if part))
