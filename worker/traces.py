"""The trace that a job belongs to, from whoever asks for it to its row: W3C Trace Context, which is ids only.

Costs nothing where nobody traces, and needs no library: an application with OpenTelemetry of its own has a current
span, a request over HTTP a header, and a program in SQL says `set_config('worker.traceparent', '00-...', true)`.
"""

import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

FORM = re.compile("00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)

_given: ContextVar[str | None] = ContextVar("traceparent", default=None)


def traceparent() -> str | None:
    """The trace context for a job that is asked for here: that of the current span, else of the request; or None."""
    trace = sys.modules.get("opentelemetry.trace")  # who has a span has imported it
    if trace is not None:
        context = trace.get_current_span().get_span_context()
        if context.is_valid:
            return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    return _given.get()


def shared(contexts: Iterable[str | None]) -> str | None:
    """The trace context of all of them; None if they have several, or none."""
    found = set(contexts)
    return found.pop() if len(found) == 1 else None


@contextmanager
def continued(header: str | None) -> Iterator[None]:
    """In here, jobs belong to the trace that a request's `traceparent` names; a malformed one is none."""
    token = _given.set(header if header and FORM.fullmatch(header) else None)
    try:
        yield
    finally:
        _given.reset(token)
