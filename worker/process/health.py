"""Where a worker tells how it is: on one port of its main process, whatever its pool.

With the pool `threads` that process runs the jobs itself. With `prefork` it only asks its children (`health/children`),
and touches neither database nor Redis: what it held while it forks would be in two processes.
"""

import orjson

from worker.health.children import Child, Children, number_in_pool
from worker.health.port import Answers, HealthPort
from worker.process.runtime import Runtime
from worker.settings import Settings


class WorkerHealth:
    """Of one worker. Celery's signals call it.

    `before_forks` and `of_children` in a parent, `of_child` in its children, `of_process` where there are none.
    """

    def __init__(self) -> None:
        self._children: Children | None = None
        self._port: HealthPort | None = None

    def before_forks(self) -> None:
        """There will be children; they take the way to their parent along."""
        self._children = Children()

    def of_children(self, settings: Settings) -> None:
        """Tell what the children say."""
        children = self._children
        assert children is not None  # noqa: S101 - `before_forks` was called, or there are no children

        def complaints(what: str) -> dict[str, str]:
            found: dict[str, str] = {}
            for number, said in children.ask_json(what).items():
                troubles = {"process": "it does not answer"} if said is None else said
                found.update({f"child {number}, {part}": trouble for part, trouble in troubles.items()})
            return found

        self._listen(settings, Answers(children.metrics, lambda: complaints("stuck"), lambda: complaints("unready")))

    def of_child(self, runtime: Runtime) -> None:
        """Answer the parent."""
        if self._port is not None:
            self._port.forget()
        if self._children is not None:
            said = {
                "metrics": runtime.metrics.text,
                "stuck": lambda: orjson.dumps(runtime.stuck()),
                "unready": lambda: orjson.dumps(runtime.unready()),
            }
            Child(self._children.directory, number_in_pool(), said)

    def of_process(self, settings: Settings, runtime: Runtime) -> None:
        """Tell of the one process that there is."""
        self._listen(settings, Answers(runtime.metrics.text, runtime.stuck, runtime.unready))

    def close(self) -> None:
        """In the main process, after the last job."""
        if self._port is not None:
            self._port.close()
        if self._children is not None:
            self._children.close()

    def _listen(self, settings: Settings, answers: Answers) -> None:
        self._port = HealthPort(settings, answers)
        self._port.start()
