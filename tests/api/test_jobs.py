"""Looking at jobs over HTTP: one, many, until they end; and stopping, restarting and explaining them."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import text

from tests.api.clients import Upstream
from tests.api.served import Reply
from worker.database import Database

NOW = datetime.now(UTC)


def insert(db: Database, **columns: object) -> UUID:
    """A job of tenant T1 with these columns; gives its id."""
    columns = {"kind": "test.run", "queue": "verification", "tenant": "T1", **columns}
    names, values = ", ".join(columns), ", ".join(f":{name}" for name in columns)
    with db.transaction() as connection:
        return UUID(str(connection.scalar(text(f"INSERT INTO job ({names}) VALUES ({values}) RETURNING id"), columns)))  # noqa: S608 - the tests' own names


def end(db: Database, job_id: UUID, state: str = "done") -> None:
    with db.transaction() as connection:
        connection.execute(
            text("UPDATE job SET state = :state, finished_at = now() WHERE id = :id"), {"state": state, "id": job_id}
        )


def test_pages_go_through_all_jobs_once_whatever_is_added_meanwhile(upstream: Upstream, db: Database) -> None:
    made = [insert(db, created_at=NOW - timedelta(minutes=n // 3)) for n in range(10)]
    insert(db, tenant="T2")
    seen: list[str] = []
    cursor = ""
    for _ in range(4):
        page = upstream.call("GET", f"/v1/jobs?limit=3{cursor}").body
        seen += [job["job_id"] for job in page["jobs"]]
        insert(db)  # newer than all: on none of the pages that follow
        cursor = f"&cursor={page['next_cursor']}"
    assert page["next_cursor"] is None
    assert sorted(seen) == sorted(str(job_id) for job_id in made)


def test_lists_are_filtered_by_state_kind_and_time(upstream: Upstream, db: Database) -> None:
    old = insert(db, created_at=NOW - timedelta(days=1), state="done", finished_at=NOW)
    other = insert(db, kind="test.other")

    def listed(query: str) -> list[str]:
        reply = upstream.call("GET", f"/v1/jobs?{query}")
        assert reply.status == 200, reply.body
        return [job["job_id"] for job in reply.body["jobs"]]

    assert listed("state=done") == listed("kind=test.run") == [str(old)]
    assert listed("kind=test.other") == listed("since=" + (NOW - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ"))
    assert listed("kind=test.other") == [str(other)]
    assert listed("state=failed") == []


def test_wrong_questions_name_their_field(upstream: Upstream) -> None:
    for query, field in (
        ("state=geheim", "state"),
        ("kind=geheim%00", "kind"),
        ("since=yesterday", "since"),
        ("since=2026-01-01T00:00:00", "since"),
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("cursor=geheim", "cursor"),
        ("cursor=", "cursor"),
        ("cursor=%C3%A4", "cursor"),
        ("cursor=MDAwMS0wMS0wMVQwMDowMDowMCswMTowMCB4", "cursor"),
    ):
        reply = upstream.call("GET", f"/v1/jobs?{query}")
        assert (reply.status, reply.fields) == (422, [field]), query
        assert "geheim" not in str(reply.body)
    for path, field in (
        ("/v1/jobs/geheim", "job_id"),
        (f"/v1/jobs/{uuid4()}?wait=61", "wait"),
        (f"/v1/jobs/{uuid4()}?wait=-1", "wait"),
        ("/v1/verifications/geheim", "request_id"),
        ("/v1/verifications/0", "request_id"),
        (f"/v1/verifications/{2**63}", "request_id"),
    ):
        reply = upstream.call("GET", path)
        assert (reply.status, reply.fields) == (422, [field]), path
        assert "geheim" not in str(reply.body)


def test_a_long_poll_answers_when_the_job_ends(upstream: Upstream, db: Database) -> None:
    jobs = [insert(db) for _ in range(8)]
    with ThreadPoolExecutor(len(jobs)) as pool:
        # More of them than the pool has connections: while they wait, others are answered.
        polls = [pool.submit(upstream.call, "GET", f"/v1/jobs/{job_id}?wait=60") for job_id in jobs]
        assert upstream.call("GET", "/v1/jobs").status == 200
        assert not any(poll.done() for poll in polls)
        for job_id in jobs:
            end(db, job_id)
        replies: list[Reply] = [poll.result(30) for poll in polls]
    assert {(reply.status, reply.body["state"]) for reply in replies} == {(200, "done")}


def test_a_long_poll_that_meets_an_end_or_its_own_time_answers(upstream: Upstream, db: Database) -> None:
    job_id = insert(db)
    began = time.monotonic()
    assert upstream.call("GET", f"/v1/jobs/{job_id}?wait=1").body["state"] == "ready"
    assert time.monotonic() - began >= 1
    end(db, job_id, "failed")
    assert upstream.call("GET", f"/v1/jobs/{job_id}?wait=60").body["state"] == "failed"


def test_waiting_holds_no_connection(upstream: Upstream, db: Database) -> None:
    job_id = insert(db)
    poll = threading.Thread(target=upstream.call, args=("GET", f"/v1/jobs/{job_id}?wait=60"))
    poll.start()
    try:
        assert upstream.call("GET", f"/v1/jobs/{job_id}?wait=1").status == 200
        with db.transaction() as connection:
            # Both requests wait for a second or more by now. What looks at the job again is over in a moment.
            held = connection.execute(
                text(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                    " AND pid <> pg_backend_pid() AND state LIKE 'idle in transaction%'"
                    " AND xact_start < now() - interval '0.9 seconds'"
                )
            ).scalar_one()
        assert held == 0
    finally:
        end(db, job_id)
        poll.join()


def test_cancel_and_retry_are_written_in_the_clients_name(upstream: Upstream, db: Database) -> None:
    job_id = insert(db)
    cancelled = upstream.call("POST", f"/v1/jobs/{job_id}:cancel")
    assert (cancelled.status, cancelled.body["is_cancel_requested"]) == (202, True)
    refused = upstream.call("POST", f"/v1/jobs/{job_id}:retry")
    assert (refused.status, refused.body["code"]) == (409, "not_over")
    end(db, job_id, "cancelled")
    over = upstream.call("POST", f"/v1/jobs/{job_id}:cancel")
    assert (over.status, over.body["code"]) == (409, "already_over")
    again = upstream.call("POST", f"/v1/jobs/{job_id}:retry")
    assert (again.status, again.body["state"], again.body["is_cancel_requested"]) == (202, "ready", False)
    end(db, job_id)
    assert upstream.call("POST", f"/v1/jobs/{job_id}:retry").body["code"] == "already_done"
    with db.transaction() as connection:
        deeds: list[Any] = list(connection.execute(text('SELECT event, "by" FROM job_event ORDER BY id')))
        client = connection.execute(text("SELECT client_id FROM oauth2_clients")).scalar_one()
    assert deeds == [("cancel_requested", client), ("retried_by_hand", client)]


def test_what_kills_workers_is_not_set_loose_by_a_client(upstream: Upstream, db: Database) -> None:
    job_id = insert(db, state="failed", finished_at=NOW, error_code="worker_died")
    refused = upstream.call("POST", f"/v1/jobs/{job_id}:retry")
    assert (refused.status, refused.body["code"]) == (409, "quarantined")
    assert upstream.call("GET", f"/v1/jobs/{job_id}").body["state"] == "failed"


def test_why_gives_the_cause_and_no_names_of_people_machines_or_other_tenants(upstream: Upstream, db: Database) -> None:
    with db.transaction() as connection:
        connection.execute(
            text("INSERT INTO job_pause (kind, reason, paused_by) VALUES ('test.run', 'geheim', 'geheim')")
        )
    paused = upstream.call("GET", f"/v1/jobs/{insert(db)}/why").body
    assert (paused["code"], paused["sentence"]) == ("paused", "An operator has paused it.")
    failure = {"state": "failed", "finished_at": NOW, "error_code": "bug", "error_message": "geheim"}
    failed = upstream.call("GET", f"/v1/jobs/{insert(db, **failure)}/why").body
    assert (failed["code"], failed["facts"]["error_code"]) == ("failed", "bug")
    lease = {"state": "running", "lease_until": NOW + timedelta(hours=1), "leased_by": "geheim"}
    running = upstream.call("GET", f"/v1/jobs/{insert(db, started_at=NOW, **lease)}/why").body
    assert running["code"] == "running"
    assert "geheim" not in str([paused, failed, running])
