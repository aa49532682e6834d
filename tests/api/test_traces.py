"""A request's trace goes on in the job that it asks for."""

import pytest
from sqlalchemy import text

from tests.api.clients import Upstream
from tests.api.test_rights import question
from worker.database import Database

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(("header", "kept"), [(PARENT, PARENT), ("Ann Example", None)])
def test_the_traceparent_of_a_request_is_that_of_its_job(
    header: str, kept: str | None, upstream: Upstream, driver: int, db: Database
) -> None:
    upstream.call("POST", "/v1/verifications", question(driver), traceparent=header)
    with db.transaction() as connection:
        assert connection.execute(text("SELECT trace_context FROM job")).scalars().all() == [kept]


def test_the_jobs_of_a_batch_share_the_trace_of_its_request(upstream: Upstream, driver: int, db: Database) -> None:
    upstream.call("POST", "/v1/verifications:batch", [question(driver)], traceparent=PARENT)
    with db.transaction() as connection:
        assert connection.execute(text("SELECT trace_context FROM job")).scalars().all() == [PARENT]
