"""What is asked by the document, and by whoever ignores it, is answered as the document says (schemathesis)."""

from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.api.clients import Upstream
from tests.api.test_rights import question
from worker.database import Database

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES_AN_OPERATION = 8


def test_no_answer_surprises_who_has_read_the_document(upstream: Upstream, driver: int, db: Database) -> None:
    upstream.call("POST", "/v1/verifications", question(driver))
    base = f"http://127.0.0.1:{upstream.api.port}"
    schema = schemathesis.openapi.from_url(f"{base}/openapi.json")
    headers = {"Authorization": f"Bearer {upstream.token}"}
    asked: set[str] = set()
    for result in schema.get_all_operations():
        assert isinstance(result, Ok), "the document describes every operation well"
        operation = result.ok()
        well, ill = (operation.as_strategy(generation_mode=mode) for mode in GenerationMode)

        @seed(4)
        @settings(
            max_examples=EXAMPLES_AN_OPERATION,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=st.one_of(well, ill))
        def ask(case: schemathesis.Case[Any]) -> None:
            case.call_and_validate(base_url=base, headers=headers, checks=CHECKS, timeout=70)

        ask()
        asked.add(operation.label)
    _, _, document = upstream.api.get("/openapi.json")
    assert len(asked) == sum(len(operations) for operations in document["paths"].values())
