"""The OpenAPI document, with what FastAPI can't know: the form of problems, and the headers every request has."""

from typing import Any

from fastapi import FastAPI

from worker.api.batch import BatchItem
from worker.api.problems import CORRELATION, Problem, documented

_CORRELATION_IN = {
    "name": CORRELATION,
    "in": "header",
    "required": False,
    "description": "Kept with the job and given back; made up where it is missing.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:/+=-]{1,100}$"},
}
_CORRELATION_OUT = {"schema": {"type": "string"}}


def describe(app: FastAPI) -> None:
    """Have `app` serve the completed document."""
    generate = app.openapi

    def completed() -> dict[str, Any]:
        if app.openapi_schema is None:
            _complete(generate())
        return app.openapi_schema or {}

    app.openapi = completed  # type: ignore[method-assign]  # FastAPI's documented way to extend the document


def _complete(document: dict[str, Any]) -> None:
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's own form of errors, which nobody is sent
        schemas.pop(name, None)
    for model in (Problem, BatchItem):
        described = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= described.pop("$defs", {})
        schemas[model.__name__] = described
    components.setdefault("securitySchemes", {})["basic"] = {"type": "http", "scheme": "basic"}
    for path in document["paths"].values():
        for operation in path.values():
            operation.setdefault("parameters", []).append(_CORRELATION_IN)
            answers = operation["responses"]
            answers.setdefault("413", documented("The body is too large."))
            answers.setdefault("422", documented(f"{CORRELATION} has a wrong form."))
            for answer in answers.values():
                answer.setdefault("headers", {})[CORRELATION] = _CORRELATION_OUT
