"""Errors as answers after RFC 9457: a sentence with the problem and the fix."""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

KIND = "application/problem+json"
ANSWERS: dict[int | str, dict[str, Any]] = {
    status: {"description": "A problem, in a sentence", "content": {KIND: {}}}
    for status in ("4XX", "5XX")
}
AGAIN = {"Retry-After": "1"}
OWNERS_CURE = r"(;|, or) raise budget( to \d+)? if that is meant"
UNEXPECTED = "an unexpected error, which the server's log describes"


class Problem(Exception):  # noqa: N818 (the standard's word)
    """Ends a request.

    Args:
        status: status of the answer.
        detail: a sentence for the client.
        headers: headers of the answer.
    """

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, dict(headers or {})


def install(app: FastAPI) -> None:
    """Answer every error of a FastAPI application with a problem."""
    kinds = (Problem, HTTPException, RequestValidationError, ClientDisconnect, Exception)
    for kind in kinds:
        app.add_exception_handler(kind, _answer)


async def _answer(request: Request, error: Exception) -> JSONResponse:
    problem = _problem_of(error, request.url.path)
    detail = re.sub(OWNERS_CURE, lambda found: "; send less" * (found[1] == ";"), problem.detail)
    title = HTTPStatus(problem.status).phrase
    body = {"type": "about:blank", "title": title, "status": problem.status}
    return JSONResponse({**body, "detail": detail}, problem.status, problem.headers, KIND)


def _problem_of(error: Exception, path: str) -> Problem:
    # FastAPI wraps errors that are raised while it reads a body.
    if isinstance(cause := error.__cause__ or error, Problem):
        return cause
    if isinstance(error, HTTPException):
        nothing = f"there is nothing at {path}; /openapi.json lists what there is"
        detail = nothing if error.status_code == 404 else error.detail
        return Problem(error.status_code, detail, error.headers)
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"][1:])
        words = first["msg"].removeprefix("Value error, ")
        return Problem(422, f"{name}: {words}".removeprefix(": "))
    if isinstance(error, ClientDisconnect):
        return Problem(400, "the client left before its whole request had arrived")
    return Problem(500, UNEXPECTED)
