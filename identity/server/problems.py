"""Turn errors into RFC 9457 problem documents, which are the only form in which clients get errors.

Messages about the server's own files contain folders of its machine. Clients do not see these messages: they get a
general problem instead, with a status that says whether trying again may help.
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
    """A problem to answer a request with.

    Args:
        status: HTTP status.
        kind: short name of the problem, for programs.
        detail: what is wrong and what to do about it, for people.
        headers: additional headers of the answer.
        more: additional members of the document.
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
        """Return the problem as an HTTP response."""
        document = {
            "type": _KIND + self.kind,
            "title": HTTPStatus(self.status_code).phrase,
            "status": self.status_code,
            "detail": self.detail,
        }
        content = json.dumps(document | self.more, ensure_ascii=False).encode("utf-8", "backslashreplace")
        return Response(content, self.status_code, self.headers, MEDIA_TYPE)


def busy(detail: str, seconds: int = 1) -> Problem:
    """Return the problem that the server is busy.

    Args:
        detail: explanation for people.
        seconds: time after which the client should try again.
    """
    return Problem(503, "busy", detail, {"Retry-After": str(max(1, seconds))})


def unavailable(detail: str) -> Problem:
    """Return the problem that the server cannot answer until its administrator repairs it.

    Args:
        detail: explanation for people.
    """
    return Problem(503, "unavailable", detail, {"Retry-After": "30"})


def no_room() -> Problem:
    """Return the problem that the server's disk is full."""
    return Problem(507, "no-room", "there is no room on the server's disk; contact its administrator")


def storage_problem(error: BaseException | None) -> Problem | None:
    """Return the problem for an error that comes from the server's disk; None if it comes from elsewhere."""
    for cause in _causes(error):
        if isinstance(cause, sqlite3.Error):
            message = str(cause)
            if "locked" in message or "busy" in message:
                return busy("another program is changing the people of this run; try again in a moment", 5)
            return no_room() if "full" in message else unavailable("the server cannot use its own files")
        if isinstance(cause, OSError):
            if cause.errno in (errno.EMFILE, errno.ENFILE):
                return busy("too many files are open; send fewer photos at once, or try again later", 5)
            if cause.errno in (errno.ENOSPC, errno.EDQUOT):
                return no_room()
            return unavailable("the server cannot use its own files")
    return None


def input_problem(error: InputError, private: Sequence[str] = ()) -> Problem:
    """Return the problem for an `InputError`.

    Args:
        error: an error about a wrong value in the request, or about files of the server that cannot be used.
        private: folders of this machine that no answer may contain.
    """
    problem = storage_problem(error)
    if problem is None and any(folder in str(error) for folder in private):
        problem = unavailable("the server cannot use its run; contact its administrator")
    return problem or Problem(422, "unusable", str(error))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, the error it was raised from, and so on."""
    visited: set[int] = set()
    while error is not None and id(error) not in visited:
        visited.add(id(error))
        yield error
        error = error.__cause__


def answer_with_problems(app: FastAPI, private: Sequence[str] = ()) -> None:
    """Make an application answer errors with problem documents.

    Unexpected errors are left to `identity.server.observed`.

    Args:
        app: the application.
        private: folders of this machine that no answer may contain.
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
        detail = "; ".join(f"{w['where']}: {w['what']}" for w in wrong[:5])
        return Problem(422, "invalid", detail, more={"errors": wrong}).response()

    @app.exception_handler(InputError)
    async def _input(_request: Request, error: InputError) -> Response:
        return input_problem(error, private).response()
