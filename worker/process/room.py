"""How many jobs one process works on, and how many more it would like to hear of.

Counted in the event loop's thread; other threads only read `wanted`. What is claimed is limited by `size`; what waits
here unclaimed is limited to a moment's work, because whatever waits in a process is out of reach of fairness and
priority.
"""

import asyncio
import time
from collections import deque

_LOOKAHEAD_S = 0.2
_LOOKAHEAD_MIN = 4
_TOLERANCE = 2
"""How many times its lookahead a process takes in: hints that others asked for come here too, and giving jobs back
costs more than having them wait for another moment."""


class Room:
    """`size` places. `take` waits for at least one of them; `leave` frees them again."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._free = size
        self._waiting = 0
        self._promised = 0
        self._turns: deque[tuple[int, asyncio.Future[int]]] = deque()
        self._left = 0
        self._left_since = time.monotonic()
        self._rate = 0.0

    @property
    def taken(self) -> int:
        """Jobs that are worked on: claimed, or about to be, and not yet finished."""
        return self._size - self._free

    @property
    def lookahead(self) -> int:
        """Jobs worth having at hand: as many as end in a fifth of a second."""
        return max(_LOOKAHEAD_MIN, min(self._size, int(self._rate * _LOOKAHEAD_S)))

    @property
    def wanted(self) -> int:
        """How many more jobs this process could be hinted at now. Zero or less: it has enough."""
        return self._free + self.lookahead - self._waiting - self._promised

    @property
    def wants_a_message(self) -> bool:
        """Whether it wants so many that a message about them is worth its cost."""
        return self.wanted > self.lookahead // 2

    def promise(self, jobs: int) -> None:
        """Hints for this many jobs are on their way here, as far as anybody can know."""
        self._promised += jobs

    def forget_promises(self) -> None:
        """Other processes have taken them, or they are lost."""
        self._promised = 0

    def admit(self, jobs: int) -> int:
        """How many of `jobs` that were just hinted may wait here. They count as waiting until they `take` a place."""
        self._promised = max(0, self._promised - jobs)
        admitted = max(0, min(jobs, self._free + _TOLERANCE * self.lookahead - self._waiting))
        self._waiting += admitted
        return admitted

    async def take(self, at_most: int) -> int:
        """Wait for a place, first come first served; then take as many as are free, up to `at_most`."""
        turn: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._turns.append((at_most, turn))
        self._serve()
        return await turn

    def leave(self, places: int, *, worked: bool = True) -> None:
        """Give `places` back; `worked` says whether jobs were done in them, which is what the rate is made of."""
        self._free += places
        if worked:
            self._left += places
            elapsed = time.monotonic() - self._left_since
            if elapsed >= 0.5:
                self._rate, self._left, self._left_since = self._left / elapsed, 0, time.monotonic()
        self._serve()

    def _serve(self) -> None:
        """Places change hands here: whoever is only told of them may find them gone when it gets to run."""
        while self._free and self._turns:
            at_most, turn = self._turns.popleft()
            taken = min(at_most, self._free)
            self._free -= taken
            self._waiting -= taken
            turn.set_result(taken)
