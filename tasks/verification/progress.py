"""How far a request has come over all its runs, and whether one more call is allowed."""

from tasks.verification.classify import Meaning, Verdict
from tasks.verification.question import next_key
from worker.values import value

MOST_AFTER_UNUSABLE = 1
"""An answer against the protocol may be an accident once; a second one is how the provider answers."""

FORGIVING_FOR = 2
"""Outages give retries back until so many times the calls were made that the configuration allows a request."""


@value
class Progress:
    """`key` is that of the next call, `retries` counts those spent."""

    key: str
    retries: int

    def allows_retry(self, verdict: Verdict, allowed: int) -> bool:
        """Whether the call that ended with `verdict` may be followed by another; `allowed` is the most there may be."""
        match verdict.meaning:
            case Meaning.TRANSIENT | Meaning.THROTTLED:
                return self.retries < allowed
            case Meaning.UNUSABLE:
                return self.retries < min(allowed, MOST_AFTER_UNUSABLE)
        return False

    def after(self, verdict: Verdict) -> "Progress":
        """With one retry more spent. Only a call whose fate is unknown is repeated under its key."""
        return Progress(next_key(self.key) if verdict.was_answered else self.key, self.retries + 1)


def is_forgiven(calls: int, allowed: int) -> bool:
    """Whether a request that meets an open breaker begins anew, after so many calls that its job has made.

    Its retries come within seconds of each other, so those spent until then went to the provider that was failing
    already. Not for ever: a provider that fails and recovers in turn would be asked the same thing without an end.
    """
    return calls < FORGIVING_FOR * (1 + allowed)
