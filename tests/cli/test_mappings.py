"""`worker mappings` and `worker integrations` as an operator types them."""

import json
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from models.users import SYSTEM_USER_ID
from tests.cli.here import run_here
from tests.cli.operator import Worker, read, refused, said
from tests.conftest import environment_of
from tests.worker.integration_rows import add_producer, add_user, grant, integration
from worker.configuration import configurations
from worker.database import Database
from worker.permissions import Actor, Scope
from worker.settings import Settings

DRIVERS = ("--integration", "DCS_HOUSEHOLD_DRIVERS")
STATUS = "driver_data.license_info.status"
CITY = "driver_data.address_info.current_address.city"


@pytest.fixture
def worker(settings: Settings, tmp_path: Path) -> Worker:
    return partial(run_here, cwd=tmp_path, environment=environment_of(settings, tmp_path))


def test_a_mapping_s_life(worker: Worker, db: Database) -> None:
    mappings = partial(worker, "mappings")
    assert said(mappings("add-node", "driver_data.license_info.license_type", *DRIVERS)).startswith("Described")
    rules = ("--transform", '{"uppercase": true}', "--validate", '{"max_length": 20}')
    to = ("--node", "driver_data.license_info.license_type", "--target", "license.license_type")
    with db.transaction() as connection:
        add_producer(connection, "R1")
    added = said(mappings("add", *DRIVERS, *to, *rules))
    assert added == "Added mapping 1: driver_data.license_info.license_type to license.license_type.\n"
    said(mappings("add", *DRIVERS, *to, "--producer", "R1"))
    assert "already" in refused(mappings("add", *DRIVERS, *to))
    assert said(mappings("replace", "1", "--transform", '{"lowercase": true}')) == "Mapping 4 replaces 1.\n"
    shown = read(mappings("show", "4"))
    assert (shown["transformation"], shown["validation"], shown["replaced_id"]) == ({"lowercase": True}, None, 1)
    said(mappings("retire", "4", "--by", "ann"))
    listed = read(mappings("list", *DRIVERS, "--history", "--json"))
    assert [(one["id"], one["producer"], one["is_active"]) for one in listed] == [
        (1, None, False), (4, None, False), (2, "R1", True),
    ]  # fmt: skip
    (line,) = said(mappings("list", *DRIVERS)).splitlines()[1:]
    assert "producer R1" in line
    assert "license.license_type" in said(mappings("nodes", *DRIVERS))
    with db.transaction() as connection:
        trail = connection.execute(
            text("SELECT details FROM audit_logs WHERE action = 'integration.mapping_retired'")
        ).scalar_one()
    assert trail["by"] == "ann"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("list", "--integration", "NOPE"), "There is no integration NOPE"),
        (
            ("add", *DRIVERS, "--node", STATUS, "--target", "license.license_type", "--transform", "{trim: true}"),
            "--transform is not JSON",
        ),
        (("check", *DRIVERS), "name one answer"),
        (("check", *DRIVERS, "--document", "nowhere.json"), "nowhere.json can't be read"),
    ],
    ids=lambda value: value[:60] if isinstance(value, str) else None,
)
def test_what_can_t_be_done_is_said_in_a_sentence(worker: Worker, arguments: tuple[str, ...], sentence: str) -> None:
    assert sentence in refused(worker("mappings", *arguments))


ANSWER: dict[str, Any] = {
    "driver_data": {
        "license_info": {"status": "valid"},
        "address_info": {"current_address": {"city": "Secretville", "state": "Texas"}},
    }
}


def test_a_rehearsal_shows_values_only_to_those_who_ask(worker: Worker, db: Database, tmp_path: Path) -> None:
    check = partial(worker, "mappings", "check", *DRIVERS)
    said(worker("mappings", "add", *DRIVERS, "--node", CITY, "--target", "address.city"))
    (tmp_path / "answer.json").write_text(json.dumps(ANSWER))
    told = said(check("--document", "answer.json"))
    assert "Secretville" not in told
    (line,) = [line for line in told.splitlines() if line.startswith("address.city")]
    assert line.split() == ["address.city", CITY, "written", "11"]
    assert "Secretville" in said(check("--document", "answer.json", "--values"))
    tried = ("--node", CITY.replace("city", "state"), "--target", "address.state")
    (row,) = read(check("--document", "answer.json", *tried, "--json"))
    assert (row["target"], row["verdict"], row["length"]) == ("address.state", "not_a_state", None)
    assert "value" not in row

    with db.transaction() as connection:
        system = Actor(SYSTEM_USER_ID)
        configuration_id = configurations.add(connection, system, Scope(integration(connection)), "sandbox", "/x")
        request_id = connection.execute(
            text(
                """INSERT INTO integration_request (integration_id, configuration_id, user_id, endpoint, correlation_id,
                       response_body, status_id, created_by)
                   SELECT integration_id, id, created_by, '/', 'c-1', CAST(:body AS jsonb), status_id, created_by
                   FROM integration_configuration WHERE id = :id RETURNING id"""
            ),
            {"id": configuration_id, "body": json.dumps(ANSWER)},
        ).scalar_one()
        user = add_user(connection)
        grant(connection, user, "manage_mappings")
    stored = partial(check, "--request", str(request_id))
    assert "Secretville" not in said(stored())
    assert "view raw responses" in refused(stored("--values", "--as", str(user)))
    assert "Secretville" in said(stored("--values", "--by", "ann"))
    with db.transaction() as connection:
        viewed = connection.execute(
            text("SELECT resource_id, details FROM audit_logs WHERE action = 'integration.answer_viewed'")
        ).one()
    assert (viewed.resource_id, viewed.details) == (str(request_id), {"by": "ann"})


def test_a_configuration_is_switched_and_set(worker: Worker, db: Database) -> None:
    said(worker("seed"))
    integrations = partial(worker, "integrations")
    listed = read(integrations("list", "--json"))
    assert "token_url" not in str(listed)
    id_ = str(listed[0]["id"])
    said(integrations("set", id_, "timeout_seconds=20", "verified_confidence=92.5", "match_nicknames=true"))
    said(integrations("disable", id_))
    after = read(integrations("list", "--json"))[0]
    assert after["is_enabled"] is False
    assert (after["settings"]["timeout_seconds"], after["settings"]["match_nicknames"]) == (20, True)
    assert after["settings"]["verified_confidence"] == "92.50"
    said(integrations("enable", id_, "--by", "olga"))
    with db.transaction() as connection:
        who = connection.execute(
            text(
                "SELECT action, details ->> 'by' FROM audit_logs WHERE resource_type = 'integration_configuration'"
                " AND resource_id = :id ORDER BY created_at DESC, action LIMIT 2"
            ),
            {"id": id_},
        ).all()
    assert who == [("configuration.changed", "olga"), ("integration.configuration_enabled", "olga")]
    assert " on " in said(integrations("list")).splitlines()[1]
    assert "timeout_seconds must be of the type int" in refused(integrations("set", id_, "timeout_seconds=soon"))
    assert "enable disable" in refused(integrations("disable", id_, "--as", str(uuid4())))
