"""Which way root has to start the servers on this machine."""

import os
from pathlib import Path
from tempfile import gettempdir

import pytest

from worker.dev.embedded import binaries, placement


def _data_moves() -> bool:
    """Root, below a closed home, where no user namespace can be made: a chroot, or a container's default."""
    if os.geteuid() != 0:
        return False
    home = Path(gettempdir()) / "pytest-of-root" / "home"
    return placement.choose(binaries.find(), home).home != home


data_stays_here = pytest.mark.skipif(
    _data_moves(), reason="root must keep its data below /var/lib here; the test looks into a home where it was put"
)
