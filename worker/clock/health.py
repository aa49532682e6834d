"""Where a beat tells how it is: alive while it looks at the clock, ready while the database answers."""

import time
from collections.abc import Mapping

from worker.health.port import Answers, HealthPort
from worker.health.readiness import Readiness
from worker.health.watchdog import Watchdog
from worker.metrics import Metrics
from worker.settings import Settings

SILENT_S = 60
"""A beat looks every five seconds; one that waits for a database that is away still comes round in half a minute."""


class BeatHealth:
    """Of one beat."""

    def __init__(self, settings: Settings) -> None:
        self._metrics = Metrics()
        self._readiness = Readiness(settings)
        self._looked_at = time.monotonic()
        self._watchdog = Watchdog(self.stuck)
        self._port = HealthPort(settings, Answers(self._metrics.text, self.stuck, self._readiness.failing_database))

    def start(self) -> None:
        self._port.start()
        self._watchdog.start()

    def looked(self) -> None:
        """The scheduler has been round."""
        self._looked_at = time.monotonic()
        self._metrics.progressed()

    def stuck(self) -> Mapping[str, str]:
        silent_s = time.monotonic() - self._looked_at
        return {"clock": f"nobody has looked at it for {silent_s:.0f} s"} if silent_s > SILENT_S else {}

    def close(self) -> None:
        self._watchdog.close()
        self._port.close()
        self._readiness.close()
