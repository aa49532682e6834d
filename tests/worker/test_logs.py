"""Logs as a worker process writes them: one event a line, tracebacks without values, the chatty ones quiet.

In a process of their own, because logging is configured once a process.
"""

import ast
import json
import subprocess
import sys
from typing import Any

import pytest

from tests.sources import ROOT, python_files
from worker.crypto import new_key
from worker.logs import FIELDS

PROGRAM = """
import logging, sys
import structlog
from worker.logs import configure
from worker.settings import Settings

names = ("DATABASE_URL", "REDIS_URL", "ENCRYPTION_KEYS", "BLIND_INDEX_KEY", "log_format", "log_level")
settings = Settings.model_validate(dict(zip(names, sys.argv[1:])))
configure(settings)
log = structlog.get_logger("worker.test")

def fail():
    canary = "a person's name"
    raise ValueError("boom")

structlog.contextvars.bind_contextvars(job="j1")
log.info("job.done", attempt=2)
log.debug("job.detail")
logging.getLogger("celery.worker").warning("lost %s", "broker")
logging.getLogger("celery.app.trace").info("too much")
logging.getLogger("httpx2").info("GET https://provider/?name=canary")
log.info("settings.read", settings=settings, license_number="canary", jobs={"name": "canary"})
try:
    fail()
except ValueError:
    log.exception("job.bug")
    logging.getLogger("celery").exception("unexpected")
log.info("two\\nlines")
"""


def lines(log_format: str, level: str = "INFO") -> list[str]:
    secrets = ["postgresql://app:canary@db/platform", "redis://:canary@cache/", f"k1:{new_key()}", new_key()]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *secrets, log_format, level], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert "canary" not in done.stderr
    assert "a person" not in done.stderr
    return done.stderr.splitlines()


@pytest.fixture(scope="module")
def logged() -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines("json")]


def test_an_event_is_one_line_of_json_with_its_fields(logged: list[dict[str, Any]]) -> None:
    first = logged[0]
    assert first.pop("timestamp").endswith("Z")
    assert first == {"event": "job.done", "attempt": 2, "job": "j1", "level": "info", "logger": "worker.test"}
    assert [line["event"] for line in logged] == [
        "job.done",
        "lost broker",
        "settings.read",
        "job.bug",
        "unexpected",
        "two\nlines",
    ], "details and chatter are left out"


def test_a_field_that_is_not_on_the_list_is_dropped(logged: list[dict[str, Any]]) -> None:
    line = next(line for line in logged if line["event"] == "settings.read")
    assert set(line) == {"event", "job", "level", "logger", "timestamp"}


def test_every_field_that_the_code_logs_is_on_the_list() -> None:
    """A field of a new event is looked at once, here, instead of being missed in the logs."""
    used: set[str] = set()
    for path in python_files():
        if path.is_relative_to(ROOT / "tests"):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="_log")), keywords=keywords):
                    used |= {keyword.arg or "**" for keyword in keywords}
    assert used - FIELDS == set()
    assert used, "looked at nothing"


def test_loggers_of_libraries_write_the_same_form(logged: list[dict[str, Any]]) -> None:
    line = next(line for line in logged if line["event"] == "lost broker")
    assert (line["level"], line["logger"], line["job"]) == ("warning", "celery.worker", "j1")
    assert line["timestamp"].endswith("Z")


@pytest.mark.parametrize("event", ["job.bug", "unexpected"])
def test_an_exception_lost_its_traceback_in_json(logged: list[dict[str, Any]], event: str) -> None:
    line = next(line for line in logged if line["event"] == event)
    trace = json.dumps(line)
    assert "ValueError" in trace
    assert "in fail" in trace or '"name": "fail"' in trace, "where it was raised"
    assert "traceback object" not in trace


def test_the_console_shows_tracebacks_without_values() -> None:
    shown = lines("console")
    assert any("job.done" in line and "attempt=2" in line and "job=j1" in line for line in shown)
    assert sum("ValueError: boom" in line for line in shown) == 2
    assert not any("\x1b[" in line for line in shown), "colours are for terminals"


@pytest.mark.parametrize(("level", "count"), [("DEBUG", 7), ("WARNING", 3), ("ERROR", 2)])
def test_the_level_says_what_is_written(level: str, count: int) -> None:
    assert len(lines("json", level)) == count
