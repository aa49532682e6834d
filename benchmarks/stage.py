"""One contender at work: its database, its workers, whoever asks it for jobs, and whether it did them."""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from benchmarks.contenders import CHECKOUT, Contender
from benchmarks.place import Place
from benchmarks.processes import Fleet, running
from benchmarks.templates import Template
from worker.dev.sandbox import drivers

STALLED_S = 20.0
"""Nothing ends for longer than this: what is missing by then counts as lost."""

# What the ledger says, or the peers' rows; and how many drivers were verified as they should be, by the rows written.
_DONE = {True: "SELECT count(*) FROM job WHERE state = 'done'", False: "SELECT count(*) FROM request WHERE runs > 0"}
_WRITTEN = {
    True: """
        SELECT count(*) FROM driver
        WHERE external_verification_status = 'verified' AND (
            SELECT count(DISTINCT verification_type) FROM integration_verification_result AS result
            JOIN integration_request AS request ON request.id = result.request_id
            WHERE request.driver_id = driver.id AND request.request_status = 'completed') = 4
    """,
    False: """
        SELECT count(*) FROM driver JOIN request ON driver_id = driver.id
        WHERE verification_status = 'verified' AND request.status = 'completed' AND runs = 1
          AND (SELECT count(*) FROM result WHERE result.driver_id = driver.id) = 1
    """,
}


class Producer:
    """The process that asks for jobs, in the contender's own environment."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], logs: Path) -> None:
        self._log = logs / "producer.log"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environment, cwd=logs, text=True
            )

    def order(self, do: str, ids: Sequence[int] = (), per_second: float | None = None) -> list[float]:
        """Have something done; see `benchmarks.producer`."""
        assert self._process.stdin is not None  # noqa: S101 - both are pipes
        assert self._process.stdout is not None  # noqa: S101 - as above
        self._process.stdin.write(json.dumps({"do": do, "ids": list(ids), "per_second": per_second}) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the producer ended; its log ends with:\n{self._log.read_text()[-3000:]}")
        moments: list[float] = json.loads(answer)
        return moments

    def close(self) -> None:
        assert self._process.stdin is not None  # noqa: S101 - a pipe
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@dataclass(frozen=True, slots=True)
class Check:
    """What became of the jobs that were asked for. `doubled` had more than one call or run."""

    asked: int
    lost: int
    doubled: int

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.doubled)


class Stage:
    """What `open_stage` gives."""

    def __init__(
        self,
        place: Place,
        contender: Contender,
        drivers: Sequence[int],
        sql: psycopg.Connection,
        fleet: Fleet,
        producer: Producer,
    ) -> None:
        self.place = place
        self.contender = contender
        self.database = sql.info.dbname
        self.sql = sql
        self.fleet = fleet
        self._drivers = drivers
        self._producer = producer
        self.asked = 0

    def ask(self, jobs: int) -> list[float]:
        """For many at once, by the contender's best way."""
        return self._producer.order("many", self.next_drivers(jobs))

    def ask_one_by_one(self, jobs: int, per_second: float | None = None) -> list[float]:
        """Gives the moments at which each was asked for."""
        return self._producer.order("one", self.next_drivers(jobs), per_second)

    def ask_again(self, jobs: int, per_second: float) -> None:
        """About drivers from the beginning again, once all have had their turn."""
        ids = [self._drivers[(self.asked + n) % len(self._drivers)] for n in range(jobs)]
        self.asked += jobs
        self._producer.order("one", ids, per_second)

    def next_drivers(self, jobs: int) -> Sequence[int]:
        """Whom to ask about next. They count as asked for."""
        ids = self._drivers[self.asked : self.asked + jobs]
        if len(ids) < jobs:
            raise RuntimeError(f"{self.contender.name} is asked for more jobs than there are drivers")
        self.asked += jobs
        return ids

    def done(self) -> int:
        [(count,)] = self.sql.execute(_DONE[self.contender.is_ours]).fetchall()
        return int(count)

    def running_at(self, pid: int) -> int:
        """Jobs of ours that a worker process has claimed and not finished."""
        rows = self.sql.execute(
            "SELECT count(*) FROM job WHERE state = 'running' AND split_part(leased_by, ':', 2) = %s", [str(pid)]
        )
        [(count,)] = rows.fetchall()
        return int(count)

    def wait(self) -> float:
        """Until all that was asked for is done, or nothing ends any more; gives the moment of the last end."""
        seen, since = -1, time.monotonic()
        while True:
            self.fleet.check()
            # The provider is asked first: looking at the rows costs the database something.
            called = self.place.provider.count()
            now = called if called < self.asked else self.done() + called
            moment = time.monotonic()
            if now >= 2 * self.asked:
                return moment
            if now > seen:
                seen, since = now, moment
            elif moment > since + STALLED_S:
                return since
            time.sleep(0.02 if called < self.asked else 0.005)

    def check(self) -> Check:
        """Look at the rows and at what the provider was asked."""
        calls = self.place.provider.calls()
        [(written,)] = self.sql.execute(_WRITTEN[self.contender.is_ours]).fetchall()
        doubled = sum(len(times) > 1 for times in calls.values())
        return Check(self.asked, self.asked - max(self.done(), written), doubled)


@contextmanager
def open_stage(
    place: Place,
    contender: Contender,
    template: Template,
    *,
    latency_s: float,
    in_flight: int,
    warm_up: int = 0,
    lease_s: int = 30,
) -> Iterator[Stage]:
    """A fresh database, and the contender's workers on it, warmed up by so many jobs."""
    with ExitStack() as stack:
        database = stack.enter_context(place.copy_of(template.database))
        sockets = stack.enter_context(tempfile.TemporaryDirectory(dir=place.home.path))
        environment = {
            "DATABASE_URL": place.url(database),
            "WORKER_CALLS_IN_FLIGHT": str(in_flight),
            "WORKER_LEASE_S": str(lease_s),
            "WORKER_RENEW_EVERY_S": str(lease_s / 3),
            "BENCH_DATABASE_URL": place.url(database),
            "BENCH_REDIS_URL": place.redis_url,
            "BENCH_PROVIDER_URL": f"{place.provider.url}{drivers.PATH}",
            "BENCH_IN_FLIGHT": str(in_flight),
            "BENCH_SOCKETS": f"{sockets}/bare",
            "RQ_REDIS_URL": place.redis_url,
            "PYTHONPATH": str(CHECKOUT),
        }
        place.provider.reset(latency_s)
        everything = {**os.environ, **environment}
        if contender.module.endswith("procrastinate"):
            subprocess.run(  # noqa: S603 - our own command
                [*contender.producer[:2], "procrastinate", "--app", f"{contender.module}.app", "schema", "--apply"],
                env=everything, check=True, capture_output=True,
            )  # fmt: skip
        fleet = stack.enter_context(running(contender.programs(environment, in_flight), place.home.logs))
        producer = Producer(contender.producer, everything, place.home.logs)
        stack.callback(producer.close)
        sql = stack.enter_context(psycopg.connect(place.admin_url(database), autocommit=True))
        producer.order("start")
        stage = Stage(place, contender, template.drivers, sql, fleet, producer)
        if warm_up:
            stage.ask(warm_up)
            stage.wait()
        yield stage
