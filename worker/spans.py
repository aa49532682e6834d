"""Spans of what this process does, by OpenTelemetry, where it is installed and wanted.

It is wanted where OTEL_EXPORTER_OTLP_ENDPOINT (or ..._TRACES_ENDPOINT) is set, and installed by the extra `[traces]`;
all other settings are OpenTelemetry's own. Else nothing here costs more than a look at a variable.

Attributes are ids, codes and counts. Exceptions are not recorded, for their texts may hold a person's data. Providers
are told nothing of a trace.
"""

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Literal

import structlog

from worker.job import Job
from worker.traces import FORM

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

_log = structlog.get_logger(__name__)

Side = Literal["server", "consumer", "client", "internal"]
MaybeSpan = AbstractContextManager["Span | None"]

_NONE: MaybeSpan = nullcontext()

_tracer: "Tracer | None" = None
_provider: "TracerProvider | None" = None


def configure(service: str) -> None:
    """Send spans from now on, if that is wanted. In each process after its fork: a thread of its own sends them."""
    if not (os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")):
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        _log.warning("traces.not_installed", problem="an endpoint is set, the extra [traces] is missing")
        return
    provider = TracerProvider(resource=Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME", service)}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    use(provider)


def use(provider: "TracerProvider | None") -> None:
    """Have spans made by this provider; with None, none are."""
    global _tracer, _provider  # one a process, as OpenTelemetry has it
    _provider = provider
    _tracer = provider.get_tracer("integration-worker") if provider is not None else None


def close() -> None:
    """Send what is left."""
    if _provider is not None:
        _provider.shutdown()
        use(None)


def of_run(job: Job) -> MaybeSpan:
    """One run of a job, in the trace in which it was asked for."""
    if _tracer is None:
        return _NONE
    attributes: dict[str, str | int] = {
        "job.id": str(job.id), "job.attempt": job.attempt, "job.fence": job.fence,
        "job.waited_ms": round(job.waited_s * 1000),
    }  # fmt: skip
    return span(job.kind, "consumer", attributes, job.trace_context)


def span(
    name: str, side: Side = "internal", attributes: Mapping[str, str | int] | None = None, parent: str | None = None
) -> MaybeSpan:
    """A span around what happens in the context, below `parent`, a trace context, or else the current one."""
    if _tracer is None:
        return _NONE
    from opentelemetry.trace import SpanKind

    return _tracer.start_as_current_span(
        name,
        context=_context_of(parent),
        kind=SpanKind[side.upper()],
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    )


def _context_of(parent: str | None) -> "Context | None":
    """OpenTelemetry's form of it; None stands for the current one."""
    if parent is None or not FORM.fullmatch(parent):
        return None
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

    _, trace_id, span_id, flags = parent.split("-")
    there = SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
    return set_span_in_context(NonRecordingSpan(there))
