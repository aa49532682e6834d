"""Which way root has to start the servers on this machine."""

import os

import pytest

from worker.dev.embedded import placement

_data_moves = os.geteuid() == 0 and not placement._namespaces_work()
"""Root, whose temporary directories are closed to others, where no user namespace can be made: in a chroot, say."""

data_stays_here = pytest.mark.skipif(
    _data_moves, reason="root must keep its data below /var/lib here; the test looks into a home where it was put"
)
