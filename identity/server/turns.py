"""Share the processes that decode photos fairly among requests.

Each request may have many photos. If their photos waited in one line, a request with one photo would wait for all the
photos of the requests before it. Here the next turn goes to the request with the fewest turns now and, among those, to
the one that has had the least time so far.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

# The request that is being answered; None for work that belongs to no request.
REQUEST: ContextVar[Hashable] = ContextVar("likeness_request", default=None)


@dataclass
class _Share:
    """The part of one request.

    Attributes:
        waiting: its photos that wait for a turn, in order.
        running: how many of its photos have a turn.
        seconds: how long its photos have had turns.
    """

    waiting: deque["asyncio.Future[None]"] = field(default_factory=deque)
    running: int = 0
    seconds: float = 0.0


class FairTurns:
    """A number of turns, dealt to the requests that wait for them.

    Args:
        most: turns at the same time.
        clock: seconds, ever growing.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._free = most
        self._clock = clock
        self._shares: dict[Hashable, _Share] = {}

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn and hold it inside of the block."""
        request = REQUEST.get()
        share = self._shares.setdefault(request, _Share())
        try:
            await self._take(share)
            began = self._clock()
            try:
                yield
            finally:
                share.running -= 1
                share.seconds += self._clock() - began
                self._free += 1
                self._deal()
        finally:
            if not (share.running or share.waiting):
                self._shares.pop(request, None)

    async def _take(self, share: _Share) -> None:
        coming: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        share.waiting.append(coming)
        self._deal()
        try:
            await coming
        except asyncio.CancelledError:
            if coming.done() and not coming.cancelled():  # the turn came at the same moment; pass it on
                share.running -= 1
                self._free += 1
            elif coming in share.waiting:
                share.waiting.remove(coming)
            self._deal()
            raise

    def _deal(self) -> None:
        """Give free turns to the requests with the fewest turns now and, among those, with the least time so far."""
        while self._free:
            waiting = [share for share in self._shares.values() if share.waiting]
            if not waiting:
                return
            share = min(waiting, key=lambda one: (one.running, one.seconds))
            coming = share.waiting.popleft()
            if not coming.done():
                self._free -= 1
                share.running += 1
                coming.set_result(None)
