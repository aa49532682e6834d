"""The Celery app: loads the task modules and turns each kind of job into a Celery task.

A task's name is its kind; its one argument the ids of jobs. It is a thin door: the engine does the work. The app is
never run as a program (`celery -A worker.app worker`, or `worker up`).
"""

import threading
from collections.abc import Callable
from dataclasses import asdict
from importlib import import_module
from typing import Any
from uuid import UUID

from celery import Celery, signals
from celery.concurrency.prefork import TaskPool as PreforkPool

from worker import logs
from worker.broker import celery_configuration
from worker.clock.entries import rounds
from worker.crypto import Keyring
from worker.database import Database
from worker.errors import Misconfigured
from worker.flower_start import refuse_if_open
from worker.job import Kind, declared
from worker.keys import check_keys
from worker.process import redis_channel
from worker.process.beat import BeatThread
from worker.process.health import WorkerHealth
from worker.process.runtime import Runtime
from worker.process.shortcut import Shortcut
from worker.settings import load_settings
from worker.task_modules import TASK_MODULES

redis_channel.install()
app = Celery("integration_worker")
app.conf.update(celery_configuration(load_settings().celery_broker_url))

_health = WorkerHealth()
_runtime: Runtime | None = None
_building = threading.Lock()


def runtime() -> Runtime:
    """This process's runtime, built on first use: after the fork, whatever the pool."""
    global _runtime  # one a process, and Celery gives tasks no other place to find it
    with _building:
        if _runtime is None:
            queues = list(app.amqp.queues.consume_from)
            settings = load_settings()
            _runtime = Runtime(settings, queues, BeatThread(app) if settings.beat else None)
    return _runtime


def _task_of(kind: Kind) -> Callable[[list[str]], dict[str, int]]:
    def begin(ids: list[str]) -> dict[str, int]:
        return asdict(runtime().engine.begin(kind, [UUID(job_id) for job_id in ids]))

    return begin


for module in TASK_MODULES:
    import_module(module)
for kind in declared().values():
    app.task(_task_of(kind), name=kind.name, Strategy=Shortcut(kind, lambda: runtime().engine))


@signals.import_modules.connect
def _refuse_open_flower(**_: Any) -> None:
    """The moment when any program of Celery's has read its options and not begun."""
    refuse_if_open()


@signals.setup_logging.connect
def _configure_logs(**_: Any) -> None:
    logs.configure(load_settings())


@signals.celeryd_init.connect
def _refuse_what_cannot_work(**_: Any) -> None:
    """A worker that can't read what is stored would fail every job, and one without rounds finds none: neither
    starts."""
    settings = load_settings()
    database = Database(settings)
    try:
        rounds()
        check_keys(database, Keyring.of(settings))
    except Misconfigured as error:
        raise SystemExit(f"worker: {error}") from None  # Celery would swallow an ordinary exception
    finally:
        database.close()


@signals.worker_ready.connect
def _start(sender: Any, **_: Any) -> None:
    """Dispatch without waiting for a first hint. A prefork parent runs no jobs: its children do the same below."""
    if isinstance(sender.pool, PreforkPool):
        _health.of_children(load_settings())
    else:
        _health.of_process(load_settings(), runtime())


@signals.worker_init.connect
def _prepare_forks(sender: Any, **_: Any) -> None:
    if issubclass(sender.pool_cls, PreforkPool):
        _health.before_forks()


@signals.worker_process_init.connect
def _start_child(**_: Any) -> None:
    _health.of_child(runtime())


@signals.worker_shutting_down.connect
def _stop(**_: Any) -> None:
    if _runtime is not None:
        _runtime.stop()


@signals.worker_process_shutdown.connect
def _close(**_: Any) -> None:
    if _runtime is not None:
        _runtime.close()


@signals.worker_shutdown.connect
def _close_worker(**_: Any) -> None:
    _close()
    _health.close()
