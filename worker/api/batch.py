"""Asking for many verifications at once: each has its own answer, and one that is wrong does not stop the others.

As a JSON array, all good ones in one transaction. Or as a stream of lines without an end: some lines at a time are
written and answered before the next are read, so neither side's memory grows, and a client that reads slowly is asked
for no more. A stream that breaks leaves what was answered, and perhaps a few lines more; sent again with the same keys,
nothing is doubled.
"""

import json
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response, Security
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, Field, ValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from worker.api import problems
from worker.api.asking import KEY_FORM, KIND, Asked, VerificationRequest, ask_many
from worker.api.auth import authenticated
from worker.api.hinting import Hinting
from worker.api.lines import LINE_MAX, TooLong, lines_of
from worker.api.metrics import metrics_of
from worker.api.problems import FieldError
from worker.api.tokens import Caller
from worker.database import is_outage

ITEMS_MAX = 1000
NDJSON = "application/x-ndjson"

router = APIRouter(prefix="/v1", tags=["verifications"], responses=problems.EVERYWHERE)


class BatchItem(VerificationRequest):
    """A verification, with a key of its own."""

    idempotency_key: Annotated[str, Field(pattern=KEY_FORM)] | None = None


class Result(BaseModel):
    """What became of one item: `job` where `status` is 202, else what is wrong with it."""

    status: int
    job: Asked | None = None
    code: str | None = None
    errors: list[FieldError] | None = None


class Batch(BaseModel):
    """In the order of the items."""

    results: list[Result]


_ITEM = {"$ref": "#/components/schemas/BatchItem"}
_ITEMS = {"type": "array", "minItems": 1, "maxItems": ITEMS_MAX, "items": _ITEM}


@router.post(
    "/verifications:batch",
    response_model=Batch,
    responses={200: {"content": {NDJSON: {"schema": {"type": "string", "description": "A `Result` in each line."}}}}},
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": _ITEMS},
                NDJSON: {"schema": {"type": "string", "description": "A `BatchItem` in each line, without an end."}},
            },
        }
    },
)
async def ask_for_many(
    request: Request,
    caller: Annotated[Caller, Security(authenticated, scopes=["verifications:write"])],
) -> Response:
    """Ask for up to 1,000 verifications as JSON, or for any number as application/x-ndjson, answered line by line.

    Send it again with the same keys if no answer comes: no job is doubled.
    """
    if is_stream(request.headers.get("content-type", "")):
        return _Answering(_stream(request, caller), media_type=NDJSON)
    try:
        items = _parsed(await request.body())
    except ValueError:
        return problems.of_fields(422, "not_valid", [FieldError(field="body", message="it is not JSON")])
    if not isinstance(items, list) or not 1 <= len(items) <= ITEMS_MAX:
        wrong = FieldError(field="body", message=f"it must be a list of 1 to {ITEMS_MAX} items")
        return problems.of_fields(422, "not_valid", [wrong])
    results = await run_in_threadpool(_ask, request, caller, [_read(item) for item in items])
    return JSONResponse(Batch(results=results).model_dump(mode="json"))


def is_stream(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == NDJSON


class _Answering(StreamingResponse):
    """Starlette's own learns that a client has gone by reading from it: here that would swallow lines."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.stream_response(send)


async def _stream(request: Request, caller: Caller) -> AsyncIterator[bytes]:
    try:
        async for lines in lines_of(request.stream()):
            read = [_read_line(line) for line in lines]
            try:
                results = await run_in_threadpool(_ask, request, caller, read)
            except SQLAlchemyError as error:
                if not is_outage(error):
                    raise
                results = [one if isinstance(one, Result) else _AWAY for one in read]
            yield b"".join(result.model_dump_json().encode() + b"\n" for result in results)
    except TooLong:
        wrong = FieldError(field="body", message=f"a line is longer than {LINE_MAX} bytes; what follows was not read")
        yield Result(status=413, code="too_large", errors=[wrong]).model_dump_json().encode() + b"\n"
    except ClientDisconnect:
        return  # half a line is none


_AWAY = Result(status=503, code="database_away")


def _read_line(line: bytes) -> BatchItem | Result:
    try:
        return _read(_parsed(line))
    except ValueError:
        return Result(status=422, code="not_valid", errors=[FieldError(field="body", message="it is not JSON")])


def _parsed(said: bytes) -> Any:
    """Raises `ValueError` for what is no JSON, or nested so deep that nobody means it."""
    try:
        return json.loads(said)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _read(item: Any) -> BatchItem | Result:
    try:
        return BatchItem.model_validate(item)
    except ValidationError as error:
        wrong = problems.wrong_fields([{**one, "loc": ("body", *one["loc"])} for one in error.errors()])
        return Result(status=422, code="not_valid", errors=wrong)


def _ask(request: Request, caller: Caller, read: Sequence[BatchItem | Result]) -> list[Result]:
    good = [(item, item.idempotency_key) for item in read if isinstance(item, BatchItem)]
    hinting: Hinting = request.state.hinting
    with hinting.transaction() as connection:
        done = ask_many(connection, caller, good, request.state.correlation_id)
    metrics_of(request).asked(KIND, *(one.how if isinstance(one, Asked) else "refused" for one in done))
    answers = iter(done)
    return [one if isinstance(one, Result) else _result(next(answers)) for one in read]


def _result(answer: Any) -> Result:
    if isinstance(answer, Asked):
        return Result(status=202, job=answer)
    status, field, sentence = problems.REASONS[answer.code]
    wrong = [FieldError(field=_own_name(field), message=sentence)] if field is not None else None
    return Result(status=status, code=answer.code, errors=wrong)


def _own_name(field: str) -> str:
    """A header of the single request is a member of the item here."""
    return "idempotency_key" if field == "Idempotency-Key" else field
