"""Errors as RFC 9457 problem details: what a wrong request gets, and nothing else.

Texts of errors that come from the server's own files name folders of this machine. Who asks does not see them: a
request gets them as a problem of the server, with a status that says whether asking again may help.
"""

import errno
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
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


def unavailable(detail: str) -> Problem:
    """The server cannot answer until somebody mends it."""
    return Problem(503, "unavailable", detail, {"Retry-After": "30"})


def no_room() -> Problem:
    """The server's disk is full."""
    return Problem(507, "no-room", "there is no room on the server's disk; ask whoever runs it to make some")


def storage_problem(error: BaseException | None) -> Problem | None:
    """What a request gets whose error comes from the server's disk; None if it does not come from there."""
    for cause in _causes(error):
        if isinstance(cause, sqlite3.Error):
            said = str(cause)
            if "locked" in said or "busy" in said:
                return busy("another program is changing the people of this run; ask again", 5)
            return no_room() if "full" in said else unavailable("the server cannot use its own files")
        if isinstance(cause, OSError):
            if cause.errno in (errno.EMFILE, errno.ENFILE):
                return busy("too many files are open; send fewer photos at once, or ask again later", 5)
            if cause.errno in (errno.ENOSPC, errno.EDQUOT):
                return no_room()
            return unavailable("the server cannot use its own files")
    return None


def input_problem(error: InputError, private: Sequence[str] = ()) -> Problem:
    """What a request gets for an `InputError`.

    Args:
        error: a wrong value of the request, or files of the server that cannot be used.
        private: folders of this machine that no answer may name.
    """
    problem = storage_problem(error)
    if problem is None and any(folder in str(error) for folder in private):
        problem = unavailable("the server cannot use its run; ask whoever runs it")
    return problem or Problem(422, "unusable", str(error))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it was raised from."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__


def answer_with_problems(app: FastAPI, private: Sequence[str] = ()) -> None:
    """Let every error of `app` be told as a problem; what nobody thought of is `observed`'s to tell.

    Args:
        app: the application.
        private: folders of this machine that no answer may name.
    """

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
        return input_problem(error, private).response()
