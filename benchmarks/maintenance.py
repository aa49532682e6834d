"""Maintenance beside its own floor: the scripts that stand with the tests of each kind, one after the other.

Each compares its kind with the same rows read and written without the kind's own work, in one run, and ends with a
sentence. What they need of fixtures is the tests', so that is where they stand.
"""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.contenders import CHECKOUT

FULL: dict[str, tuple[str, ...]] = {"rating": ("--quotes", "20000", "--passes", "2")}
QUICK: dict[str, tuple[str, ...]] = {"rating": ("--quotes", "1000", "--passes", "1", "--processes", "1")}


@dataclass(frozen=True, slots=True)
class Floor:
    """What a script said last."""

    what: str
    said: str


def floors(*, is_quick: bool) -> Iterator[Floor]:
    for script in sorted((CHECKOUT / "tests" / "tasks").glob("*/speed.py")):
        what = script.parent.name
        arguments = (QUICK if is_quick else FULL).get(what, ())
        done = subprocess.run(  # noqa: S603 - our own scripts
            [sys.executable, "-m", f"tests.tasks.{what}.speed", *arguments],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"tests.tasks.{what}.speed failed:\n{done.stderr[-3000:]}")
        yield Floor(what, done.stdout.strip().splitlines()[-1])
