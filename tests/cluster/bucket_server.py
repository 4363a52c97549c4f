"""Run an S3 server that refuses some requests: `python -m tests.cluster.bucket_server PORT RATE FILE`.

It is moto's server behind a door that answers 503 (`SlowDown`) to a share of RATE of all requests, drawn from a seed,
and to all of them while FILE exists. The door counts the requests that it let through and refused in FILE.count.
"""

import random
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, run_simple

REFUSAL = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>SlowDown</Code>'
    b"<Message>Please reduce your request rate.</Message></Error>"
)


class Door:
    """A WSGI application that passes requests on or refuses them; see the module."""

    def __init__(self, inner: Callable[..., Iterable[bytes]], rate: float, closed: Path) -> None:
        self._inner, self._rate, self._closed = inner, rate, closed
        self._lots = random.Random(7)
        self._lock = threading.Lock()
        self._let, self._refused = 0, 0

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        with self._lock:
            refuse = self._closed.exists() or self._lots.random() < self._rate
            self._let += not refuse
            self._refused += refuse
            self._closed.with_name(self._closed.name + ".count").write_text(f"{self._let} {self._refused}")
        if not refuse:
            return self._inner(environ, start_response)
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start_response(
            "503 Slow Down", [("Content-Type", "application/xml"), ("Content-Length", str(len(REFUSAL)))]
        )
        return [REFUSAL]


class Quiet(WSGIRequestHandler):
    """Keeps connections open and logs nothing."""

    protocol_version = "HTTP/1.1"

    def log_request(self, *_: Any) -> None:
        """Log nothing."""


if __name__ == "__main__":
    port, rate, file = int(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3])
    app = Door(DomainDispatcherApplication(create_backend_app), rate, file)
    run_simple("127.0.0.1", port, app, threaded=True, request_handler=Quiet)
