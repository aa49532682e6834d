"""The calls of one run, counted as they leave: what the ledger of paid calls is told, however the run ends."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from models.vocabularies import CallReason
from worker.values import value


@value
class Purse:
    """Money of a tenant's budget that was set aside for a run, and the day it belongs to."""

    day: date
    amount: Decimal


@dataclass(slots=True)
class Tally:
    """`next_reason` is that of the next call; `at_most` is how many there may be in this run, refused tokens aside.

    Not frozen on purpose: a run that is cancelled, or meets a bug, has no outcome to carry what it had sent by then.
    """

    at_most: int = 1
    next_reason: CallReason = "first"
    sent: Counter[CallReason] = field(default_factory=Counter)
    purse: Purse | None = None

    def begin(self) -> None:
        """A call is about to leave."""
        self.sent[self.next_reason] += 1

    def end(self, calls: int) -> None:
        """It turned out to be so many: none if it never left, two if its token was refused."""
        self.sent[self.next_reason] += calls - 1
        if calls:
            self.next_reason = "retry"

    @property
    def paid(self) -> int:
        """Looks for an answer that was promised are calls like any other, but it was paid for when it was asked for."""
        return self.sent.total() - self.sent["poll"]

    @property
    def has_room(self) -> bool:
        """Whether another call may be made in this run."""
        return self.sent.total() < self.at_most


def first_reason(*, is_unsettled: bool, is_promised: bool, is_repeated: bool) -> CallReason:
    """Why a run calls. `is_unsettled`: one before it died; `is_promised`: it looks for an answer that was promised for
    later; `is_repeated`: one before it has told of a call.
    """
    if is_promised:
        return "poll"
    if is_unsettled:
        return "after_crash"
    return "retry" if is_repeated else "first"


def calls_left(retry_attempts: int, retry_count: int) -> int:
    """The first call and the retries that are left."""
    return 1 + max(0, retry_attempts - retry_count)
