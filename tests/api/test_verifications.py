"""Asking for verifications over HTTP: one job a key, wrong forms by name, and what became of them."""

import json
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis
from sqlalchemy import text

from tests.api.clients import Upstream, add_client, token_of
from tests.api.killed_app import killed_after_commit
from tests.api.served import Api, served
from tests.conftest import environment_of
from worker.api.asking import VerificationRequest
from worker.crypto import Keyring
from worker.database import Database
from worker.dev.demo.households import add_vehicles
from worker.dev.demo.sample import configure_sandbox
from worker.dev.sandbox.personas import BY_VIN
from worker.settings import Settings

PATH = "/v1/verifications"
SECRET = "geheim"


def question(driver: int, **changes: object) -> dict[str, object]:
    return {"integration": "DCS_HOUSEHOLD_DRIVERS", "driver_id": driver, **changes}


def rows(db: Database) -> tuple[int, int]:
    with db.transaction() as connection:
        counts = connection.execute(
            text("SELECT (SELECT count(*) FROM job), (SELECT count(*) FROM integration_request)")
        ).one()
    return counts[0], counts[1]


def test_asking_writes_the_job_and_says_where_it_is(upstream: Upstream, driver: int, db: Database) -> None:
    asked = question(driver, priority=2, deadline_s=600)
    reply = upstream.call("POST", PATH, asked, X_Correlation_Id="quote-17")
    assert reply.status == 202
    assert reply.headers["Location"] == f"/v1/jobs/{reply.body['job_id']}"
    assert reply.headers["X-Correlation-Id"] == "quote-17"
    assert (reply.body["is_new"], reply.body["state"]) == (True, "ready")
    job = upstream.call("GET", reply.headers["Location"]).body
    assert (job["tenant"], job["priority"], job["request_id"]) == ("T1", 2, reply.body["request_id"])
    found = upstream.call("GET", f"{PATH}/{reply.body['request_id']}").body
    assert (found["status"], found["job_state"], found["correlation_id"]) == ("pending", "ready", "quote-17")
    assert (found["driver_id"], found["results"]) == (driver, [])
    assert rows(db) == (1, 1)


def test_an_answer_says_whether_the_provider_will_be_asked(upstream: Upstream, driver: int, db: Database) -> None:
    first, second = (upstream.call("POST", PATH, question(driver)).body for _ in range(2))
    assert (first["how"], second["how"], second["is_new"]) == ("new", "joined", True)
    assert rows(db) == (2, 2), "each has a job and a request of its own"
    key = {"Idempotency_Key": "k-1"}
    assert [upstream.call("POST", PATH, question(driver), **key).body["how"] for _ in range(2)] == [
        "joined",
        "repeated",
    ]


def test_forcing_a_call_needs_the_right_to_it(upstream: Upstream, driver: int, db: Database) -> None:
    refused = upstream.call("POST", PATH, question(driver, force=True))
    assert (refused.status, refused.body["code"]) == (403, "forbidden")
    with db.transaction() as connection:
        connection.execute(
            text(
                """INSERT INTO integration_permission (integration_id, permission_type, permission_target_id,
                       scope_level, can_force_calls, status_id, created_by)
                   SELECT configuration.integration_id, 'group', client.client_id, 'system', true,
                       configuration.status_id, configuration.created_by
                   FROM integration_configuration AS configuration, oauth2_clients AS client"""
            )
        )
    assert upstream.call("POST", PATH, question(driver, force=True)).body["how"] == "new"


def test_a_verification_shows_what_was_found_and_nothing_of_the_raw_answer(
    upstream: Upstream, driver: int, db: Database
) -> None:
    request_id = upstream.call("POST", PATH, question(driver)).body["request_id"]
    with db.transaction() as connection:
        values = {"id": request_id, "driver": driver, "body": f'{{"name": "{SECRET}"}}'}
        connection.execute(
            text(
                "UPDATE integration_request SET request_status = 'completed', response_body = CAST(:body AS jsonb),"
                " error_message = 'geheim' WHERE id = :id"
            ),
            values,
        )
        connection.execute(
            text(
                """INSERT INTO integration_verification_result (
                    request_id, verification_type, target_entity_type, target_entity_id, verification_status,
                    confidence_score, verified_data, discrepancies, status_id, created_by
                ) SELECT :id, 'license', 'driver', :driver, 'partial', 87.5, CAST(:body AS jsonb), '["geheim"]',
                    (SELECT id FROM status WHERE code = 'ACTIVE'), '00000000-0000-0000-0000-000000000001'"""
            ),
            values,
        )
    found = upstream.call("GET", f"{PATH}/{request_id}").body
    assert found["status"] == "completed"
    (result,) = found["results"]
    assert result.pop("found_at")
    assert result == {
        "verification_type": "license", "target_type": "driver", "target_id": driver, "status": "partial",
        "confidence_score": "87.50", "is_cached": False,
    }  # fmt: skip
    assert SECRET not in str(found)


