"""One lock for a home: held by the launcher and by every server it started, until the last of them is gone.

A server inherits the open lock file, and with it the lock. So whoever gets the lock knows that nothing runs on these
files, and may remove what a crash left behind.
"""

import os
import time
from pathlib import Path

from worker.errors import Misconfigured

WAIT_S = 15.0
"""How long a launcher waits for its predecessor: enough for servers that are writing out their last data."""


def acquire(home: Path) -> int:
    """Take the lock of `home` and return its open file; Misconfigured when others keep it for WAIT_S."""
    import fcntl  # here, because Windows has none and its users should get the sentence of binaries.py instead

    lock = os.open(home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                holder = os.pread(lock, 32, 0).decode(errors="replace").strip()
                os.close(lock)
                raise Misconfigured(_in_use(home, holder)) from None
            time.sleep(0.05)
        else:
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
            return lock


def _in_use(home: Path, holder: str) -> str:
    if not holder.isdecimal():
        return f"{home} is in use by another launcher"
    try:
        os.kill(int(holder), 0)
    except ProcessLookupError:
        return f"{home} is in use by servers that outlived their launcher, process {holder}: end them first"
    except PermissionError:
        pass  # it lives and belongs to somebody else
    return f"{home} is in use by another launcher, process {holder}"
