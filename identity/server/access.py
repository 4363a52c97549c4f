"""Who may ask: the right host and origin, a key where keys are set, and not too often.

Without keys the server listens on this machine only. A web page opened in the user's browser can still send requests
there, so a request must name this machine as its host, and one that a browser sends on behalf of another site is
refused.
"""

import hashlib
import hmac
import time
from collections import OrderedDict
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from identity.server.problems import Problem

LOOPBACK = frozenset(["localhost", "127.0.0.1", "::1"])
OPEN = frozenset(["/", "/page.css", "/page.js", "/icon.svg", "/healthz", "/readyz", "/openapi.json"])
_MOST_CALLERS = 10_000


class Access:
    """ASGI middleware.

    Args:
        app: what is guarded.
        keys: none: no key is asked for, but the request must be from this machine.
        rate: requests a minute for each key.
        clock: seconds, ever growing.
    """

    def __init__(
        self, app: ASGIApp, keys: frozenset[str], rate: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._app, self._keys = app, [_digest(key) for key in sorted(keys)]
        self._buckets = Buckets(rate, clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or let through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            self._check(headers, scope["path"])
        except Problem as problem:
            await problem.response()(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _check(self, headers: Headers, path: str) -> None:
        if not self._keys:
            if _host_of(f"//{headers.get('host', '')}") not in LOOPBACK:
                raise Problem(
                    403,
                    "foreign-host",
                    "this server answers to the name of this machine only, or asks for a key",
                )
            origin = headers.get("origin")
            foreign = origin is not None and _host_of(origin) not in LOOPBACK
            if foreign or headers.get("sec-fetch-site") == "cross-site":
                raise Problem(403, "foreign-origin", "sent on behalf of another site")
            return
        if path in OPEN:
            return
        caller = self._caller(headers)
        if caller is None:
            how = {"WWW-Authenticate": 'Bearer realm="likeness"'}
            raise Problem(401, "no-key", "send a key as `Authorization: Bearer KEY`", how)
        wait = self._buckets.take(caller)
        if wait > 0:
            after = {"Retry-After": str(int(wait) + 1)}
            raise Problem(
                429, "too-often", f"at most {self._buckets.rate} requests a minute for a key", after
            )

    def _caller(self, headers: Headers) -> int | None:
        """Which key was sent; all are compared, each in constant time."""
        scheme, _, sent = headers.get("authorization", "").partition(" ")
        given = _digest(sent.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", ""))
        found = None
        for number, key in enumerate(self._keys):
            if hmac.compare_digest(given, key):
                found = number
        return found


class Buckets:
    """Token buckets: each caller may make `rate` requests at once, and gets them back within a minute."""

    def __init__(self, rate: int, clock: Callable[[], float]) -> None:
        self.rate = rate
        self._clock = clock
        self._left: OrderedDict[int, tuple[float, float]] = OrderedDict()

    def take(self, caller: int) -> float:
        """0 and a token less, or how many seconds until there is one."""
        now = self._clock()
        left, then = self._left.pop(caller, (float(self.rate), now))
        left = min(float(self.rate), left + (now - then) * self.rate / 60)
        taken = left >= 1
        self._left[caller] = (left - taken, now)
        if len(self._left) > _MOST_CALLERS:
            self._left.popitem(last=False)
        return 0.0 if taken else (1 - left) * 60 / self.rate


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _host_of(url: str) -> str:
    """The host in a URL, lower case; empty where there is none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