def test_a_key_gives_the_same_job_and_no_other_question(upstream: Upstream, driver: int, db: Database) -> None:
    def ask(key: str, **changes: object) -> Any:
        return upstream.call("POST", PATH, question(driver, **changes), Idempotency_Key=key)

    first, again = ask("k1", deadline_s=60), ask("k1", deadline_s=60)
    assert (first.status, again.status) == (202, 202)
    assert again.body == {**first.body, "is_new": False, "how": "repeated"}
    assert again.headers["Location"] == first.headers["Location"]
    for other in ({"priority": 1, "deadline_s": 60}, {"deadline_s": 61}, {}, {"quote_id": None, "priority": 9}):
        conflict = ask("k1", **other)
        assert (conflict.status, conflict.fields) == (409, ["Idempotency-Key"]), other
        assert conflict.body["code"] == "idempotency_conflict"
    assert ask("k2").body["is_new"] is True
    assert rows(db) == (2, 2)


def test_a_hundred_equal_requests_at_once_give_one_row(upstream: Upstream, driver: int, db: Database) -> None:
    with ThreadPoolExecutor(100) as pool:
        replies = list(
            pool.map(lambda _: upstream.call("POST", PATH, question(driver), Idempotency_Key="k"), range(100))
        )
    assert {reply.status for reply in replies} == {202}
    assert len({reply.body["job_id"] for reply in replies}) == 1
    assert sum(reply.body["is_new"] for reply in replies) == 1
    assert rows(db) == (1, 1)


WRONG: dict[str, list[object]] = {
    "integration": [None, "", 7, ["DCS"], "x" * 51, f"{SECRET}\u0000", "\ud800", {SECRET: SECRET}],
    "driver_id": [None, 0, -1, "7", 1.5, 7.0, True, 2**63, [7], SECRET, float("nan")],
    "vehicle_id": [0, -1, "7", 1.5, True, 2**63, SECRET],
    "address_id": [0, -1, "7", 1.5, True, 2**63, SECRET],
    "search_by": ["", "VIN", SECRET, 7, ["vin"]],
    "force": [None, "", "true", 1, SECRET],
    "quote_id": [7, "", SECRET, "0" * 40, ["0" * 32]],
    "producer": ["", 7, "x" * 51, "a\nb"],
    "program": ["", 7, "x" * 51, "a\u0000b"],
    "environment": [None, "", "Sandbox", SECRET, 1],
    "priority": [None, -1, 10, "4", 4.5, True],
    "deadline_s": [0, -1, "60", 0.5, True, 2_592_001, 1e400],
    "tenant": ["", 7, "x" * 51, "a\tb"],
    "surprise": [1],
}


def test_every_field_has_wrong_forms() -> None:
    assert WRONG.keys() == {*VerificationRequest.model_fields, "surprise"}


def test_each_fields_wrong_forms_are_refused_by_name_and_nothing_is_written(
    upstream: Upstream, driver: int, db: Database
) -> None:
    for field, values in WRONG.items():
        for value in values:
            reply = upstream.call("POST", PATH, question(driver, **{field: value}), Idempotency_Key=str(uuid4()))
            assert reply.status == 422, (field, value)
            assert reply.headers["Content-Type"] == "application/problem+json"
            assert [name.partition(".")[0] for name in reply.fields] == [field], (field, value)
            assert SECRET not in str(reply.body), (field, value)
    for missing in ("integration", "driver_id"):
        asked = {name: value for name, value in question(driver).items() if name != missing}
        assert upstream.call("POST", PATH, asked).fields == [missing]
    for key in ("", "a b", "x" * 201):
        assert upstream.call("POST", PATH, question(driver), Idempotency_Key=key).fields == ["Idempotency-Key"], key
    for correlation in ("", "a b", "Ann Example", "x" * 101):
        assert upstream.call("POST", PATH, question(driver), X_Correlation_Id=correlation).fields == [
            "X-Correlation-Id"
        ]
    for body in (b"", b"{", b"[]", b"7", b"null", b'"x"', b"\xff", b'{"integration": "geheim'):
        reply = upstream.call("POST", PATH, body)
        assert reply.status == 422, body
        assert SECRET not in str(reply.body)
    named_by_a_person = upstream.call("POST", PATH, question(driver, **{"Ann Example, 1 Main St": 1}))
    assert named_by_a_person.fields == ["?"]
    assert "Ann" not in str(named_by_a_person.body)
    assert rows(db) == (0, 0)


