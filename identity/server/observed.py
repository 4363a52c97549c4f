"""Observe a running server: an id for each request, log lines and metrics, without names and faces.

Error messages contain names of files and people. Therefore the log contains only the type of an error and the place in
the program where it was raised.
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
    """The Prometheus metrics of one server."""

    def __init__(self) -> None:
        self.registry = own = CollectorRegistry()
        labels = ["method", "route", "status"]
        self.requests = Counter("likeness_requests", "Requests answered", labels, registry=own)
        self.seconds = Histogram(
            "likeness_request_seconds",
            "Time from the start of a request to the end of its answer",
            ["route"],
            buckets=_SECONDS,
            registry=own,
        )
        self.open = Gauge("likeness_requests_open", "Requests being answered", registry=own)
        self.photos = Counter("likeness_photos", "Photos read", ["status"], registry=own)
        self.faces = Counter("likeness_faces", "Faces embedded", registry=own)
        self.batch = Histogram(
            "likeness_batch_faces",
            "Faces embedded in one batch",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=own,
        )
        self.people = Gauge("likeness_people", "People enrolled", registry=own)
        self.jobs = Gauge("likeness_album_jobs", "Album jobs on the server", registry=own)


class Observed:
    """The outermost ASGI middleware: counts and logs every request.

    It also handles unexpected errors, because frameworks outside of it would log their messages.

    Args:
        app: the application.
        metrics: the metrics to update.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, then log and count its answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sent_id = Headers(scope=scope).get("x-request-id", "")
        number = sent_id if _ID.fullmatch(sent_id) else secrets.token_hex(8)
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
                    500, "unexpected", "an unexpected error in the server; see the server's log"
                )
                await problem.response()(scope, receive, noted)
        finally:
            self._metrics.open.dec()
            seconds = time.perf_counter() - started
            # The route's pattern, not the path, which may contain a person's name.
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.requests.labels(scope["method"], route, str(status)).inc()
            self._metrics.seconds.labels(route).observe(seconds)
            fields = {"request_id": number, "method": scope["method"], "route": route, "status": status}
            LOGGER.info("request", extra={"fields": fields | {"ms": round(1000 * seconds, 1)}})


_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
}


class JsonLines(logging.Formatter):
    """Formats each log record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as a line of JSON."""
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname.lower(),
            "what": record.getMessage(),
        } | getattr(record, "fields", {})
        return json.dumps(line, ensure_ascii=False)


def log_error(what: str, error: BaseException, request: str = "") -> None:
    """Log an error without its message, which may contain names of people and files.

    Args:
        what: what the program was doing.
        error: the error.
        request: id of the request, if there is one.
    """
    fields: dict[str, Any] = {"request_id": request} if request else {}
    causes: list[str] = []
    trace: list[list[str]] = []
    cause: BaseException | None = error
    while cause is not None and len(causes) < 5:
        number = getattr(cause, "errno", None)
        causes.append(type(cause).__name__ + (f" {number}" if isinstance(number, int) else ""))
        frames = traceback.extract_tb(cause.__traceback__)[-8:]
        trace.append([f"{'/'.join(f.filename.split('/')[-3:])}:{f.lineno} {f.name}" for f in frames])
        cause = cause.__cause__
    LOGGER.error("%s: %s", what, causes[0], extra={"fields": fields | {"causes": causes, "trace": trace}})


def log_task_error(_loop: Any, context: dict[str, Any]) -> None:
    """Log the error of a task that nothing waited for; asyncio itself would log the error's message."""
    error = context.get("exception")
    if isinstance(error, BaseException):
        log_error("task", error)


def log_to_stderr() -> None:
    """Write this server's own log records to stderr as JSON lines, from level info on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    LOGGER.handlers[:] = [handler]
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
