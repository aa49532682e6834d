"""Programs in the background leave the CPU to those that somebody waits for."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import until
from worker.dev.system import parts
from worker.dev.system.child import Child, Program
from worker.dev.system.precedence import NICE, step_back

SLEEPER = (sys.executable, "-c", "import signal; signal.pause()")
NOBODY = 65534

pytestmark = pytest.mark.kills


def place_of(session: int) -> tuple[int, int | None]:
    """Its nice value, and that of its group, where there are groups."""
    group = Path(f"/proc/{session}/autogroup")
    return os.getpriority(os.PRIO_PROCESS, session), int(group.read_text().split()[-1]) if group.exists() else None


def behind() -> tuple[int, int | None]:
    return max(NICE, os.getpriority(os.PRIO_PROCESS, 0)), NICE if Path("/proc/self/autogroup").exists() else None


def test_a_child_steps_back_and_does_so_again_after_a_restart(tmp_path: Path) -> None:
    sleeper = Child(Program("sleeper", SLEEPER, steps_back=True), tmp_path)

    def is_behind() -> bool:
        sleeper.tend()
        return place_of(sleeper.pid) == behind()

    try:
        until(is_behind)
        os.kill(sleeper.pid, signal.SIGKILL)
        until(lambda: sleeper.ended() is not None)
        sleeper.tend()
        sleeper.restart()
        until(is_behind)
    finally:
        sleeper.kill()


def test_a_child_that_somebody_waits_for_stays_where_it_is(tmp_path: Path) -> None:
    sleeper = Child(Program("sleeper", SLEEPER), tmp_path)
    try:
        before = place_of(sleeper.pid)
        sleeper.tend()
        assert place_of(sleeper.pid) == before
    finally:
        sleeper.kill()


def test_without_privileges_the_kernel_is_asked_until_it_obeys() -> None:
    """It moves one session in a tenth of a second, whoever asked before."""
    assert places_without_privileges(sessions=3, started_at=0) == [str(behind())] * 3


def test_a_system_started_at_an_even_lower_priority_could_not_be_tended() -> None:
    """Nobody may raise a priority without privileges, and 10 is more than 15."""
    assert places_without_privileges(sessions=1, started_at=15) == [str((15, behind()[1]))]


def places_without_privileges(sessions: int, started_at: int) -> list[str]:
    command = [sys.executable, "-c", UNPRIVILEGED, str(sessions), str(started_at)]
    report = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert report.returncode == 0, report.stderr
    return report.stdout.splitlines()


UNPRIVILEGED = f"""
import os, subprocess, sys, time
from tests.cli.test_precedence import place_of
from worker.dev.system.precedence import step_back
os.setpriority(os.PRIO_PROCESS, 0, int(sys.argv[2]))
if os.getuid() == 0:
    os.setuid({NOBODY})
sleepers = [subprocess.Popen(["sleep", "60"], start_new_session=True) for _ in range(int(sys.argv[1]))]
try:
    waiting = list(sleepers)
    deadline = time.monotonic() + 30
    while waiting and time.monotonic() < deadline:
        waiting = [sleeper for sleeper in waiting if not step_back(sleeper.pid)]
    for sleeper in sleepers:
        print(place_of(sleeper.pid))
finally:
    for sleeper in sleepers:
        sleeper.kill()
"""


def test_a_process_that_was_not_to_be_touched_for_a_moment_kept_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was taken for one that has no group."""

    def refused(*_: object) -> int:
        raise PermissionError

    sleeper = subprocess.Popen(SLEEPER, start_new_session=True)
    try:
        monkeypatch.setattr(os, "open", refused)
        assert not step_back(sleeper.pid)
        monkeypatch.undo()
        until(lambda: step_back(sleeper.pid))
        assert place_of(sleeper.pid) == behind()
    finally:
        sleeper.kill()
        sleeper.wait()


def test_a_process_that_has_ended_needs_no_place() -> None:
    ended = subprocess.Popen(SLEEPER, start_new_session=True)
    ended.kill()
    ended.wait()
    assert step_back(ended.pid)


def test_of_the_programs_of_a_system_only_the_api_stays_ahead() -> None:
    background = [
        parts.sandbox(1),
        parts.verification_worker(1),
        parts.rating_worker(1),
        parts.maintenance_worker(1),
        parts.flower(1, "secret"),
    ]
    assert all(program.steps_back for program in background)
    assert not parts.api(1).steps_back
