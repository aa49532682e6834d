"""Maintenance beside its own floor: a script for each kind, one after the other.

Each compares its kind with the same rows read and written, or deleted, without the kind's own work, in one run, and
ends with a sentence. Those that need the tests' fixtures stand with the tests.
"""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.contenders import CHECKOUT

_RETENTION = ("benchmarks.maintenance", "floor", "--rounds", "1", "--rows")

FULL: dict[str, tuple[str, ...]] = {
    "keys": ("tests.tasks.keys.speed", "--rows", "50000"),
    "masking": ("tests.tasks.masking.speed", "--rows", "20000"),
    "rating": ("tests.tasks.rating.speed", "--quotes", "20000", "--passes", "2"),
    "retention": (*_RETENTION, "100000"),
    "tokens": ("tests.tasks.tokens.speed", "--rows", "100000"),
}
QUICK: dict[str, tuple[str, ...]] = {
    "keys": ("tests.tasks.keys.speed", "--rows", "2000"),
    "masking": ("tests.tasks.masking.speed", "--rows", "1000", "--batch", "250"),
    "rating": ("tests.tasks.rating.speed", "--quotes", "1000", "--passes", "1", "--processes", "1"),
    "retention": (*_RETENTION, "5000"),
    "tokens": ("tests.tasks.tokens.speed", "--rows", "5000", "--rounds", "1"),
}


@dataclass(frozen=True, slots=True)
class Floor:
    """What a script said last."""

    what: str
    said: str


def measured(*, is_quick: bool) -> Iterator[Floor]:
    for what, script in (QUICK if is_quick else FULL).items():
        done = subprocess.run(  # noqa: S603 - our own scripts
            [sys.executable, "-m", *script], cwd=CHECKOUT, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{script[0]} failed:\n{done.stderr[-3000:]}")
        yield Floor(what, done.stdout.strip().splitlines()[-1])
