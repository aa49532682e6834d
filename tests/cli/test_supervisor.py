"""Children of `worker up`: watched, restarted, ended in order, and never left behind."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.cli.processes import processes_of
from worker.dev.system import child
from worker.dev.system.child import Child, Program
from worker.dev.system.interruption import Forced, Interrupted
from worker.dev.system.supervisor import Supervisor, wait_after

# Says when it is ready, and writes its name to a file when it is asked to end.
POLITE = """
import pathlib, signal, sys
def end(*_):
    with open("ended", "a") as ended: ended.write(sys.argv[1] + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
while True: signal.pause()
"""
STUBBORN = """
import signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
grandchild = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
print("ready", flush=True)
while True: signal.pause()
"""

pytestmark = pytest.mark.kills


def program(code: str, name: str, grace_s: float = 20) -> Program:
    return Program(name, (sys.executable, "-c", code, name), {"OWNED_BY": "test"}, grace_s)


def eventually(is_true: Callable[[], bool], otherwise: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not is_true():
        assert time.monotonic() < deadline, otherwise()
        time.sleep(0.01)


def until_ready(logs: Path, *names: str) -> None:
    for name in names:
        log = logs / f"{name}.log"
        eventually(partial(says_ready, log), log.read_text)


def says_ready(log: Path) -> bool:
    return "ready" in log.read_text()


def test_tiers_end_in_the_opposite_order_of_their_start(tmp_path: Path) -> None:
    with Supervisor(tmp_path, print) as supervisor:
        for name in ("servers", "workers", "api"):
            supervisor.start(program(POLITE, name))
        until_ready(tmp_path, "servers", "workers", "api")
    assert (tmp_path / "ended").read_text().split() == ["api", "workers", "servers"]
    assert processes_of(tmp_path) == []


def test_whoever_outstays_the_grace_is_killed_with_its_children(tmp_path: Path) -> None:
    with Supervisor(tmp_path, print) as supervisor:
        supervisor.start(program(STUBBORN, "stubborn", grace_s=0.1))
        until_ready(tmp_path, "stubborn")
        assert len(processes_of(tmp_path)) == 2
    eventually(lambda: processes_of(tmp_path) == [], lambda: processes_of(tmp_path))


@pytest.mark.parametrize("hurry", [Interrupted, Forced])
def test_whoever_is_in_a_hurry_gets_children_killed_unasked(hurry: type[BaseException], tmp_path: Path) -> None:
    with contextlib.suppress(hurry), Supervisor(tmp_path, print) as supervisor:
        supervisor.start(program(POLITE, "polite"), program(STUBBORN, "stubborn"))
        until_ready(tmp_path, "polite", "stubborn")
        raise hurry
    assert not (tmp_path / "ended").exists()
    eventually(lambda: processes_of(tmp_path) == [], lambda: processes_of(tmp_path))


def test_a_child_that_dies_is_said_and_started_again(tmp_path: Path) -> None:
    said: list[str] = []
    with Supervisor(tmp_path, said.append) as supervisor:
        supervisor.start(Program("mortal", (sys.executable, "-c", "print('lived', flush=True); raise SystemExit(3)")))

        def lived_twice() -> bool:
            supervisor.tend()
            return (tmp_path / "mortal.log").read_text().count("lived") >= 2

        eventually(lived_twice, lambda: said)
    assert said[0].startswith("mortal ended with status 3; starting it again in 1 s")
    assert str(tmp_path / "mortal.log") in said[0]


def test_a_child_that_keeps_dying_waits_longer_each_time() -> None:
    assert [wait_after(deaths) for deaths in range(1, 8)] == [1, 2, 4, 8, 16, 30, 30]


def test_a_log_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "LOG_BYTES", 1000)
    # Writes more when it is asked to, into the file that was cut meanwhile.
    code = POLITE.replace('print("ready"', 'print("x" * 2000 + "ready"').replace("sys.exit(0)", 'sys.exit("after")')
    talker = Child(program(code, "talker"), tmp_path)
    until_ready(tmp_path, "talker")
    talker.tend()
    assert talker.log.stat().st_size == 0
    assert talker.log.with_suffix(".log.1").read_text() == f"{'x' * 2000}ready\n"
    talker.terminate()
    talker.wait(20)
    assert talker.log.read_text() == "after\n"


LAUNCHER = """
import sys, time
from pathlib import Path
from worker.dev.system.child import Program
from worker.dev.system.supervisor import Supervisor
home, code = Path(sys.argv[1]), sys.argv[2]
with Supervisor(home, print) as supervisor:
    supervisor.start(Program("polite", (sys.executable, "-c", code, "polite")))
    while "ready" not in (home / "polite.log").read_text():
        time.sleep(0.01)
    print("started", flush=True)
    time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has died")
def test_children_die_with_a_launcher_that_was_killed(tmp_path: Path) -> None:
    launcher = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(tmp_path), POLITE], stdout=subprocess.PIPE, text=True
    )
    with launcher:
        assert launcher.stdout is not None
        assert launcher.stdout.readline() == "started\n"
        os.kill(launcher.pid, signal.SIGKILL)
    eventually(lambda: processes_of(tmp_path) == [], lambda: processes_of(tmp_path))
