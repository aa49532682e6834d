"""Settings of Celery that lose or double work, or open a door: those in force, held against `worker/broker.py`.

Something else may have changed it: a module that is imported, a variable, a fork of the app. The risks are those that
were measured with Celery 5.7 on Redis.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from worker.broker import is_redis
from worker.doctor.finding import Finding, problem, warning

_JSON = {"json", "application/json"}
_LONGEST_TASK_S = 120


def judge_celery(conf: Mapping[str, Any]) -> Iterator[Finding]:
    """`conf` is the app's configuration, by the new lower-case names."""
    remedy = "Take out what sets it; worker/broker.py holds the right value."
    if unsafe := sorted({*conf["accept_content"], *_serializers(conf)} - _JSON):
        yield problem(
            "celery_unsafe_content",
            f"Celery reads or writes {', '.join(unsafe)}: whoever can write to the broker may run code here.",
            "Set accept_content and every serializer to json.",
        )
    for name, wanted, harm in _WANTED:
        if conf[name] != wanted:
            yield problem(f"celery_{name}", f"Celery's {name} is {conf[name]!r}, not {wanted!r}: {harm}.", remedy)
    for name, wanted, harm in _WISHED:
        if conf[name] != wanted:
            yield warning(f"celery_{name}", f"Celery's {name} is {conf[name]!r}, not {wanted!r}: {harm}.", remedy)
    if conf["result_backend"] and conf["result_backend"] != "disabled":
        yield warning(
            "celery_result_backend", "Celery has a result backend: results are rows, nobody reads it.", remedy
        )
    if is_redis(str(conf["broker_url"] or "")):
        yield from _redis_transport(conf["broker_transport_options"] or {}, remedy)


def _serializers(conf: Mapping[str, Any]) -> Iterator[str]:
    for name in ("task_serializer", "result_serializer", "event_serializer"):
        yield conf[name]


def _redis_transport(options: Mapping[str, Any], remedy: str) -> Iterator[Finding]:
    if not options.get("socket_timeout"):
        yield problem(
            "celery_socket_timeout",
            "Celery has no socket_timeout: a Redis that hangs holds a process for ever.",
            remedy,
        )
    if (timeout := options.get("visibility_timeout")) is not None and timeout < _LONGEST_TASK_S:
        yield warning(
            "celery_visibility_timeout",
            f"Celery's visibility_timeout is {timeout} s: the shortest of all workers on this Redis counts, and what is"
            " out for longer is delivered again.",
            remedy,
        )
    if options.get("priority_steps") != [0]:
        yield warning(
            "celery_priority_steps",
            "Celery keeps several lists a queue: the dispatcher counts only one of them.",
            remedy,
        )


_WANTED: tuple[tuple[str, Any, str], ...] = (
    ("task_acks_late", False, "hints come twice after the visibility timeout, and 5.7.0 exits when Redis goes away"),
    ("task_always_eager", False, "jobs would run in whoever asks for them"),
    ("task_reject_on_worker_lost", None, "a hint that kills a worker would come back for ever"),
    ("worker_cancel_long_running_tasks_on_connection_loss", False, "calls under way would be lost with the broker"),
    ("broker_connection_max_retries", None, "a worker would give up during an outage of the broker"),
    ("beat_scheduler", "worker.clock.scheduler:LedgerScheduler", "nothing would run by the clock"),
    ("enable_utc", True, "times would be the machine's"),
    ("timezone", "UTC", "times would be another place's"),
)
"""Name, value, and what another value does."""

_WISHED: tuple[tuple[str, Any, str], ...] = (
    ("worker_prefetch_multiplier", 1, "a worker hoards hints that others could take"),
    ("task_ignore_result", True, "results are rows; every task would write one more"),
    ("task_create_missing_queues", False, "a misspelt -Q makes a queue that nobody fills"),
    ("task_track_started", False, "every task writes once more for nobody"),
)
