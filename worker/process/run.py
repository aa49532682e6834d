"""One run of one job: from its inputs to its outcome, whatever happens in between."""

import asyncio
import time
from typing import Any

from worker.job import Finished, Job, Kind
from worker.outcomes import Cancelled, Done, Expired, GiveUp, Outcome, Retry, Snooze
from worker.process.transactions import bug

_OUTCOMES = (Done, Retry, Snooze, GiveUp, Expired, Cancelled)

_MARGIN_S = 30.0


class Run:
    """Lives in the event loop. `inputs` is what `load` gave: the argument of `act`, or the outcome already."""

    def __init__(self, kind: Kind, job: Job, inputs: Any) -> None:
        self.job = job
        self.over_by = time.monotonic() + kind.deadline_s + _MARGIN_S
        """By then it has ended, whatever it does, unless it holds up the event loop."""

        self._kind = kind
        self._inputs = inputs
        self._acting: asyncio.Task[Any] | None = None
        """The engine's task for this run, while it is in `act`: a cancellation must not meet it at anything else."""

        self._is_lost = False
        self._is_cancelled = False

    async def to_its_end(self, resource: Any) -> Finished | None:
        """Act under the deadline. None: the job belongs to somebody else now, so nothing may be written."""
        if self._is_lost:
            return None
        if isinstance(self._inputs, _OUTCOMES):
            return Finished(self.job, None, self._inputs)
        outcome = await self._outcome(resource)
        return None if self._is_lost else Finished(self.job, self._inputs, outcome)

    def lose(self) -> None:
        """Another worker owns the job: stop, and write nothing."""
        self._is_lost = True
        self.cancel()

    def cancel(self) -> None:
        self._is_cancelled = True
        if self._acting is not None:
            self._acting.cancel()

    async def _outcome(self, resource: Any) -> Outcome[Any]:
        arguments = (self._inputs,) if self._kind.opens is None else (self._inputs, resource)
        time_left = self.job.time_left.total_seconds() if self.job.time_left is not None else float("inf")
        if self._is_cancelled:
            return Cancelled()
        try:
            async with asyncio.timeout(min(self._kind.deadline_s, time_left)) as deadline:
                self._acting = asyncio.current_task()
                try:
                    outcome = await self._kind.act(*arguments)
                finally:
                    self._acting = None
        except TimeoutError as error:
            if not deadline.expired():
                return bug(self._kind, error, self.job.attempt)
            if time_left <= self._kind.deadline_s:
                return Expired()
            message = f"It ran longer than the {self._kind.deadline_s:g} s a run may take."
            return Retry("overran", self._kind.backoff(self.job.attempt), message)
        except asyncio.CancelledError as error:
            return Cancelled() if self._is_cancelled else bug(self._kind, error, self.job.attempt)
        except Exception as error:  # noqa: BLE001 - a kind's bug is its job's misfortune, not the worker's
            return bug(self._kind, error, self.job.attempt)
        if not isinstance(outcome, _OUTCOMES):
            return bug(self._kind, TypeError("act returned something that is no outcome"), self.job.attempt)
        return outcome
