"""Programs forked from a nursery are what `python -m` would have made of them, and outlive it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.processes import processes_of
from tests.waiting import until
from worker.dev.system import parts
from worker.dev.system.child import Child, Program
from worker.dev.system.nursery import Nursery, NurseryLost
from worker.dev.system.supervisor import Supervisor

pytestmark = [
    pytest.mark.kills,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a launcher adopt what another has forked"),
]

# Tells what a program can know of itself, and waits for what its last argument says.
PROGRAM = """
import json, os, random, resource, signal, socket, sys, threading
print(json.dumps({
    "facts": {
        "name": __name__, "argv": sys.argv, "main": sys.modules["__main__"].__dict__["PROGRAM"],
        "directory": os.getcwd(), "environment": {k: v for k, v in os.environ.items() if k != "LC_CTYPE"},
        "launcher": os.getppid(), "leads": os.getsid(0) == os.getpid(), "umask": os.umask(0o22),
        "files": sorted(os.listdir("/proc/self/fd"))[:-1], "input": sys.stdin.read(),
        "encodings": [sys.stdout.encoding, sys.stderr.encoding], "buffered": not sys.stdout.write_through,
        "threads": threading.active_count(), "native": len(os.listdir("/proc/self/task")),
        "handlers": {number: str(signal.getsignal(number)) for number in signal.valid_signals() if number < 32},
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())), "collects": __import__("gc").isenabled(),
        "command": open("/proc/self/cmdline").read().replace(chr(0), " ").strip(),
    },
    "random": random.random(), "preloaded": "colorsys" in sys.modules,
}), flush=True)
if sys.argv[-1] == "wait":
    signal.pause()
sys.exit(int(sys.argv[-1]))
"""


@pytest.fixture
def nursery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nursery]:
    (tmp_path / "a_program.py").write_text("PROGRAM = True\n" + PROGRAM)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    nursery = Nursery(("colorsys",))
    monkeypatch.setenv("LATER", "than the nursery")
    yield nursery
    nursery.close()


def program(name: str, *arguments: str) -> Program:
    return Program(name, (sys.executable, "-m", "a_program", *arguments), {"SECRET": "not for the command line"})


def told(child: Child) -> dict[str, Any]:
    until(lambda: child.log.read_text().endswith("\n"), 30)
    last: dict[str, Any] = json.loads(child.log.read_text().splitlines()[-1])
    return last


def test_a_forked_program_knows_nothing_that_an_executed_one_does_not(tmp_path: Path, nursery: Nursery) -> None:
    forked, executed = (Child(program(f"{way}", "a b", "3"), tmp_path, way) for way in (nursery, None))
    told(forked), told(executed)
    for child in (forked, executed):
        child.wait(20)
        assert child.ended() == 3
    assert told(forked)["facts"] == told(executed)["facts"]
    assert (told(forked)["preloaded"], told(executed)["preloaded"]) == (True, False)
    assert told(forked)["facts"]["launcher"] == os.getpid()


def test_forks_do_not_share_their_random_numbers(tmp_path: Path, nursery: Nursery) -> None:
    one, other = (Child(program(name, "0"), tmp_path, nursery) for name in ("one", "other"))
    assert told(one)["random"] != told(other)["random"]


def test_a_forked_program_ends_as_any_other(tmp_path: Path, nursery: Nursery) -> None:
    asked, killed = (Child(program(name, "wait"), tmp_path, nursery) for name in ("asked", "killed"))
    told(asked), told(killed)
    assert asked.ended() is None
    asked.terminate()
    asked.wait(20)
    killed.wait(0.01)  # outstays its grace
    assert (asked.ended(), killed.ended()) == (-signal.SIGTERM, -signal.SIGKILL)
    assert [line for line in processes_of(tmp_path) if "a_program" in line] == []


def test_a_forked_program_can_be_killed_at_once(tmp_path: Path, nursery: Nursery) -> None:
    for number in range(10):  # its group must be there by then
        child = Child(program(f"child-{number}", "wait"), tmp_path, nursery)
        child.kill()
        assert child.ended() == -signal.SIGKILL


def test_what_a_nursery_has_started_outlives_it_and_is_started_again_without(tmp_path: Path, nursery: Nursery) -> None:
    child = Child(program("child", "wait"), tmp_path, nursery)
    assert told(child)["preloaded"]
    nursery.close()
    assert child.ended() is None
    child.kill()
    child.log.unlink()
    child.restart()
    assert not told(child)["preloaded"]
    child.kill()


def test_a_nursery_that_was_killed_is_said_once_and_done_without(tmp_path: Path, nursery: Nursery) -> None:
    said: list[str] = []
    nursery.wait_until_ready()
    os.kill(nursery.pid, signal.SIGKILL)
    with Supervisor(tmp_path, said.append, nursery) as supervisor:
        supervisor.start(program("one", "wait"), program("other", "wait"))
        logs = [tmp_path / "one.log", tmp_path / "other.log"]
        until(lambda: all('"preloaded": false' in log.read_text() for log in logs), 30)
    assert said == ["the nursery of processes died or hangs; every program now imports for itself"]


def test_a_nursery_without_its_modules_is_lost(tmp_path: Path) -> None:
    nursery = Nursery(("no_such_module",))
    nursery.wait_until_ready()
    with pytest.raises(NurseryLost):
        nursery.start("a_program", (), {}, tmp_path / "log")
    nursery.close()


LAUNCHER = """
import sys, time
from pathlib import Path
from worker.dev.system.child import Program
from worker.dev.system.nursery import Nursery
from worker.dev.system.supervisor import Supervisor
home = Path(sys.argv[1])
with Supervisor(home, print, Nursery(())) as supervisor:
    supervisor.start(Program("child", (sys.executable, "-m", "a_program", "wait")))
    while not (home / "child.log").read_text():
        time.sleep(0.01)
    print("started", flush=True)
    time.sleep(600)
"""


def test_nursery_and_forks_die_with_a_launcher_that_was_killed(tmp_path: Path, nursery: Nursery) -> None:
    nursery.close()  # the launcher has its own
    launcher = subprocess.Popen([sys.executable, "-c", LAUNCHER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    with launcher:
        assert launcher.stdout is not None
        assert launcher.stdout.readline() == "started\n"
        assert len(processes_of(tmp_path)) == 3
        os.kill(launcher.pid, signal.SIGKILL)
    until(lambda: processes_of(tmp_path) == [], 30)


CLEAN = """
import gc, json, os, sys, threading
from worker.settings import load_settings
print(json.dumps([len(os.listdir("/proc/self/task")), sorted(os.listdir("/proc/self/fd"))[:-1],
    load_settings.cache_info().currsize, "worker.app" in sys.modules, gc.get_freeze_count() > 100_000]), flush=True)
"""


def test_what_the_system_imports_before_it_forks_leaves_no_thread_no_file_and_no_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "clean.py").write_text(CLEAN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    nursery = Nursery(parts.IMPORTED_BY_SEVERAL)
    child = Child(Program("clean", (sys.executable, "-m", "clean")), tmp_path, nursery)
    until(lambda: child.log.read_text().endswith("\n"), 60)
    nursery.close()
    assert json.loads(child.log.read_text()) == [1, ["0", "1", "2"], 0, False, True]
