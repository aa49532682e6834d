"""Around every request: its correlation id, and a body of bounded size.

Plain ASGI, so that a body that is too large is refused before anything is done with it.
"""

import re
from uuid import uuid4

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from worker.api.batch import is_stream
from worker.api.problems import CORRELATION, FieldError, of_fields, problem

_CORRELATION_FORM = re.compile(r"[A-Za-z0-9._:/+=-]{1,100}")

BODY_MAX = 64 * 1024
BATCH_MAX = 1024 * 1024
"""A thousand verifications with every field set."""


class Envelope:
    """Middleware. `scope["state"]["correlation_id"]` is what the caller sent, or a new one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get(CORRELATION)
        is_fit = given is None or _CORRELATION_FORM.fullmatch(given) is not None
        correlation_id = given if given is not None and is_fit else str(uuid4())
        scope.setdefault("state", {})["correlation_id"] = correlation_id

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[CORRELATION] = correlation_id
            await send(message)

        if not is_fit:
            wrong = FieldError(field=CORRELATION, message="it has 1 to 100 letters, digits or any of . _ : / + = -")
            await of_fields(422, "bad_correlation_id", [wrong])(scope, receive, answer)
            return
        if scope["path"].endswith(":batch") and is_stream(headers.get("content-type", "")):
            with structlog.contextvars.bound_contextvars(correlation_id=correlation_id):
                await self._app(scope, receive, answer)  # read line by line, each of bounded size
            return
        limit = BATCH_MAX if scope["path"].endswith(":batch") else BODY_MAX
        try:
            body = await _body(headers, receive, limit)
        except ClientDisconnect:
            return  # half a request is none
        if body is None:
            refusal = problem(413, f"the body is larger than {limit} bytes", code="too_large")
            refusal.headers["Connection"] = "close"  # the rest of it is not read
            await refusal(scope, receive, answer)
            return
        with structlog.contextvars.bound_contextvars(correlation_id=correlation_id):
            await self._app(scope, _replayed(body, receive), answer)


async def _body(headers: Headers, receive: Receive, limit: int) -> bytes | None:
    """The whole body; None as soon as it is known to be too large. Raises `ClientDisconnect`."""
    announced = headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        return None
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        if len(body) > limit:
            return None
        if not message.get("more_body", False):
            return bytes(body)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """The body in one message, and then whatever the server says: that the client has gone."""
    is_read = False

    async def replay() -> Message:
        nonlocal is_read
        if is_read:
            return await receive()
        is_read = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
