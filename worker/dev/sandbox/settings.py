"""How one sandbox runs, and the fictional logins it knows."""

import time
from collections.abc import Callable
from dataclasses import dataclass

CLIENT_ID = "sandbox-client"
CLIENT_SECRET = "sandbox-secret"  # noqa: S105 - guards nothing: the people behind it are invented
BASIC_LOGIN = "sandbox:svc:sandbox-password"  # account:user:password, as the provider's Basic form has it
API_KEY = "sandbox-api-key"


@dataclass(frozen=True, kw_only=True)
class SandboxSettings:
    """`latency` is read by `latency.Latency.parse`; `now` gives seconds since 1970 and ages tokens and keys."""

    control: bool = False
    seed: int = 0
    latency: str = "0"
    calls_per_minute: int = 1_000_000
    now: Callable[[], float] = time.time
