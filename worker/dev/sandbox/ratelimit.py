"""The provider's allowance, counted in fixed windows of a minute over all callers."""

WINDOW_S = 60


class RateLimit:
    def __init__(self, calls_per_minute: int) -> None:
        self._limit = calls_per_minute
        self._window = 0
        self._used = 0

    def wait_s(self, now: float) -> int:
        """Count one call; 0 if it may pass, else the whole seconds until the next window."""
        self._enter(now)
        self._used += 1
        return self._reset_s(now) if self._used > self._limit else 0

    def headers(self, now: float) -> tuple[tuple[str, str], ...]:
        self._enter(now)
        return (
            ("RateLimit-Limit", str(self._limit)),
            ("RateLimit-Remaining", str(max(0, self._limit - self._used))),
            ("RateLimit-Reset", str(self._reset_s(now))),
        )

    def _enter(self, now: float) -> None:
        window = int(now // WINDOW_S)
        if window != self._window:
            self._window, self._used = window, 0

    def _reset_s(self, now: float) -> int:
        return WINDOW_S - int(now % WINDOW_S)
