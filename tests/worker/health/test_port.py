"""The small port over real HTTP: what it answers, to whom, and that processes share a range of ports."""

import http.client
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from tests.waiting import until
from worker.cli.program import program
from worker.crypto import new_key
from worker.dev.system.ports import free_port
from worker.health.children import Child, Children
from worker.health.port import Answers, HealthPort
from worker.metrics import Metrics
from worker.settings import Settings


def settings_with(**values: object) -> Settings:
    return Settings.model_validate(
        {
            "DATABASE_URL": "postgresql://app@127.0.0.1:1/none",
            "REDIS_URL": "redis://127.0.0.1:1/0",
            "ENCRYPTION_KEYS": f"k1:{new_key()}",
            "BLIND_INDEX_KEY": new_key(),
            **values,
        }
    )


def ask(port: int, path: str, **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def answers(port: int) -> bool:
    try:
        return ask(port, "/healthz")[0] > 0
    except OSError:
        return False


@contextmanager
def listening(answers_: Answers, **values: object) -> Iterator[int]:
    port = free_port()
    health = HealthPort(settings_with(health_port=str(port), **values), answers_)
    health.start()
    try:
        until(lambda: answers(port))
        yield port
    finally:
        health.close()


def well() -> Mapping[str, str]:
    return {}


WELL = Answers(lambda: b"a_metric 1\n", well, well)


def test_it_tells_metrics_health_and_readiness() -> None:
    with listening(WELL) as port:
        assert ask(port, "/metrics") == (200, "a_metric 1\n")
        assert ask(port, "/healthz") == (200, '{"status":"alive"}')
        assert ask(port, "/readyz?probe=1") == (200, '{"status":"ready"}')
        assert ask(port, "/")[0] == 404


def test_what_is_wrong_is_named() -> None:
    with listening(Answers(bytes, lambda: {"dispatcher": "silent"}, lambda: {"database": "away"})) as port:
        assert ask(port, "/healthz") == (503, '{"status":"stuck","because":{"dispatcher":"silent"}}')
        assert ask(port, "/readyz") == (503, '{"status":"not ready","because":{"database":"away"}}')


def test_a_question_that_fails_is_answered_and_the_next_one_too() -> None:
    def fail() -> Mapping[str, str]:
        raise RuntimeError("a person's name")

    with listening(Answers(bytes, fail, well)) as port:
        assert ask(port, "/healthz") == (500, '{"status":"failed"}')
        assert ask(port, "/readyz")[0] == 200


def test_metrics_are_for_this_machine_or_for_who_shows_the_token() -> None:
    with listening(WELL) as port:
        assert ask(port, "/metrics", X_Forwarded_For="127.0.0.1")[0] == 403
    with listening(WELL, metrics_token="a-token-of-monitoring") as port:
        assert ask(port, "/metrics")[0] == 403
        assert ask(port, "/metrics", Authorization="Bearer a-token-of-monitoring")[0] == 200
        assert ask(port, "/healthz")[0] == 200


def test_who_asks_slowly_keeps_nobody_from_asking() -> None:
    with listening(WELL) as port, socket.create_connection(("127.0.0.1", port)) as slow:
        slow.send(b"GET /met")
        assert ask(port, "/healthz")[0] == 200


def test_processes_share_a_range_and_a_port_that_becomes_free_is_taken() -> None:
    port = free_port()
    settings = settings_with(health_port=str(port))
    first = HealthPort(settings, Answers(lambda: b"first", well, well))
    second = HealthPort(settings, Answers(lambda: b"second", well, well))
    first.start()
    until(lambda: answers(port))
    second.start()
    assert ask(port, "/metrics") == (200, "first")
    first.close()
    until(lambda: answers(port))
    assert ask(port, "/metrics") == (200, "second")
    second.close()


@pytest.mark.parametrize("ports", ["0", "70000", "9110-9101", "9101-", "a", "9101-9102-9103"])
def test_a_port_that_is_none_is_refused_at_the_start(ports: str) -> None:
    with pytest.raises(ValidationError, match="health_port"):
        settings_with(health_port=ports)


def test_a_range_is_what_it_says() -> None:
    assert list(settings_with(health_port="9101-9103").health_ports) == [9101, 9102, 9103]
    assert list(settings_with().health_ports) == []


def test_worker_health_is_an_exit_status() -> None:
    def exit_status(port: int, *options: str) -> int:
        return CliRunner().invoke(program, ["health", "--port", str(port), *options]).exit_code

    with listening(Answers(bytes, well, lambda: {"database": "away"})) as port:
        assert exit_status(port) == 0
        assert exit_status(port, "--ready") == 1
    assert exit_status(port) == 1, "nobody answers"


def test_children_are_told_apart_and_a_silent_one_is_seen() -> None:
    children = Children()
    for number in (0, 1):
        metrics = Metrics()
        metrics.ended("a.b", [("done", None)] * (number + 1), 0.1)
        Child(children.directory, number, {"metrics": metrics.text, "stuck": lambda: b"{}"})
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(children.directory / "2"))  # nobody listens
        said = children.metrics().decode()
        assert 'worker_jobs_ended_total{child="0",kind="a.b",outcome="done"} 1.0' in said
        assert 'worker_jobs_ended_total{child="1",kind="a.b",outcome="done"} 2.0' in said
        assert said.count("# TYPE worker_jobs_ended_total counter") == 1
        assert children.ask_json("stuck") == {0: {}, 1: {}, 2: None}
    children.close()
    assert not Path(children.directory).exists()


def test_a_child_whose_parent_has_cleaned_up_ends_in_silence() -> None:
    """At its end it removed its socket once more, and printed that there was none."""
    code = """
from worker.health.children import Child, Children
children = Children()
Child(children.directory, 0, {})
children.close()
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stderr == ""
