"""Limit how many requests are answered at the same time, and the bytes and seconds of each.

A request occupies a slot from its start, even while it only waits for its body, until its answer begins. It is given
up if no byte arrives for a while. If all slots are taken, a request whose body arrives slowly is given up at once in
favour of a new one. A client that does not read its answer is given up after a while, and so is the work for a client
that has left.
"""

import asyncio
import math
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from identity.server.access import OPEN
from identity.server.problems import Problem, busy
from identity.server.turns import REQUEST

# These are answered without a slot: monitoring must be able to ask while the server is busy, and people read on the
# page that it is.
ALWAYS = OPEN | {"/metrics"}
MOST_WITHOUT_PHOTOS = 64_000  # bytes of a body without photos
_UPLOADS = re.compile(r"/v1/identify|/v1/verify|/v1/people|/v1/organise(/[^/]+/photos)?|/upload")
_LONGEST_RETRY = 10  # seconds
_PAUSE = 1.0  # seconds without a byte after which an upload gives way to others
_GRACE, _LEAST_RATE = (
    5.0,
    10_000.0,
)  # after these seconds, an upload with fewer bytes per second gives way, too
_LONG_GRACE, _LEAST_RATE_EVER = 30.0, 1_000.0  # after these, it is given up even if no other request waits


@dataclass(eq=False)
class Upload:
    """A request that occupies a slot.

    Attributes:
        caller: number of its key; None without keys.
        clock: monotonic clock, seconds.
        receiving: whether more of its body will come.
        received: bytes received so far.
        waited: seconds spent waiting for them.
        since: time at which it started to wait for more; None while it does not wait.
        cut: set when the request must be given up.
    """

    caller: int | None
    clock: Callable[[], float]
    receiving: bool = True
    received: int = 0
    waited: float = 0.0
    since: float | None = None
    cut: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def pause(self) -> float:
        """Seconds since the request started to wait for more of its body."""
        return 0.0 if self.since is None else self.clock() - self.since

    @property
    def gives_way(self) -> bool:
        """True if the body arrives so slowly that another request should get the slot."""
        waited = self.waited + self.pause
        slow = waited > _GRACE and self.received < _LEAST_RATE * waited
        return self.receiving and self.since is not None and (self.pause > _PAUSE or slow)

    async def next(self, receive: Receive, idle: float) -> Message:
        """Return the next part of the body.

        Args:
            receive: the ASGI function that receives messages.
            idle: seconds after which waiting is given up.

        Raises:
            Problem: The body does not arrive or arrives too slowly, or another request needs the slot.
        """
        if not self.receiving:  # the only message left is that the client disconnected
            return await receive()
        self.since = self.clock()
        coming, cut = asyncio.ensure_future(receive()), asyncio.ensure_future(self.cut.wait())
        try:
            await asyncio.wait({coming, cut}, timeout=idle, return_when=asyncio.FIRST_COMPLETED)
            if self.cut.is_set():
                raise busy("this upload arrives slowly and other requests are waiting; try again later", 5)
            self.waited += self.pause
            slow = self.waited > _LONG_GRACE and self.received < _LEAST_RATE_EVER * self.waited
            if not coming.done() or slow:
                raise Problem(
                    408, "too-slow", f"the body stopped for {idle:g} s or arrived too slowly; try again"
                )
            message = coming.result()
        finally:
            self.since = None
            for task in (coming, cut):
                task.cancel()
        self.receiving = message["type"] == "http.request" and message.get("more_body", False)
        self.received += len(message.get("body", b""))
        return message


