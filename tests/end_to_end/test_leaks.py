"""`worker check leaks` on a whole, talkative system: nothing personal leaves PostgreSQL, and a leak is found."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread

import psycopg
import pytest

from tests.cli.processes import clean_environment, processes_of, run_worker, start_worker
from tests.waiting import in_thread, until

pytestmark = [pytest.mark.end_to_end, pytest.mark.kills]


SEARCHED_FOR = (
    *("first name", "last name", "birth date", "American birth date", "street", "city", "licence number", "VIN"),
    *("household member", "owner", "owner's number", "title number", "alias", "offence", "word"),
    *("database password", "Redis password", "Flower password", "encryption key", "blind index key"),
    *("client_secret", "provider's access token", "client secret", "access token"),
)


OF_A_RUN = ("verification.verify", "act", "provider", "save")
"""Spans of a job from its claim to its end."""


@dataclass(frozen=True)
class System:
    home: Path
    said: str
    spans: Path

    def check(self, within: str = "5s") -> subprocess.CompletedProcess[str]:
        where = {
            name: found[1]
            for name in ("API", "Flower")
            if (found := re.search(rf"^{name} +(http://\S+)", self.said, re.MULTILINE))
        }
        health = next(line for line in self.said.splitlines() if line.startswith("Health"))
        ports = re.findall(r"[\w-]+ (\d+)(?:,|$)", health)
        login = re.search(r"user (\S+), password (\S+)\)", self.said)
        assert login is not None
        assert len(ports) == 4, f"three workers and the API: {health}"
        return run_worker(
            *("check", "leaks", "--within", within, "--flower", where["Flower"], "--api", where["API"]),
            *(f"--log={log}" for log in (self.spans, self.home / "log", *(self.home / "servers").glob("*.log"))),
            *(f"--page=http://127.0.0.1:{port}/{page}" for port in ports for page in ("metrics", "readyz")),
            cwd=self.home.parent,
            environment=clean_environment(WORKER_HOME=str(self.home), FLOWER_BASIC_AUTH=f"{login[1]}:{login[2]}"),
        )

    def as_owner(self, statement: str) -> None:
        variables = dict(line.split("=", 1) for line in (self.home / "env").read_text().splitlines())
        with psycopg.connect(variables["MIGRATION_DATABASE_URL"], autocommit=True) as connection:
            connection.execute(statement.encode())

    def kill_worker(self) -> None:
        (line,) = (line for line in processes_of(self.home) if "worker-1@" in line)
        os.kill(int(line.split()[0]), signal.SIGKILL)

    def missing(self, *names: str) -> list[str]:
        """Those of these spans that the collector has not been sent: a name has its length before it."""
        sent = self.spans.read_bytes()
        return [name for name in names if b"*%c%b" % (len(name), name.encode()) not in sent]


@contextmanager
def collector(spans: Path) -> Iterator[str]:
    """What a collector of OpenTelemetry is sent over HTTP, as it comes: protobuf leaves text as it is."""
    lock = Lock()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers["Content-Length"]))
            with lock, spans.open("ab") as file:
                file.write(str(self.headers).encode() + sent)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *_: object) -> None:
            """Not a line for each."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    home = tmp_path_factory.mktemp("leaks") / "home"
    spans = home.parent / "spans"
    spans.touch()
    up = ("up", "--home", str(home), "--workers", "1", "--port", "0", "--flower-port", "0")
    with (
        collector(spans) as endpoint,
        start_worker(
            *up,
            cwd=home.parent,
            environment=clean_environment(
                WORKER_LOG_LEVEL="DEBUG", OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_BSP_SCHEDULE_DELAY="200"
            ),
        ) as process,
    ):
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if "Try in another terminal" in line:
                break
        system = System(home, said, spans)
        system.as_owner("UPDATE integration_configuration SET timeout_seconds = 1, retry_attempts = 1")
        yield system
        process.terminate()


def test_nothing_personal_is_found_outside_of_postgresql_even_after_a_crash(system: System) -> None:
    answer = in_thread(system.check)
    # A worker that is killed takes the spans along that it has not sent yet, and the next one may find nothing to do.
    until(lambda: not system.missing(*OF_A_RUN), timeout_s=90)
    system.kill_worker()
    done = answer()
    assert done.returncode == 0, done.stdout + done.stderr
    for place in ("MONITOR", "Redis", "dump", "file", "page", "table", *SEARCHED_FOR):
        assert re.search(rf"^{place} +[1-9]\d*\b", done.stdout, re.MULTILINE), f"{place}: {done.stdout}"
    assert "Nobody was asked" not in done.stdout
    assert " 0 places" in done.stdout
    assert system.missing("/oauth2/token", *OF_A_RUN) == []


def test_a_leak_is_found_and_named_without_being_repeated(system: System) -> None:
    system.as_owner("""
        CREATE FUNCTION leak() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          INSERT INTO audit_logs (action, resource_type, details)
          VALUES ('a', 'r', jsonb_build_object('who', upper(NEW.last_name)));
          RETURN NULL;
        END $$;
        CREATE TRIGGER leak AFTER INSERT ON driver FOR EACH ROW EXECUTE FUNCTION leak()
    """)
    done = system.check(within="2s")
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(r"table audit_logs +last name\s*$", done.stdout, re.MULTILINE), done.stdout
    assert " 1 places" in done.stdout
