"""Views, each made once and shared by all workers of a machine through Ray's object store.

There are some 300, which take long to make and much memory to keep. A worker that needs one asks the shelf;
the first to ask makes it and puts it there. The shelf outlives workers; what is lost with it is made again.
"""

import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Protocol

from augmentor.views.view import View
from augmentor.views.view_key import ViewKey
from augmentor.views.view_set import ViewSet
from jobs.cluster.ray_session import ray

_PATIENCE_SECONDS = 5.0  # with somebody else who makes a view
_LOOK_SECONDS = 0.05
_AT_ONCE = 4  # views that one worker makes while others make others
_LOST = (ray.exceptions.ObjectLostError, ray.exceptions.GetTimeoutError, ray.exceptions.RayActorError)


class ViewSource(Protocol):
    """Where views come from."""

    def views(self, keys: Iterable[ViewKey]) -> dict[str, View]:
        """These views, by name."""
        ...


class OwnViews:
    """Views made where they are needed, and kept."""

    def __init__(self, view_set: ViewSet) -> None:
        self._view_set = view_set
        self._made: dict[str, View] = {}

    def views(self, keys: Iterable[ViewKey]) -> dict[str, View]:
        """See `ViewSource`."""
        wanted = {key.name: key for key in keys}
        for name in wanted.keys() - self._made.keys():
            self._made[name] = self._view_set.view(wanted[name])
        return {name: self._made[name] for name in wanted}


class ViewShelf:
    """Knows who has which view; an actor. References lie in lists: Ray would fetch them otherwise."""

    def __init__(self) -> None:
        self._there: dict[str, list[Any]] = {}
        self._claimed: dict[str, float] = {}

    def claim(self, names: list[str]) -> tuple[dict[str, list[Any]], list[str]]:
        """References to those of the views that are there, and names of those that the caller is to make."""
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
        """Here it is. Gives the reference to the shared copy, which belongs to the shelf: it outlives its maker."""
        self._there[name] = [ray.put(view)]
        return self._there[name]

    def lost(self, names: list[str]) -> None:
        """These cannot be fetched: the shelf that had them died, or the node where they lay."""
        for name in names:
            self._there.pop(name, None)
            self._claimed.pop(name, None)


class SharedViews:
    """Views from the shelf, for one worker; it makes those that nobody has made yet.

    It waits for none of its own to arrive on the shelf: it goes on with what it made, and exchanges that for the
    shared copy when it asks for views the next time.

    Args:
        view_set: to make them.
        shelf: handle of a `ViewShelf`.
    """

    def __init__(self, view_set: ViewSet, shelf: Any) -> None:
        self._view_set = view_set
        self._shelf = shelf
        self._have: dict[str, View] = {}
        self._putting: dict[Any, str] = {}

    def views(self, keys: Iterable[ViewKey]) -> dict[str, View]:
        """See `ViewSource`."""
        self._exchange()
        wanted = {key.name: key for key in keys}
        while missing := sorted(wanted.keys() - self._have.keys()):
            there, mine = ray.get(self._shelf.claim.remote(missing))
            names = {reference: name for name, (reference,) in there.items()}
            if names:
                ray.wait(list(names), num_returns=len(names), timeout=0)  # they travel while others are made
            for name in mine:
                self._have[name] = view = self._view_set.view(wanted[name])
                self._putting[self._shelf.put.remote(name, view)] = name
            self._fetch(names)
            if not there and not mine:
                time.sleep(_LOOK_SECONDS)
        return {name: self._have[name] for name in wanted}

    def _exchange(self) -> None:
        """Let go of views made here for the shared copies, where these are there."""
        if not self._putting:
            return
        arrived, _ = ray.wait(list(self._putting), num_returns=len(self._putting), timeout=0)
        for reference in arrived:
            name = self._putting.pop(reference)
            with suppress(*_LOST):  # then the own one stays
                (shared,) = ray.get(reference)
                self._have[name] = ray.get(shared, timeout=_PATIENCE_SECONDS)

    def _fetch(self, names: dict[Any, str]) -> None:
        """Get the shared copies; all at once, because what is lost is waited for in vain."""
        if not names:
            return
        arrived, _ = ray.wait(list(names), num_returns=len(names), timeout=_PATIENCE_SECONDS)
        for reference in arrived:
            with suppress(*_LOST):
                self._have[names[reference]] = ray.get(reference, timeout=_PATIENCE_SECONDS)
        if lost := [name for name in names.values() if name not in self._have]:
            ray.get(self._shelf.lost.remote(lost))
