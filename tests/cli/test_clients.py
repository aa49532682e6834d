"""`worker clients`: an operator lets an application in, looks who is in, and shuts one out."""

import getpass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import Connection, create_mock_engine, text

from tests.cli.here import run_here
from tests.cli.operator import Worker, read, refused, said
from tests.conftest import environment_of
from worker.api import clients as rows
from worker.api import tokens
from worker.api.tokens import Origin, Refused
from worker.database import Database
from worker.errors import BadRequest
from worker.settings import Settings

MAY = ("--scope", "jobs:read", "--tenant", "T1")


@pytest.fixture
def clients(settings: Settings, tmp_path: Path) -> Worker:
    return partial(run_here, "clients", cwd=tmp_path, environment=environment_of(settings, tmp_path))


def test_a_client_is_made_listed_and_disabled(clients: Worker, db: Database) -> None:
    more = ("--scope", "jobs:write", "--tenant", "T2", "--per-minute", "7", "--per-hour", "70", "--lasts", "90d")
    made = read(clients("add", "Quotes", *MAY, *more, "--json"))
    with db.transaction() as connection:
        known = rows.find(connection, made["client_id"])
    assert known is not None
    assert rows.is_secret(known, made["client_secret"])
    assert not rows.is_secret(known, made["client_secret"] + "x")
    (line,) = read(clients("list", "--json"))
    assert line.pop("created_at") < line.pop("expires_at")
    assert line == {
        "client_id": made["client_id"], "name": "Quotes", "scopes": ["jobs:read", "jobs:write"],
        "tenants": ["T1", "T2"], "rate_limit_per_minute": 7, "rate_limit_per_hour": 70, "is_active": True,
    }  # fmt: skip
    with db.transaction() as connection:
        token = tokens.issue(connection, known.id, ["jobs:read"], Origin(None, None))
    assert said(clients("disable", made["client_id"])) == f"Disabled {made['client_id']}; 1 access token revoked.\n"
    with db.transaction() as connection:
        assert tokens.admit(connection, token, Origin(None, None)) == Refused("revoked_token")
    printed = said(clients("list"))
    assert "disabled" in printed
    assert made["client_secret"] not in printed


def test_the_secret_is_printed_once_and_stored_as_a_hash(clients: Worker, db: Database) -> None:
    answer = clients("add", "Quotes", *MAY)
    assert answer.returncode == 0
    assert "not shown again" in answer.stderr
    secret = answer.stdout.split()[-1]
    assert len(secret) >= 43, "256 bits in base64"
    assert secret not in answer.stderr
    with db.transaction() as connection:
        row = connection.execute(text("SELECT client::text FROM oauth2_clients AS client")).scalar_one()
    assert "$argon2id$v=19$m=65536,t=3,p=4$" in row
    assert secret not in row


def test_what_cannot_be_done_is_said_in_a_sentence(clients: Worker, db: Database) -> None:
    assert "there is no scope jobs:all; scopes are" in refused(clients("add", "Q", *MAY, "--scope", "jobs:all"))
    assert "there is no client nobody" in refused(clients("disable", "nobody"))
    assert read(clients("list", "--json")) == []


GOOD: dict[str, Any] = {"name": "Q", "scopes": ["jobs:read"], "tenants": ["T1"], "per_minute": 1, "per_hour": 1}


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"name": " "}, "bad_name"),
        ({"name": "x" * 101}, "bad_name"),
        ({"scopes": []}, "bad_scope"),
        ({"tenants": []}, "bad_tenant"),
        ({"tenants": ["T1", " "]}, "bad_tenant"),
        ({"per_minute": 0}, "bad_limit"),
        ({"per_hour": 1_000_001}, "bad_limit"),
        ({"lasts": timedelta(days=3651)}, "bad_duration"),
    ],
    ids=str,
)
def test_wrong_values_are_refused_before_anything_is_written(wrong: dict[str, Any], code: str) -> None:
    nowhere = create_mock_engine("postgresql+psycopg://", lambda statement, *_: pytest.fail(str(statement)))
    with pytest.raises(BadRequest) as refusal:
        rows.add(cast(Connection, nowhere), **{**GOOD, **wrong})
    assert refusal.value.code == code


def test_the_trail_of_a_change_by_command_named_nobody(clients: Worker, db: Database) -> None:
    read(clients("add", "Quotes", *MAY, "--json"))
    with db.transaction() as connection:
        trail = connection.execute(text("SELECT action, resource_type, details ->> 'by' FROM audit_logs")).all()
    assert trail == [("configuration.added", "oauth2_clients", getpass.getuser())]
