"""The product's Celery app, in which something hangs for ever once the file HANGS_FROM exists; HANGS says what.

celery -A tests.chaos.hung_app worker ...

Who watches over it looks often here and is impatient.
"""

import os
import threading
from pathlib import Path
from typing import Any

from worker.clock import health as clock_health
from worker.clock.scheduler import LedgerScheduler
from worker.health import watchdog
from worker.process import health, runtime
from worker.process.dispatcher import Dispatcher
from worker.process.leases import LeaseRenewal

SILENT_S = 8

watchdog.LOOK_EVERY_S = 0.5
watchdog.GOODBYE_S = 3.0
runtime._SILENT_S = SILENT_S
health._SILENT_S = SILENT_S
clock_health.SILENT_S = SILENT_S

PARTS: dict[str, tuple[type, str]] = {
    "dispatcher": (Dispatcher, "_rescue"),
    "leases": (LeaseRenewal, "_renew"),
    "clock": (LedgerScheduler, "_standings"),
}


def hang(owner: type, step: str) -> None:
    """Have a step of a thread's round never end from then on."""
    whole = getattr(owner, step)

    def hanging(*args: Any, **more: Any) -> Any:
        if Path(os.environ["HANGS_FROM"]).exists():
            threading.Event().wait()
        return whole(*args, **more)

    setattr(owner, step, hanging)


if (part := os.environ.get("HANGS")) is not None:
    hang(*PARTS[part])

from worker.app import app  # noqa: E402 - what hangs is replaced by then

__all__ = ["app"]
