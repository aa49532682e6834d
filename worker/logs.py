"""Logs: one event a line, with fields. Only fields of a list pass: an unknown one is dropped, not searched for names.

Tracebacks carry no local variables, and SQLAlchemy hides its parameters (`worker.database`).
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from worker.settings import Settings

FIELDS = frozenset(
    (
        "attempt", "blind_calls", "code", "counts", "day", "entry", "error", "error_code", "examples", "job", "jobs",
        "kind", "no_success_since", "outcome", "owner", "port", "ports", "problem", "queue", "queues", "rows", "slot",
        "slots", "soft_limit", "spent", "tenant", "thread", "took_s", "unfinished", "until", "waits_for", "where",
    )
)  # fmt: skip
"""Fields that an event may have: ids, codes, counts, names of ours. Whoever adds one vouches for what is in it."""

_OF_THE_LINE = frozenset(("event", "level", "logger", "timestamp", "exc_info", "exception", "stack_info"))


def configure(settings: Settings) -> None:
    """Route structlog and the standard library's loggers through one renderer, to standard error."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _only_known_fields,
    ]
    renderer: structlog.typing.Processor
    if settings.log_format == "json":
        renderer = structlog.processors.JSONRenderer()
        shared.append(structlog.processors.format_exc_info)
    else:
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level)
    for chatty in ("celery.worker.strategy", "celery.app.trace", "httpcore", "httpx2", "aiohttp"):
        logging.getLogger(chatty).setLevel(logging.WARNING)  # a line or two for each message says nothing a row doesn't


def _only_known_fields(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Those of the list, if they are plain: an object could print anything."""
    return {name: value for name, value in event.items() if _may_pass(name, value)}


def _may_pass(name: str, value: Any) -> bool:
    if name in _OF_THE_LINE or name.startswith("_"):  # the latter are structlog's own, and never printed
        return True
    if isinstance(value, list | tuple):
        return name in FIELDS and all(map(_is_plain, value))
    return name in FIELDS and _is_plain(value)


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float)
