"""Where a worker tells how it is: on one port of its main process, whatever its pool.

With the pool `threads` that process runs the jobs itself. With `prefork` it only asks its children (`health/children`),
and touches neither database nor Redis: what it held while it forks would be in two processes.
"""

import time
from collections.abc import Callable

import orjson

from worker.health.children import Child, Children, number_in_pool
from worker.health.port import Answers, HealthPort
from worker.health.watchdog import Watchdog
from worker.process.runtime import HINTS, Runtime
from worker.settings import Settings

_SILENT_S = 60


class WorkerHealth:
    """Of one worker. Celery's signals call it.

    `before_forks` and `of_children` in a parent, `of_child` in its children, `of_process` where there are none.
    """

    def __init__(self) -> None:
        self._children: Children | None = None
        self._port: HealthPort | None = None
        self._watchdog: Watchdog | None = None
        self._silent_since: dict[int, float] = {}

    def before_forks(self) -> None:
        """There will be children; they take the way to their parent along."""
        self._children = Children()

    def of_children(self, settings: Settings) -> None:
        """Tell what the children say."""
        children = self._children
        assert children is not None  # noqa: S101 - `before_forks` was called, or there are no children

        def complaints(what: str) -> dict[str, str]:
            troubles = {number: self._troubles(number, said) for number, said in children.ask_json(what).items()}
            # Which child a hint comes to is the parent's choice: as long as one hears of them, nobody is deaf.
            is_deaf = all(HINTS in of for of in troubles.values())
            return {
                f"child {number}, {part}": trouble
                for number, of in troubles.items()
                for part, trouble in of.items()
                if part != HINTS or is_deaf
            }

        def is_running() -> bool:
            return any(children.ask_json("running").values())

        answers = Answers(children.metrics, lambda: complaints("stuck"), lambda: complaints("unready"))
        self._listen(settings, answers, is_running)

    def of_child(self, runtime: Runtime) -> None:
        """Answer the parent."""
        if self._port is not None:
            self._port.forget()
        if self._children is not None:
            said = {
                "metrics": runtime.metrics.text,
                "stuck": lambda: orjson.dumps(runtime.stuck()),
                "unready": lambda: orjson.dumps(runtime.unready()),
                "running": lambda: orjson.dumps(runtime.is_running()),
            }
            Child(self._children.directory, number_in_pool(), said)

    def of_process(self, settings: Settings, runtime: Runtime) -> None:
        """Tell of the one process that there is."""
        self._listen(settings, Answers(runtime.metrics.text, runtime.stuck, runtime.unready), runtime.is_running)

    def _troubles(self, number: int, said: dict[str, str] | None) -> dict[str, str]:
        """What a child says, or that it has been silent for longer than one that starts, or is busy, may be."""
        if said is not None:
            self._silent_since.pop(number, None)
            return said
        silent_s = time.monotonic() - self._silent_since.setdefault(number, time.monotonic())
        return {"process": f"it has not answered for {silent_s:.0f} s"} if silent_s > _SILENT_S else {}

    def close(self) -> None:
        """In the main process, after the last job."""
        if self._watchdog is not None:
            self._watchdog.close()
        if self._port is not None:
            self._port.close()
        if self._children is not None:
            self._children.close()

    def _listen(self, settings: Settings, answers: Answers, is_running: Callable[[], bool]) -> None:
        self._watchdog = Watchdog(answers.stuck, is_running)
        self._watchdog.start()
        self._port = HealthPort(settings, answers)
        self._port.start()
