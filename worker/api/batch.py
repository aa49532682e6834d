"""Asking for many verifications at once: each has its own answer, and one that is wrong does not stop the others."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Request, Security
from pydantic import BaseModel, Field, ValidationError
from sqlalchemy import Connection

from worker.api import problems
from worker.api.asking import KEY_FORM, Asked, VerificationRequest, ask
from worker.api.auth import authenticated
from worker.api.hinting import Hinting
from worker.api.problems import FieldError
from worker.api.tokens import Caller
from worker.errors import BadRequest

ITEMS_MAX = 1000

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


_ITEMS = {"type": "array", "minItems": 1, "maxItems": ITEMS_MAX, "items": {"$ref": "#/components/schemas/BatchItem"}}


@router.post(
    "/verifications:batch",
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": _ITEMS}}}},
)
def ask_for_many(
    items: Annotated[list[Any], Body(min_length=1, max_length=ITEMS_MAX)],
    request: Request,
    caller: Annotated[Caller, Security(authenticated, scopes=["verifications:write"])],
) -> Batch:
    """Ask for up to 1,000 verifications. Send it again with the same keys if no answer comes: no job is doubled."""
    results: list[Result] = [Result(status=422)] * len(items)
    asked: list[tuple[int, BatchItem]] = []
    for index, item in enumerate(items):
        try:
            asked.append((index, BatchItem.model_validate(item)))
        except ValidationError as error:
            wrong = problems.wrong_fields([{**one, "loc": ("body", *one["loc"])} for one in error.errors()])
            results[index] = Result(status=422, code="not_valid", errors=wrong)
    # Two batches with the same keys take them in the same order, so neither can hold what the other waits for.
    asked.sort(key=lambda pair: pair[1].idempotency_key or "")
    hinting: Hinting = request.state.hinting
    with hinting.transaction() as connection:
        for index, item in asked:
            results[index] = _ask(connection, caller, item, request.state.correlation_id)
    return Batch(results=results)


def _ask(connection: Connection, caller: Caller, item: BatchItem, correlation_id: str) -> Result:
    try:
        job = ask(connection, caller, item, idempotency_key=item.idempotency_key, correlation_id=correlation_id)
    except BadRequest as error:
        status, field, sentence = problems.REASONS[error.code]
        wrong = [FieldError(field=_own_name(field), message=sentence)] if field is not None else None
        return Result(status=status, code=error.code, errors=wrong)
    return Result(status=202, job=job)


def _own_name(field: str) -> str:
    """A header of the single request is a member of the item here."""
    return "idempotency_key" if field == "Idempotency-Key" else field
