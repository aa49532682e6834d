"""Errors as problem details (RFC 9457): one shape for every answer that is not a success.

`type` stays `about:blank`, which the RFC reads as "the status code says it all"; `detail` never repeats what an
exception says, because that may hold a value or a secret.
"""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

MEDIA_TYPE = "application/problem+json"


def problem(status: int, detail: str, **extensions: Any) -> JSONResponse:
    """An answer in the RFC's form; `extensions` are further members, for programs."""
    content = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return JSONResponse({**content, **extensions}, status, media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Answer every error of `app` as a problem."""
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(Exception, _broken)


async def _refused(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    response = problem(error.status_code, f"{request.method} {request.url.path}: {error.detail}")
    response.headers.update(error.headers or {})  # such as Allow with 405
    return response


async def _broken(request: Request, error: Exception) -> JSONResponse:
    return problem(500, f"{request.method} {request.url.path} failed; the log says why")
