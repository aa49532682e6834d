"""The command as an operator types it, on a test's own database."""

import json
import subprocess
from collections.abc import Callable
from typing import Any

from sqlalchemy import text

from worker.database import Database

Worker = Callable[..., subprocess.CompletedProcess[str]]


def said(answer: subprocess.CompletedProcess[str]) -> str:
    """What a command that went well printed."""
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr == ""
    return answer.stdout


def read(answer: subprocess.CompletedProcess[str]) -> Any:
    """What a command that went well printed as JSON."""
    return json.loads(said(answer))


def refused(answer: subprocess.CompletedProcess[str]) -> str:
    """The sentence of a command that was asked for what can't be done."""
    assert answer.returncode == 2, answer.stdout
    assert "Traceback" not in answer.stderr
    assert answer.stdout.strip() == ""
    return answer.stderr


def insert(db: Database, count: int = 1, **columns: object) -> list[str]:
    """Jobs as rows, with these columns; gives their ids."""
    names = ", ".join(["kind", "queue", *columns])
    values = ", ".join(["'test.run'", "'verification'", *(f":{name}" for name in columns)])
    statement = f"INSERT INTO job ({names}) SELECT {values} FROM generate_series(1, :count) RETURNING id"  # noqa: S608 - the tests' own names
    with db.transaction() as connection:
        return [str(id_) for id_ in connection.scalars(text(statement), {**columns, "count": count})]
