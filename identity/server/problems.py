"""Errors as RFC 9457 problem details: what a wrong request gets, and nothing else."""

import json
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from augmentor.errors import InputError

MEDIA_TYPE = "application/problem+json"
_KIND = "urn:likeness:problem:"


class Problem(HTTPException):
    """A request that gets no answer.

    Args:
        status: of HTTP.
        kind: short name of the problem, for programs.
        detail: what is wrong with this request and what to do, for people.
        headers: further ones.
        more: further members of the document.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(status, detail, dict(headers or {}))
        self.kind, self.more = kind, dict(more or {})

    def response(self) -> Response:
        """As it is sent."""
        told = {
            "type": _KIND + self.kind,
            "title": HTTPStatus(self.status_code).phrase,
            "status": self.status_code,
            "detail": self.detail,
        }
        content = json.dumps(told | self.more, ensure_ascii=False).encode("utf-8", "backslashreplace")
        return Response(content, self.status_code, self.headers, MEDIA_TYPE)


def busy(detail: str, seconds: int = 1) -> Problem:
    """Come back later."""
    return Problem(503, "busy", detail, {"Retry-After": str(max(1, seconds))})


def answer_with_problems(app: FastAPI) -> None:
    """Let every error of `app` be told as a problem."""

    @app.exception_handler(HTTPException)
    async def _http(_request: Request, error: HTTPException) -> Response:
        if not isinstance(error, Problem):
            kind = HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
            error = Problem(error.status_code, kind, str(error.detail), error.headers)
        return error.response()

    @app.exception_handler(RequestValidationError)
    async def _invalid(_request: Request, error: RequestValidationError) -> Response:
        wrong = [
            {"where": ".".join(str(part) for part in e["loc"]), "what": str(e["msg"])} for e in error.errors()
        ]
        told = "; ".join(f"{w['where']}: {w['what']}" for w in wrong[:5])
        return Problem(422, "invalid", told, more={"errors": wrong}).response()

    @app.exception_handler(InputError)
    async def _input(_request: Request, error: InputError) -> Response:
        return Problem(422, "unusable", str(error)).response()

    @app.exception_handler(Exception)
    async def _unexpected(_request: Request, error: Exception) -> Response:
        logging.getLogger("likeness.server").error("%s", type(error).__name__, exc_info=error)
        return Problem(500, "unexpected", "an error in the server; its log tells more").response()
