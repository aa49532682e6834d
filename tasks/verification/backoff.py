"""How long to wait before the next call, and where: exponential with full jitter, or as long as the provider asks.

Full jitter after "Exponential Backoff And Jitter" (AWS Architecture Blog); Retry-After after RFC 9110, section 10.2.3.
All times are seconds.
"""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

BASE_S = 0.5
CAP_S = 20.0
LONGEST_RETRY_AFTER_S = 86_400.0  # whoever asks for more than a day is asked again after one

IN_PLACE_S = 2.0
IN_PLACE_SHARE = 0.2


def wait_s(retry: int, retry_after_s: float | None, random: float) -> float:
    """The wait before retry number `retry`, counted from 0. `random` is from [0, 1)."""
    if retry_after_s is not None:
        return retry_after_s + random * min(5.0, 0.1 * retry_after_s + 0.5)
    return random * min(CAP_S, BASE_S * 2.0 ** min(retry, 16))


def patience_s(left_s: float, timeout_s: float) -> float:
    """How long to wait where we are: a short nap, after which the run still has time for a whole call."""
    return max(0.0, min(IN_PLACE_S, IN_PLACE_SHARE * left_s, left_s - timeout_s))


def is_short(wait_s: float, left_s: float, timeout_s: float) -> bool:
    """Whether such a wait is waited where we are, and not by the job's row."""
    return wait_s <= patience_s(left_s, timeout_s) and left_s >= timeout_s


def spread_s(wait_s: float, random: float) -> float:
    """A little more than `wait_s`, each time another: whoever waits for one moment should not come at one moment."""
    return wait_s + random * min(10.0, 0.5 + 0.2 * wait_s)


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds from `now`, from either form of the header; None for what is negative or makes no sense."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        seconds = float(value[:10]) if len(value) <= 10 else LONGEST_RETRY_AFTER_S
    else:
        try:
            then = parsedate_to_datetime(value)
            # An obsolete form of the date has no zone; HTTP dates are always UTC.
            seconds = ((then if then.tzinfo else then.replace(tzinfo=UTC)) - now).total_seconds()
        except (TypeError, ValueError, IndexError, OverflowError):
            return None
    return min(seconds, LONGEST_RETRY_AFTER_S) if seconds >= 0 else None
