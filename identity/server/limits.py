"""How much at once: requests, bytes of a request, seconds of a request."""

import asyncio
import math

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from identity.server.problems import Problem, busy

ALWAYS = frozenset(
    ["/healthz", "/readyz", "/metrics"]
)  # whoever watches the server must hear when it is busy


class Limits:
    """ASGI middleware.

    Args:
        app: what is guarded.
        max_requests: that are let through at once; more get 503.
        max_body: bytes; more get 413, as soon as it is known.
        seconds: of a request, from its first byte to the answer's; then it gets 503.
    """

    def __init__(self, app: ASGIApp, max_requests: int, max_body: int, seconds: float) -> None:
        self._app = app
        self._max_requests, self._max_body, self._seconds = max_requests, max_body, seconds
        self._now = 0
        self._usual = 1.0  # seconds of a request, an average that forgets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or let through."""
        if scope["type"] != "http" or scope["path"] in ALWAYS:
            await self._app(scope, receive, send)
            return
        if self._now >= self._max_requests:
            problem = busy(
                f"{self._now} requests are being answered; ask again later", math.ceil(self._usual)
            )
            await problem.response()(scope, receive, send)
            return
        self._now += 1
        started = asyncio.get_running_loop().time()
        try:
            await self._within_limits(scope, receive, send)
        finally:
            self._now -= 1
            self._usual += 0.1 * (asyncio.get_running_loop().time() - started - self._usual)

    async def _within_limits(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False
        length = Headers(scope=scope).get("content-length", "")
        if length.isdecimal() and int(length) > self._max_body:
            await self._too_large().response()(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_body:
                raise self._too_large()
            return message

        async def noticed(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await asyncio.wait_for(self._app(scope, counted, noticed), self._seconds)
        except asyncio.TimeoutError:
            if begun:
                raise
            late = busy(f"not answered within {self._seconds:g} s; send fewer photos at once", 10)
            await late.response()(scope, receive, send)

    def _too_large(self) -> Problem:
        limit = f"{self._max_body / 1e6:g} MB"
        return Problem(413, "too-large", f"a request may have {limit}; send fewer photos at once")
