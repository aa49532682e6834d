"""Who a process belongs to, as Linux lets one say it: prctl(2). Elsewhere nothing is said, and nothing is adopted."""

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

PR_SET_PDEATHSIG = 1  # linux/prctl.h
PR_SET_CHILD_SUBREAPER = 36

# Found before any fork: between fork and exec a child may take no lock, so it must not load a library.
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


def end_with(parent: int, number: signal.Signals) -> None:
    """For a child, after its fork: have the kernel send this signal when `parent` dies, however that happens."""
    if _prctl is not None:
        _prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)
        if os.getppid() != parent:  # it died before the kernel was asked
            os._exit(1)


@contextmanager
def adopting() -> Iterator[None]:
    """Inside, a descendant whose own parent ends becomes this process's child, rather than that of process 1."""
    if _prctl is not None:
        _prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        if _prctl is not None:
            _prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