def test_what_does_not_exist_or_can_not_be_done_names_its_field(upstream: Upstream, driver: int, db: Database) -> None:
    cases: list[tuple[dict[str, object], int, str]] = [
        ({"integration": SECRET}, 404, "integration"),
        ({"driver_id": 999_999}, 404, "driver_id"),
        ({"quote_id": str(uuid4())}, 404, "quote_id"),
        ({"program": SECRET}, 404, "program"),
        ({"producer": "T1"}, 404, "producer"),
        ({"environment": "production"}, 409, "integration"),
    ]
    for changes, status, field in cases:
        reply = upstream.call("POST", PATH, question(driver, **changes))
        assert (reply.status, reply.fields) == (status, [field]), changes
        assert SECRET not in str(reply.body)
    for change, code in (
        ("integration_configuration SET is_enabled = false", "integration_disabled"),
        ("""integration_configuration SET is_enabled = true, auth_config = '{}'""", "configuration_error"),
        ("third_party_integration SET is_active = false", "integration_disabled"),
    ):
        with db.transaction() as connection:
            connection.execute(text(f"UPDATE {change}"))
        reply = upstream.call("POST", PATH, question(driver))
        assert (reply.status, reply.body["code"], reply.fields) == (409, code, ["integration"])
    assert rows(db) == (0, 0)


def test_each_api_is_asked_with_its_own_subject(
    settings: Settings, upstream: Upstream, driver: int, db: Database
) -> None:
    with db.transaction() as connection:
        for code in ("DCS_CRIMINAL", "DCS_HOUSEHOLD_VEHICLES"):
            configure_sandbox(connection, Keyring.of(settings), "http://127.0.0.1:9", code)
        (vehicle,) = add_vehicles(connection, [BY_VIN["1SANDBX0000STOLEN"]])
        address = connection.scalars(text("SELECT address_id FROM driver")).one()
    vehicles = "DCS_HOUSEHOLD_VEHICLES"
    for asked in (
        {"integration": "DCS_CRIMINAL", "driver_id": driver},
        {"integration": vehicles, "vehicle_id": vehicle},
        {"integration": vehicles, "address_id": address},
    ):
        reply = upstream.call("POST", PATH, asked)
        assert reply.status == 202, asked
        found = upstream.call("GET", f"{PATH}/{reply.body['request_id']}").body
        assert {name: found[name] for name in asked} == asked
    wrong: list[tuple[dict[str, object], int, str, str]] = [
        ({"integration": "DCS_CRIMINAL"}, 422, "no_driver", "driver_id"),
        ({"integration": vehicles}, 422, "no_vehicle", "vehicle_id"),
        ({"integration": vehicles, "driver_id": driver}, 422, "wrong_subject", "integration"),
        ({"integration": vehicles, "vehicle_id": vehicle, "address_id": address}, 422, "wrong_subject", "integration"),
        ({"integration": vehicles, "vehicle_id": 999_999}, 404, "unknown_vehicle", "vehicle_id"),
        ({"integration": vehicles, "address_id": 999_999}, 404, "unknown_address", "address_id"),
        (
            {"integration": vehicles, "vehicle_id": vehicle, "search_by": "plate"},
            409,
            "incomplete_vehicle",
            "vehicle_id",
        ),
        ({"integration": vehicles, "vehicle_id": vehicle, "search_by": "name"}, 422, "not_valid", "search_by"),
        ({"integration": vehicles, "vehicle_id": "7"}, 422, "not_valid", "vehicle_id"),
    ]
    for given, status, code, field in wrong:
        reply = upstream.call("POST", PATH, given)
        assert (reply.status, reply.body["code"], reply.fields) == (status, code, [field]), given
    assert rows(db) == (3, 3)


def test_the_workers_are_told_of_a_new_job_and_not_of_a_known_one(
    settings: Settings, db: Database, driver: int, redis_url: str
) -> None:
    with served(settings) as api:
        upstream = Upstream(api, token_of(api, add_client(db)))
        job_ids = [upstream.call("POST", PATH, question(driver), Idempotency_Key=key).body["job_id"] for key in "aba"]
        with redis.Redis.from_url(redis_url) as client:
            said: list[str] = []
            while len(said) < 2:  # requests that come soon after each other share a message
                message = client.brpop("verification", timeout=9)
                assert message is not None
                (ids,), *_ = json.loads(b64decode(json.loads(message[1])["body"]))
                said += ids
    # The application has ended, and what it still had to say it has said or will never say.
    with redis.Redis.from_url(redis_url) as client:
        assert client.llen("verification") == 0
    assert sorted(said) == sorted(set(job_ids))


def test_without_redis_a_job_is_taken_all_the_same(
    settings: Settings, db: Database, driver: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    with served(settings) as api:
        upstream = Upstream(api, token_of(api, add_client(db)))
        assert upstream.call("POST", PATH, question(driver)).status == 202
    assert rows(db) == (1, 1)


@pytest.mark.kills
def test_a_request_repeated_after_the_api_died_between_commit_and_answer_gives_the_same_job(
    settings: Settings, db: Database, driver: int, api: Api, tmp_path: Path
) -> None:
    token = token_of(api, add_client(db))
    with killed_after_commit(environment_of(settings, tmp_path)) as dying, pytest.raises(ConnectionError):
        dying.call("POST", PATH, token, question(driver), Idempotency_Key="k")
    assert rows(db) == (1, 1), "it had committed"
    reply = api.call("POST", PATH, token, question(driver), Idempotency_Key="k")
    assert (reply.status, reply.body["is_new"]) == (202, False)
    assert rows(db) == (1, 1)
