"""Who gets the CPU first where there is not enough for all: programs that somebody waits for, before those that work in
the background.

Where Linux groups tasks automatically, as it does almost everywhere, it shares the CPU among sessions; a nice value
counts only within one. Each of our programs is a session, and so is each connection of PostgreSQL, so the session's own
value is set too. sched(7), "The autogroup feature".
"""

import os
from contextlib import suppress

NICE = 10
"""A tenth of the CPU beside one with the normal 0 that wants as much; all of it where nobody else wants any."""


def step_back(session: int) -> bool:
    """Have all processes of a session leave the CPU to others; False if the kernel wants to be asked again, later."""
    with suppress(ProcessLookupError):
        if os.getpriority(os.PRIO_PROCESS, session) < NICE:  # whoever started us may have said more
            os.setpriority(os.PRIO_PGRP, session, NICE)
    try:
        group = os.open(f"/proc/{session}/autogroup", os.O_WRONLY)
        try:
            os.write(group, str(NICE).encode())
        finally:
            os.close(group)
    except (BlockingIOError, PermissionError):
        # Without privileges, one session in a tenth of a second; and who came to its user by setuid(2) is not let near
        # a process that is just about to become another program.
        return False
    except OSError:
        pass  # it has ended, or there are no such groups here
    return True
