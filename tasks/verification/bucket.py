"""A rate kept by spacing: each call gets the next free moment, none before it (the generic cell rate algorithm).

The same arithmetic as in `gate_store`'s script, for the small share of a limit that a process has without Redis.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class Bucket:
    """`per_second` calls a second; `next_free` is a moment on the caller's clock."""

    per_second: float
    next_free: float = 0.0

    def take(self, now: float, patience_s: float) -> float | None:
        """Seconds until the moment that is now the caller's; None, and nothing taken, if it is beyond his patience."""
        wait_s = max(0.0, self.next_free - now)
        if wait_s > patience_s:
            return None
        self.next_free = max(now, self.next_free) + 1 / self.per_second
        return wait_s
