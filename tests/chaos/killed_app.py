"""The product's Celery app, in a process that kills itself once at the moment `KILL_AT` names.

    celery -A tests.chaos.killed_app worker ...

`KILL_MARK` is a file that says that it has happened, so the worker that takes over lives.
"""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.verification.client import Provider
from worker import ledger
from worker.app import app
from worker.process import run, transactions

__all__ = ["app"]

_MARK = Path(os.environ["KILL_MARK"])


def die_once() -> None:
    try:
        _MARK.touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def between_claim_and_call() -> None:
    to_its_end = run.Run.to_its_end

    async def dying(self: run.Run, resource: Any) -> Any:
        die_once()
        return await to_its_end(self, resource)

    run.Run.to_its_end = dying  # type: ignore[method-assign]  # the point of this module


def during_the_call() -> None:
    call = Provider.call

    async def dying(self: Provider, *args: Any, **kwargs: Any) -> Any:
        asyncio.get_running_loop().call_later(0.3, die_once)  # the sandbox answers after a second
        return await call(self, *args, **kwargs)

    Provider.call = dying  # type: ignore[method-assign]  # the point of this module


def after_the_answer_before_the_commit() -> None:
    finish = ledger.finish

    def dying(connection: Any, verdicts: Any) -> Any:
        owned = finish(connection, verdicts)
        die_once()
        return owned

    ledger.finish = dying


def after_the_commit() -> None:
    finish = transactions.Transactions._finish_and_save

    def dying(self: transactions.Transactions, runs: Any) -> Any:
        owned = finish(self, runs)
        die_once()
        return owned

    transactions.Transactions._finish_and_save = dying  # type: ignore[method-assign]  # the point of this module


MOMENTS: dict[str, Callable[[], None]] = {
    moment.__name__: moment
    for moment in (between_claim_and_call, during_the_call, after_the_answer_before_the_commit, after_the_commit)
}
MOMENTS[os.environ["KILL_AT"]]()
