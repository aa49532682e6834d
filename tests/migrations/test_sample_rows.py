"""Rows that the migrations load."""

from typing import get_args

import psycopg
import pytest
from alembic.script import ScriptDirectory

from models import Base
from models.facts import retention_of
from models.users import SYSTEM_USER_ID
from models.vocabularies import StatusCode
from tests.migrations.running import configured


def test_there_is_one_user_and_it_is_the_system(owner: psycopg.Connection) -> None:
    users = owner.execute("SELECT id, role, is_active, password_hash FROM users").fetchall()
    assert users == [(SYSTEM_USER_ID, "system", True, None)]


def test_statuses_are_those_of_the_vocabulary(owner: psycopg.Connection) -> None:
    codes = owner.execute("SELECT code FROM status ORDER BY id").fetchall()
    assert codes == [(code,) for code in get_args(StatusCode)]


def test_policies_say_what_the_models_say(owner: psycopg.Connection) -> None:
    policies = owner.execute("""
        SELECT table_name, retention_days, mask_after_days, date_column, action FROM data_retention_policies
    """).fetchall()
    assert {"integration_request", "integration_verification_result", "audit_logs"} <= {row[0] for row in policies}
    for name, days, mask_after_days, date_column, action in policies:
        table = Base.metadata.tables[name]
        fact = retention_of(table)
        assert (fact.days, fact.mask_after_days, fact.since) == (days, mask_after_days, date_column), name
        assert date_column in table.columns
        assert (action == "partition") == ("partitioned" in table.info)


@pytest.mark.parametrize(
    ("revision", "statement"), [("006", "INTEGRATIONS"), ("006", "NODES"), ("008", "POLICIES"), ("040", "POLICIES")]
)
def test_loading_again_adds_nothing(owner: psycopg.Connection, revision: str, statement: str) -> None:
    module = ScriptDirectory.from_config(configured()).get_revision(revision).module
    assert owner.execute(getattr(module, statement)).rowcount == 0
