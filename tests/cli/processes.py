"""Running the command as a user would, and finding what it left running."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

SERVERS_OF_OTHERS = (
    "DATABASE_URL", "MIGRATION_DATABASE_URL", "REDIS_URL", "BROKER_URL", "ENCRYPTION_KEYS", "BLIND_INDEX_KEY",
    "WORKER_HOME",
)  # fmt: skip

COMMAND = (sys.executable, "-m", "worker")


def clean_environment(**variables: str) -> dict[str, str]:
    """This process's environment without anything that configures a system, plus `variables`."""
    return {name: value for name, value in os.environ.items() if name not in SERVERS_OF_OTHERS} | variables


def run_worker(
    *arguments: str, cwd: Path, environment: Mapping[str, str], program: str = "worker"
) -> subprocess.CompletedProcess[str]:
    """`program` is a module that is run."""
    return subprocess.run(
        [sys.executable, "-m", program, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def start_worker(*arguments: str, cwd: Path, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    """In a session of its own, its output in one pipe."""
    return subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def processes_of(place: Path) -> list[str]:
    """Running processes with `place` in their command line, their environment or as their working directory."""
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal() or int(process.name) == os.getpid():
            continue
        try:
            command = (process / "cmdline").read_bytes()
            facts = command + (process / "environ").read_bytes() + os.fsencode((process / "cwd").readlink())
        except (OSError, ValueError):
            continue  # it ended meanwhile, or is a kernel thread
        if command and os.fsencode(place) in facts:
            found.append(f"{process.name} {command.replace(bytes(1), b' ').decode()}")
    return found