class Slots:
    """The requests that are being answered.

    Args:
        most: largest number of them.
        most_of_a_key: largest number with the same key.
        most_bytes: bytes that their bodies may have together.
        clock: monotonic clock, seconds.
    """

    def __init__(
        self, most: int, most_of_a_key: int, most_bytes: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.most, self.most_of_a_key, self.most_bytes = most, most_of_a_key, most_bytes
        self._clock = clock
        self._open: set[Upload] = set()

    def __len__(self) -> int:
        return len(self._open)

    @property
    def full(self) -> bool:
        """True if a new request would be refused."""
        return len(self._open) >= self.most and not any(one.gives_way for one in self._open)

    @property
    def receiving(self) -> bool:
        """True if a request is waiting for more of its body."""
        return any(one.since is not None for one in self._open)

    def take(self, caller: int | None) -> Upload:
        """Return a slot for a request.

        Args:
            caller: number of its key; None without keys.

        Raises:
            Problem: No slot is free.
        """
        own = [] if caller is None else [one for one in self._open if one.caller == caller]
        if len(own) >= self.most_of_a_key and not self._cut_slowest(own):
            raise busy(f"{len(own)} requests with this key are being answered; try again later")
        if len(self._open) >= self.most and not self._cut_slowest(self._open):
            raise busy(f"{len(self._open)} requests are being answered; try again later")
        taken = Upload(caller, self._clock)
        self._open.add(taken)
        return taken

    def give_back(self, taken: Upload) -> None:
        """Free a slot."""
        self._open.discard(taken)

    def check_bytes(self, asking: Upload) -> None:
        """Check that there is room for all bytes received by now, and cut slow uploads to make some.

        Args:
            asking: the request that received bytes; it is not cut.

        Raises:
            Problem: There is no room.
        """
        while sum(one.received for one in self._open) > self.most_bytes:
            if not self._cut_slowest(one for one in self._open if one is not asking and one.received):
                raise busy("the server has no room for more uploads at the moment; try again later", 5)

    def _cut_slowest(self, among: Iterable[Upload]) -> bool:
        slow = [one for one in among if one.gives_way]
        if not slow:
            return False
        slowest = max(slow, key=lambda one: one.pause)
        slowest.cut.set()
        self._open.discard(slowest)
        return True


class Limits:
    """ASGI middleware that refuses requests beyond the limits.

    Args:
        app: the application to guard.
        max_requests: requests that are passed on at the same time; further ones get 503.
        max_body: largest body in bytes; larger ones get 413 as soon as this is known. Requests without photos may have
            far less (`MOST_WITHOUT_PHOTOS`).
        seconds: time from the first byte of a request to its answer; then it gets 503.
        idle: seconds without a byte of the body; then the request gets 408.
        slots: the slots to use; made here if None.
        patience: seconds for which a client may read nothing of its answer; then the connection is closed.
    """

    def __init__(
        self,
        app: ASGIApp,
        max_requests: int,
        max_body: int,
        seconds: float,
        idle: float = 20.0,
        slots: Slots | None = None,
        patience: float = 20.0,
    ) -> None:
        self._app, self._patience = app, patience
        self._max_body, self._seconds, self._idle = max_body, seconds, idle
        self._slots = Slots(max_requests, max_requests, 2 * max_body) if slots is None else slots
        self._average = 1.0  # seconds that a request takes, a running average

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request or pass it on."""
        if scope["type"] != "http" or scope["path"] in ALWAYS:
            await self._app(scope, receive, send)
            return
        try:
            slot = self._slots.take(scope.get("state", {}).get("caller"))
        except Problem as problem:
            # a slow upload gives way within seconds, but a request that is being answered does not
            seconds = 1 if self._slots.receiving else min(_LONGEST_RETRY, math.ceil(self._average))
            problem.headers = {"Retry-After": str(max(1, seconds))}
            await problem.response()(scope, receive, send)
            return
        started = asyncio.get_running_loop().time()
        REQUEST.set(slot)
        try:
            await self._within_limits(scope, receive, send, slot)
        finally:
            self._slots.give_back(slot)
            self._average += 0.1 * (asyncio.get_running_loop().time() - started - self._average)

    async def _within_limits(self, scope: Scope, receive: Receive, send: Send, slot: Upload) -> None:
        begun = False
        headers = Headers(scope=scope)
        photos = _UPLOADS.fullmatch(scope["path"]) and headers.get("content-type", "").startswith(
            "multipart/"
        )
        most = self._max_body if photos else min(self._max_body, MOST_WITHOUT_PHOTOS)
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > most:
            await _too_large(most).response()(scope, receive, send)
            return

        client = _ClientWatch(receive)

        async def counted() -> Message:
            message = await (slot.next(receive, self._idle) if slot.receiving else client.message())
            if slot.received > most:
                raise _too_large(most)
            self._slots.check_bytes(slot)
            if not slot.receiving:
                client.watch()
            return message

        async def noticed(message: Message) -> None:
            nonlocal begun
            begun = True
            self._slots.give_back(slot)
            await asyncio.wait_for(send(message), self._patience)

        answering = asyncio.ensure_future(self._app(scope, counted, noticed))
        client.then = answering.cancel
        try:
            await asyncio.wait_for(answering, self._seconds)
        except asyncio.TimeoutError:
            if begun:  # the client does not read its answer, so the connection is closed
                return
            late = busy(
                f"the request was not answered within {self._seconds:g} s; send fewer photos at once", 10
            )
            await late.response()(scope, receive, send)
        except asyncio.CancelledError:
            if not client.disconnected:
                raise
        finally:
            client.end()


class _ClientWatch:
    """Watches whether a client disconnects after it has sent its request.

    Args:
        receive: the ASGI function that receives messages of the request.

    Attributes:
        then: function to call when the client has disconnected.
        disconnected: whether the client has disconnected.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._next: asyncio.Future[Message] | None = None
        self.then: Callable[[], object] = lambda: None
        self.disconnected = False

    def watch(self) -> None:
        """Start to wait for the message after the body, which says that the client disconnected."""
        if self._next is None:
            self._next = asyncio.ensure_future(self._receive())
            self._next.add_done_callback(self._noticed)

    async def message(self) -> Message:
        """Return the message after the body."""
        self.watch()
        assert self._next is not None
        return await asyncio.shield(self._next)

    def end(self) -> None:
        """Stop waiting."""
        if self._next is not None:
            self._next.cancel()

    def _noticed(self, coming: "asyncio.Future[Message]") -> None:
        if coming.cancelled() or coming.exception() is not None:
            return
        if coming.result()["type"] == "http.disconnect":
            self.disconnected = True
            self.then()


def _too_large(most: int) -> Problem:
    if most <= MOST_WITHOUT_PHOTOS:
        return Problem(413, "too-large", f"a request without photos may have at most {most / 1e3:g} kB")
    return Problem(
        413, "too-large", f"a request may have at most {most / 1e6:g} MB; send fewer photos at once"
    )
