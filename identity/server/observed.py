"""What can be seen of a running server: an id for each request, a log line, and metrics. No names, no faces.

Messages of errors name files and people, so the log has the kind of an error and where in the program it was raised.
"""

import json
import logging
import re
import secrets
import sys
import time
import traceback
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from identity.server.problems import Problem, storage_problem

LOGGER = logging.getLogger("likeness.server")
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class Metrics:
    """Prometheus metrics of one server."""

    def __init__(self) -> None:
        self.registry = own = CollectorRegistry()
        labels = ["method", "route", "status"]
        self.requests = Counter("likeness_requests", "Requests answered", labels, registry=own)
        self.seconds = Histogram(
            "likeness_request_seconds",
            "Time to the end of the answer",
            ["route"],
            buckets=_SECONDS,
            registry=own,
        )
        self.open = Gauge("likeness_requests_open", "Requests being answered", registry=own)
        self.photos = Counter("likeness_photos", "Photos looked at", ["status"], registry=own)
        self.faces = Counter("likeness_faces", "Faces embedded", registry=own)
        self.batch = Histogram(
            "likeness_batch_faces",
            "Faces that went through the networks together",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=own,
        )
        self.people = Gauge("likeness_people", "People enrolled", registry=own)
        self.jobs = Gauge("likeness_album_jobs", "Folders that are kept", registry=own)


class Observed:
    """ASGI middleware, the outermost: counts and logs whatever becomes of a request.

    An error that nobody thought of ends here: frameworks outside would log its message.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let through, and note."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        number = given if _ID.fullmatch(given) else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = number
        status, begun = 500, False
        started = time.perf_counter()

        async def noted(message: Message) -> None:
            nonlocal status, begun
            begun = True
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = number
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        self._metrics.open.inc()
        try:
            await self._app(scope, receive, noted)
        except Exception as error:
            log_error("request", error, number)
            if not begun:
                problem = storage_problem(error) or Problem(
                    500, "unexpected", "an error in the server; its log tells more"
                )
                await problem.response()(scope, receive, noted)
        finally:
            self._metrics.open.dec()
            seconds = time.perf_counter() - started
            route = getattr(
                scope.get("route"), "path", "none"
            )  # the pattern: a path may hold a person's name
            self._metrics.requests.labels(scope["method"], route, str(status)).inc()
            self._metrics.seconds.labels(route).observe(seconds)
            told = {"request_id": number, "method": scope["method"], "route": route, "status": status}
            LOGGER.info("request", extra={"told": told | {"ms": round(1000 * seconds, 1)}})


_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
}


class JsonLines(logging.Formatter):
    """A log record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        told = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname.lower(),
            "what": record.getMessage(),
        } | getattr(record, "told", {})
        return json.dumps(told, ensure_ascii=False)


def log_error(what: str, error: BaseException, request: str = "") -> None:
    """Log an error without its message, which may name people and files.

    Args:
        what: was being done.
        error: what was raised.
        request: its number.
    """
    told: dict[str, Any] = {"request_id": request} if request else {}
    causes: list[str] = []
    trace: list[list[str]] = []
    cause: BaseException | None = error
    while cause is not None and len(causes) < 5:
        number = getattr(cause, "errno", None)
        causes.append(type(cause).__name__ + (f" {number}" if isinstance(number, int) else ""))
        frames = traceback.extract_tb(cause.__traceback__)[-8:]
        trace.append([f"{'/'.join(f.filename.split('/')[-3:])}:{f.lineno} {f.name}" for f in frames])
        cause = cause.__cause__
    LOGGER.error("%s: %s", what, causes[0], extra={"told": told | {"causes": causes, "trace": trace}})


def log_task_error(_loop: Any, context: dict[str, Any]) -> None:
    """Log what became of a task nobody waited for, in place of asyncio, which logs messages."""
    error = context.get("exception")
    if isinstance(error, BaseException):
        log_error("task", error)


def log_to_stderr() -> None:
    """JSON lines of this server's own records, from level info."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    LOGGER.handlers[:] = [handler]
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
