"""Requests continue the trace that their `traceparent` names (W3C Trace Context), and so do the jobs they ask for."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from worker import spans
from worker.traces import continued


class Traced:
    """Middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        header = Headers(scope=scope).get("traceparent")
        with continued(header), spans.span("request", "server", parent=header) as span:
            await self._app(scope, receive, send)
            if span is not None:  # the template, never the path
                span.update_name(getattr(scope.get("route"), "path", "no route"))
