"""POST /v1/verifications:batch: each item its own answer, all good ones in one transaction."""

from tests.api.clients import Upstream
from tests.api.test_verifications import question, rows
from worker.database import Database

PATH = "/v1/verifications:batch"


def test_each_item_has_its_own_answer_in_order(upstream: Upstream, driver: int, db: Database) -> None:
    items = [
        question(driver, idempotency_key="b"),
        question(driver, priority=10, tenant=""),
        question(driver, idempotency_key="a"),
        question(999_999),
        question(driver, idempotency_key="a", priority=1),
        7,
        question(driver, tenant="T2"),
        question(driver, idempotency_key="b"),
        {**question(driver), "Ann Example": 1},
    ]
    reply = upstream.call("POST", PATH, items)
    assert reply.status == 200, reply.body
    results = reply.body["results"]
    told = [(r["status"], [error["field"] for error in r["errors"] or []]) for r in results]
    assert told == [
        (202, []), (422, ["priority", "tenant"]), (202, []), (404, ["driver_id"]), (409, ["idempotency_key"]),
        (422, ["body"]), (404, ["tenant"]), (202, []), (422, ["?"]),
    ]  # fmt: skip
    assert results[0]["job"]["job_id"] == results[7]["job"]["job_id"]
    assert [results[n]["job"]["is_new"] for n in (0, 2, 7)] == [True, True, False]
    assert rows(db) == (2, 2)
    again = upstream.call("POST", PATH, items).body["results"]
    repeated = {"is_new": False, "how": "repeated"}
    assert [again[n]["job"] for n in (0, 2)] == [results[n]["job"] | repeated for n in (0, 2)]
    assert rows(db) == (2, 2)


def test_a_thousand_go_in_one_request_and_not_one_more(upstream: Upstream, driver: int, db: Database) -> None:
    reply = upstream.call("POST", PATH, [question(driver)] * 1000)
    assert {result["status"] for result in reply.body["results"]} == {202}
    assert rows(db) == (1000, 1000)
    too_many: list[object] = [[question(driver)] * 1001, [], {}, 7]
    for wrong in too_many:
        reply = upstream.call("POST", PATH, wrong)
        assert (reply.status, reply.fields) == (422, ["body"])
    assert rows(db) == (1000, 1000)
