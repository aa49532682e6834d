"""An answer that is promised for later: where it will be, and when to look again.

Between two looks the job waits in its row and holds no place in a worker.
"""

import re
from urllib.parse import urljoin, urlsplit

LOOK_AGAIN_S = 5.0
"""Where the provider doesn't say when."""

SHORTEST_S, LONGEST_S = 1.0, 3600.0

GIVEN_UP_AFTER_S = 86_400.0
"""An answer that has been pending for a day is not waited for any longer."""

_URL_LENGTH = 500
_SEARCH = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+")  # no segment begins with a dot: none leads upwards


def poll_url(endpoint: str, location: str) -> str | None:
    """Where the answer will be: below the endpoint itself, at the same host; None for any other place.

    The next call carries our credentials, so a provider's header must not choose who gets them.
    """
    try:
        url = urljoin(endpoint, location)
        ours, theirs = urlsplit(endpoint), urlsplit(url)
        is_same_host = (ours.scheme, ours.netloc) == (theirs.scheme, theirs.netloc)
    except ValueError:
        return None
    below = theirs.path.removeprefix(ours.path.rstrip("/"))
    if not is_same_host or below == theirs.path or theirs.query or theirs.fragment or len(url) > _URL_LENGTH:
        return None
    return url if _SEARCH.fullmatch(below) else None


def look_again_s(retry_after_s: float | None, random: float) -> float:
    """The wait before the next look: as long as the provider asks, within bounds, and a little more."""
    wait_s = min(max(LOOK_AGAIN_S if retry_after_s is None else retry_after_s, SHORTEST_S), LONGEST_S)
    return wait_s + random * min(5.0, 0.1 * wait_s)
