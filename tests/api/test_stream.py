"""POST /v1/verifications:batch as lines: answered as they come, in bounded memory, whatever is wrong with some."""

import http.client
import json
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from tests.api.clients import Upstream, add_client, token_of
from tests.api.served import Api
from tests.api.test_verifications import question, rows
from worker.api.batch import NDJSON
from worker.api.lines import LINE_MAX, LINES_AT_ONCE
from worker.database import Database

PATH = "/v1/verifications:batch"


class Stream:
    """A request whose lines are sent, and whose answers are read, one by one."""

    def __init__(self, upstream: Upstream) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", upstream.api.port, timeout=30)
        self._connection.putrequest("POST", PATH)
        for name, value in (
            ("Authorization", f"Bearer {upstream.token}"),
            ("Content-Type", NDJSON),
            ("Transfer-Encoding", "chunked"),
        ):
            self._connection.putheader(name, value)
        self._connection.endheaders()
        self._answer: http.client.HTTPResponse | None = None

    def send(self, *lines: object) -> None:
        raw = b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines)
        self._connection.send(b"%x\r\n%s\r\n" % (len(raw), raw))

    def end(self) -> None:
        self._connection.send(b"0\r\n\r\n")

    def read(self, count: int) -> list[dict[str, Any]]:
        if self._answer is None:
            self._answer = self._connection.getresponse()
            assert self._answer.status == 200
            assert self._answer.getheader("content-type") == NDJSON
        return [json.loads(self._answer.readline()) for _ in range(count)]

    def rest(self) -> bytes:
        assert self._answer is not None
        return self._answer.read()

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def stream(upstream: Upstream) -> Iterator[Stream]:
    opened = Stream(upstream)
    yield opened
    opened.close()


def lines(items: Iterable[object]) -> bytes:
    return b"".join(json.dumps(item).encode() + b"\n" for item in items)


def test_lines_are_answered_while_others_are_still_to_come(stream: Stream, driver: int, db: Database) -> None:
    stream.send(question(driver, idempotency_key="a"), question(999_999))
    first, second = stream.read(2)
    assert (first["status"], first["job"]["how"]) == (202, "new")
    assert (second["status"], second["errors"][0]["field"]) == (404, "driver_id")
    assert rows(db) == (1, 1), "written before the next line was sent"
    stream.send(b"not JSON\n", b"[" * 20_000 + b"\n", {"driver_id": "1"}, b"\n", question(driver, idempotency_key="a"))
    told = [(one["status"], [e["field"] for e in one["errors"] or []]) for one in stream.read(4)]
    assert told == [(422, ["body"]), (422, ["body"]), (422, ["integration", "driver_id"]), (202, [])]
    stream.send(json.dumps(question(driver)).encode()[:10])
    stream.send(json.dumps(question(driver)).encode()[10:])
    stream.end()
    assert stream.read(1)[0]["status"] == 202, "the last line needs no end, and pieces are no lines"
    assert stream.rest() == b""
    assert rows(db) == (2, 2)


def test_a_line_without_an_end_is_refused_and_what_came_before_it_kept(
    stream: Stream, driver: int, db: Database
) -> None:
    stream.send(question(driver))
    assert stream.read(1)[0]["status"] == 202
    stream.send(b"x" * (LINE_MAX + 1))
    (refused,) = stream.read(1)
    assert (refused["status"], refused["code"]) == (413, "too_large")
    assert stream.rest() == b""
    assert rows(db) == (1, 1)


def test_a_client_that_goes_away_keeps_what_it_was_answered(upstream: Upstream, driver: int, db: Database) -> None:
    asked = [question(driver, idempotency_key=str(n)) for n in range(5)]
    broken = Stream(upstream)
    broken.send(*asked[:3])
    answered = broken.read(3)
    broken.close()
    again = Stream(upstream)
    again.send(*asked)
    again.end()
    answers = again.read(5)
    again.close()
    assert [one["job"]["is_new"] for one in answers] == [False] * 3 + [True] * 2
    assert [one["job"]["job_id"] for one in answers[:3]] == [one["job"]["job_id"] for one in answered]
    assert rows(db) == (5, 5)


def test_any_number_of_lines_goes_in_one_request(upstream: Upstream, driver: int, db: Database) -> None:
    count = 3 * LINES_AT_ONCE + 7
    body = lines(question(driver) for _ in range(count))
    with upstream.api.ask(
        "POST", PATH, body, {"Authorization": f"Bearer {upstream.token}", "Content-Type": NDJSON}
    ) as answer:
        answers = [json.loads(line) for line in answer.read().splitlines()]
    assert len(answers) == len({one["job"]["job_id"] for one in answers}) == count
    assert rows(db) == (count, count)


def test_a_stream_needs_its_scope(api: Api, db: Database, driver: int) -> None:
    for token, status in ((None, 401), (token_of(api, add_client(db, scopes=["jobs:read"])), 403)):
        reply = api.call("POST", PATH, token, lines([question(driver)]), Content_Type=NDJSON)
        assert reply.status == status
    assert rows(db) == (0, 0)
