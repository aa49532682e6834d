"""Secrets from files: `DATABASE_URL_FILE=/run/secrets/database_url` stands for what is in that file.

The way of container platforms to hand over secrets: a file shows neither in a list of processes nor in what a
container's inspection prints, as a variable of the environment does.
"""

import os
from pathlib import Path

from worker.errors import Misconfigured

_LARGEST = 64_000
"""Characters. What is longer is no secret, but a file named by mistake."""


def secret(name: str) -> str | None:
    """The variable `name`, or what is in the file that `name`_FILE names, without its last line's end; else None.

    Raises `Misconfigured`, whose text names the variable and the file, never what is in it.
    """
    path = os.environ.get(f"{name}_FILE")
    if not path:
        return os.environ.get(name)
    if os.environ.get(name):
        raise Misconfigured(f"{name} is set, and so is {name}_FILE: set one of them")
    return _content(Path(path), f"{name}_FILE names {path}, which")


def _content(path: Path, which: str) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            value = file.read(_LARGEST + 1).rstrip("\r\n")
    except OSError as error:
        raise Misconfigured(f"{which} can't be read: {error.strerror}") from None
    except ValueError:  # its text repeats a part of the secret
        raise Misconfigured(f"{which} is not text in UTF-8") from None
    if not value:
        raise Misconfigured(f"{which} is empty")
    if len(value) > _LARGEST:
        raise Misconfigured(f"{which} is too large")
    return value
