"""What was called, in order, so that a test can prove "one call, not two". No credentials, no bodies."""

from collections import deque
from dataclasses import asdict, dataclass
from typing import Any, Literal

KEPT = 100_000  # entries; older ones are dropped and counted


@dataclass(slots=True)
class Entry:
    """One received call.

    `status` is what the client was sent: "never" until an answer is complete, "reset" if the connection was
    torn down instead. `client_gone` means it hung up before it had its answer.
    """

    time: float
    method: str
    path: str
    correlation_id: str | None
    idempotency_key: str | None
    scenario: str | None = None
    status: int | Literal["never", "reset"] = "never"
    replayed: bool = False
    client_gone: bool = False


class Journal:
    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=KEPT)
        self._received = 0

    def append(self, entry: Entry) -> None:
        self._entries.append(entry)
        self._received += 1

    def entries(self) -> list[dict[str, Any]]:
        return [asdict(entry) for entry in self._entries]

    def report(self) -> dict[str, Any]:
        """The entries, oldest first, and how many were received in all."""
        return {"received": self._received, "entries": self.entries()}
