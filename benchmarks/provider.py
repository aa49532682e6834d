"""A provider that costs next to nothing: python -m benchmarks.provider

It answers every question about a driver with the sandbox's own bytes for the person whose licence is in order, after a
fixed wait, and counts who asked. The sandbox itself parses and checks each request, which takes 0.3 to
0.6 milliseconds of CPU: on a small machine that would be a good part of what is measured.
"""

import argparse
import asyncio
import re
import sys
import time
from collections import defaultdict
from typing import cast

import orjson
import uvloop

from worker.dev.sandbox import drivers
from worker.dev.sandbox.app import create_app
from worker.dev.sandbox.message import Reply, Request
from worker.dev.sandbox.personas import PERSONAS
from worker.dev.sandbox.settings import CLIENT_ID, CLIENT_SECRET, SandboxSettings

PERSON = next(persona for persona in PERSONAS if persona.scenario == "ok")
_REFERENCE = b"driver:0"
_ASKED = re.compile(rb'"client_ref": ?"(driver:\d+)"')
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.I)


def question(reference: str) -> bytes:
    """What a peer posts; `reference` comes back in the answer."""
    address = PERSON.address
    who = {
        "client_ref": reference,
        "first_name": PERSON.first_name,
        "last_name": PERSON.last_name,
        "date_of_birth": PERSON.date_of_birth,
        "license_number": PERSON.license_number,
        "state_code": PERSON.state_code,
    }
    where = {"street_1": address.street_1, "city": address.city, "state": address.state, "zip_code": address.zip_code}
    return orjson.dumps(
        {
            "transaction_info": {"department_id": "1", "user_id": "svc", "user_name": "worker"},
            "search": {"driver": who, "address": where},
            "options": {"include_household": True, "include_criminal_history": False},
        }
    )


def _framed(reply: Reply) -> bytes:
    headers = "".join(f"{name}: {value}\r\n" for name, value in reply.headers)
    head = f"HTTP/1.1 {reply.status} OK\r\n{headers}Content-Length: {len(reply.body)}\r\n\r\n"
    return head.encode("latin-1") + reply.body


def _ask_sandbox() -> tuple[Reply, Reply]:
    """A token, and the answer about the person; both as the sandbox gives them."""
    sandbox = create_app(SandboxSettings())
    login = f"grant_type=client_credentials&client_id={CLIENT_ID}&client_secret={CLIENT_SECRET}&scope=drivers"
    form = {"content-type": "application/x-www-form-urlencoded"}
    token = sandbox.receive(Request("POST", "/oauth2/token", form, login.encode())).reply
    headers = {
        "content-type": "application/json",
        "authorization": f"Bearer {orjson.loads(token.body)['access_token']}",
        "x-correlation-id": "benchmark",
    }
    body = question(_REFERENCE.decode())
    answer = sandbox.receive(Request("POST", drivers.PATH, headers, body)).reply
    if token.status != 200 or answer.status != 200:
        raise RuntimeError("the sandbox does not answer its own person")
    return token, answer


class _State:
    def __init__(self) -> None:
        token, answer = _ask_sandbox()
        self.token = _framed(token)
        # The length may differ with the reference, so the head is made anew for each answer.
        self.headers = "".join(f"{name}: {value}\r\n" for name, value in answer.headers).encode("latin-1")
        self.before, self.after = answer.body.split(_REFERENCE)
        self.latency_s = 0.05
        self.calls: defaultdict[bytes, list[float]] = defaultdict(list)

    def answer(self, reference: bytes) -> bytes:
        body = self.before + reference + self.after
        return b"HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s" % (self.headers, len(body), body)


class _Connection(asyncio.Protocol):
    def __init__(self, state: _State) -> None:
        self._state = state
        self._received = bytearray()
        self._first_byte = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # what create_server promises

    def data_received(self, data: bytes) -> None:
        if not self._received:
            self._first_byte = time.monotonic()
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        length = _LENGTH.search(self._received, 0, end)
        size = end + 4 + (int(length[1]) if length else 0)
        if len(self._received) < size:
            return
        request, self._received = bytes(self._received[:size]), self._received[size:]
        self._answer(request)

    def _answer(self, request: bytes) -> None:
        state = self._state
        if asked := _ASKED.search(request):
            state.calls[asked[1]].append(self._first_byte)
            asyncio.get_running_loop().call_later(state.latency_s, self._transport.write, state.answer(asked[1]))
        elif request.startswith(b"POST /oauth2/token "):
            self._transport.write(state.token)
        elif request.startswith(b"GET /calls "):
            calls = {reference.decode(): times for reference, times in state.calls.items()}
            self._transport.write(_framed(Reply(200, orjson.dumps(calls))))
        elif request.startswith(b"GET /count "):
            self._transport.write(_framed(Reply(200, b"%d" % sum(map(len, state.calls.values())))))
        elif request.startswith((b"POST /reset ", b"POST /latency ")):
            if b"reset" in request[:12]:
                state.calls.clear()
            state.latency_s = float(request.partition(b"\r\n\r\n")[2])
            self._transport.write(_framed(Reply(200)))
        else:
            self._transport.write(_framed(Reply(404)))


async def _serve(port: int) -> None:
    state = _State()
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(state), "127.0.0.1", port, backlog=1024)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(_serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
