"""Who may read metrics: with a token whoever shows it; without one only this machine, and no proxy on it."""

from collections.abc import Mapping
from ipaddress import ip_address
from secrets import compare_digest

from worker.settings import Settings

REFUSED = "this is for the machine's own monitoring; see WORKER_METRICS_TOKEN"


def metrics_token(settings: Settings) -> str | None:
    return settings.metrics_token.get_secret_value() if settings.metrics_token else None


def may_read(token: str | None, client: str | None, headers: Mapping[str, str]) -> bool:
    """Whether a request from `client`, an address, may read metrics. Names in `headers` are in any case."""
    said = {name.lower(): value for name, value in headers.items()}
    if token is not None:
        return compare_digest(said.get("authorization", "").encode(), f"Bearer {token}".encode())
    if client is None or {"forwarded", "x-forwarded-for"} & said.keys():
        return False
    try:
        return ip_address(client).is_loopback
    except ValueError:  # a Unix socket: who can open it is decided by its permissions, and it may be a proxy
        return False
