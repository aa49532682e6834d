"""Answers to rehearse mappings with: a file that somebody has, or the stored answer of a request."""

import json
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, text

from worker.audit import audit
from worker.configuration.field_mapping import paths
from worker.errors import BadRequest
from worker.permissions import Actor, Scope, require


def read(file: Path | None) -> Any:
    """A JSON document from a file, `-` for standard input. Raises `BadRequest` with code bad_document."""
    try:
        content = sys.stdin.buffer.read() if file is None or str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise BadRequest("bad_document", f"{file} can't be read: {error.strerror}") from None
    try:
        return json.loads(content, parse_float=Decimal)
    except (ValueError, RecursionError):
        raise BadRequest("bad_document", f"{file} is not JSON") from None


def stored(
    connection: Connection, actor: Actor, scope: Scope, request_id: int, *, shows_values: bool, by: str | None
) -> Any:
    """The answer that a request of the integration got.

    Showing its values needs the right to view raw responses and leaves an audit row. Raises `BadRequest` with code
    forbidden, unknown_request or no_answer.
    """
    row = connection.execute(_ANSWER, {"id": request_id, "integration_id": scope.integration_id}).one_or_none()
    if row is None:
        raise BadRequest("unknown_request", f"There is no request {request_id} to this integration.")
    if shows_values:
        require(connection, actor, "view_raw_responses", Scope(scope.integration_id, row.program_id, row.producer_id))
        audit(
            connection,
            action="integration.answer_viewed",
            resource_type="integration_request",
            resource_id=request_id,
            user_id=actor.user_id,
            details={"by": by},
        )
    if row.body is None:
        raise BadRequest("no_answer", f"Request {request_id} has no answer.")
    return json.loads(row.body, parse_float=Decimal)


def items(document: Any, root: str) -> list[Any]:
    """The documents that a root stands for: each item of the list it names, or the document itself."""
    if not root:
        return [document]
    if not paths.is_path(root) or not root.endswith("[]"):
        raise BadRequest("bad_root", f"{root} does not name the items of a list, such as vehicles[]")
    found: list[Any] = paths.getter(root)(document)
    return found


_ANSWER = text(
    """
    SELECT response_body::text AS body, program_id, producer_id FROM integration_request
    WHERE id = :id AND integration_id = :integration_id
    """
)
