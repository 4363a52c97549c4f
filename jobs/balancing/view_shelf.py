"""Views that are made once and shared by all workers through Ray's object store.

There are about 300, which take long to make and much memory to keep. A worker that needs one asks the shelf; the first
to ask makes it and puts it there. The shelf outlives workers. If it is lost, its views are made again.
"""

import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Protocol

from augmentor.views.view import View
from augmentor.views.view_key import ViewKey
from augmentor.views.view_set import ViewSet
from jobs.cluster.ray_session import ray

_PATIENCE_SECONDS = 5.0  # how long to wait for a view that another worker makes
_LOOK_SECONDS = 0.05
_AT_ONCE = 4  # views that one worker makes while others make other ones
_LOST = (ray.exceptions.ObjectLostError, ray.exceptions.GetTimeoutError, ray.exceptions.RayActorError)


class ViewSource(Protocol):
    """Provides views."""

    def views(self, keys: Iterable[ViewKey]) -> dict[str, View]:
        """Return views, by name."""
        ...


class ViewShelf:
    """An actor that knows which views exist and who makes which; references are in lists, or Ray would fetch them."""

    def __init__(self) -> None:
        self._there: dict[str, list[Any]] = {}
        self._claimed: dict[str, float] = {}

    def claim(self, names: list[str]) -> tuple[dict[str, list[Any]], list[str]]:
        """Return references to the views that exist, and the names of those that the caller has to make."""
        now = time.monotonic()
        there = {name: self._there[name] for name in names if name in self._there}
        free = [
            name
            for name in names
            if name not in there and now - self._claimed.get(name, -_PATIENCE_SECONDS) >= _PATIENCE_SECONDS
        ]
        mine = free[:_AT_ONCE]
        for name in mine:
            self._claimed[name] = now
        return there, mine

    def put(self, name: str, view: View) -> list[Any]:
        """Store a view and return a reference to the shared copy, which belongs to the shelf and outlives its maker."""
        self._there[name] = [ray.put(view)]
        return self._there[name]

    def lost(self, names: list[str]) -> None:
        """Forget views that cannot be fetched, because the shelf or the node that had them died."""
        for name in names:
            self._there.pop(name, None)
            self._claimed.pop(name, None)


class SharedViews:
    """Views from the shelf for one worker, which makes those that nobody has made yet.

    The worker does not wait for its own views to arrive on the shelf. It continues with what it made, and exchanges
    that for the shared copies when it asks for views the next time.

    Args:
        view_set: makes the views.
        shelf: handle of a `ViewShelf`.
    """

    def __init__(self, view_set: ViewSet, shelf: Any) -> None:
        self._view_set = view_set
        self._shelf = shelf
        self._have: dict[str, View] = {}
        self._putting: dict[Any, str] = {}

    def views(self, keys: Iterable[ViewKey]) -> dict[str, View]:
        """Return views, by name, making those that are missing."""
        self._exchange()
        wanted = {key.name: key for key in keys}
        while missing := sorted(wanted.keys() - self._have.keys()):
            there, mine = ray.get(self._shelf.claim.remote(missing))
            names = {reference: name for name, (reference,) in there.items()}
            if names:
                ray.wait(list(names), num_returns=len(names), timeout=0)  # they arrive while others are made
            for name in mine:
                self._have[name] = view = self._view_set.view(wanted[name])
                self._putting[self._shelf.put.remote(name, view)] = name
            self._fetch(names)
            if not there and not mine:
                time.sleep(_LOOK_SECONDS)
        return {name: self._have[name] for name in wanted}

    def _exchange(self) -> None:
        """Replace views made here by the shared copies that have arrived, to free memory."""
        if not self._putting:
            return
        arrived, _ = ray.wait(list(self._putting), num_returns=len(self._putting), timeout=0)
        for reference in arrived:
            name = self._putting.pop(reference)
            with suppress(*_LOST):  # otherwise this worker keeps its own view
                (shared,) = ray.get(reference)
                self._have[name] = ray.get(shared, timeout=_PATIENCE_SECONDS)

    def _fetch(self, names: dict[Any, str]) -> None:
        """Fetch the shared copies, all at once, because waiting for each lost one would take too long."""
        if not names:
            return
        arrived, _ = ray.wait(list(names), num_returns=len(names), timeout=_PATIENCE_SECONDS)
        for reference in arrived:
            with suppress(*_LOST):
                self._have[names[reference]] = ray.get(reference, timeout=_PATIENCE_SECONDS)
        if lost := [name for name in names.values() if name not in self._have]:
            ray.get(self._shelf.lost.remote(lost))
