"""Enrol and forget people in the run on disk, which other programs may be changing at the same time.

Waiting for another program happens in a thread and not for long, so that faces are named meanwhile.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from augmentor.errors import InputError, PhotoError
from augmentor.photos.names import found_name
from identity.chips.photo_faces import PhotoFaces
from identity.forgetting.forget_person import Forgotten, forget, refuse_forgotten
from identity.runs.bundle import Bundle
from identity.runs.collection import FILE, PeopleFile
from identity.runs.enrolment import enrol, taken_for, wanted_renders
from identity.server.following import Following
from identity.server.live_run import LiveRun
from identity.server.naming import Naming, readable
from identity.server.photo_pool import PhotoPool
from identity.server.problems import storage_problem
from identity.server.source import Source

_PATIENCE = 1.0  # seconds that a request waits for another program
_OTHERS_PATIENCE = 10.0  # seconds that forgetting waits for other programs that use the run
_Answer = TypeVar("_Answer")


class PeopleChanges:
    """Changes the people of a run, one change at a time.

    Args:
        run: the run.
        naming: embeds faces.
        pool: decodes photos.
        following: updates the server's jobs.
    """

    def __init__(self, run: LiveRun, naming: Naming, pool: PhotoPool, following: Following) -> None:
        self._run, self._naming, self._pool, self._following = run, naming, pool, following
        self._turn = threading.Lock()
        self._threads = ThreadPoolExecutor(4, "people")
        self._loop = asyncio.get_running_loop()

    def close(self) -> None:
        """Start no more changes."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def enrol(self, name: str, photos: Sequence[PhotoFaces], sources: Sequence[Source]) -> list[str]:
        """Call `enrol_in_thread` in a thread."""
        return await self._in_thread(self.enrol_in_thread, name, photos, sources)

    async def forget(self, name: str) -> Forgotten:
        """Forget a person.

        Raises:
            Problem: Another program is changing the run.
            InputError: The person cannot be forgotten, see `identity.forgetting.forget_person.forget`.
        """

        def forgotten() -> Forgotten:
            with self._turn:
                refuse_if_locked(self._run.folder)
                with PeopleFile(self._run.folder) as people:
                    return forget(
                        self._run.folder,
                        name,
                        people,
                        wait_seconds=_OTHERS_PATIENCE,
                        let_go=self._following.catch_up,
                        holders=self._following.holders,
                    )

        return await self._in_thread(forgotten)

    async def is_known(self, name: str) -> bool:
        """Return whether a person is enrolled, or was enrolled and is not completely forgotten yet."""

        def known() -> bool:
            if found_name(name, readable(self._run).labels) is not None:
                return True
            if not (self._run.folder / FILE).is_file():
                return False
            refuse_if_locked(self._run.folder)
            with PeopleFile(self._run.folder) as people:
                return found_name(name, people.forgetting()) is not None

        return await self._in_thread(known)

    def enrol_in_thread(
        self, name: str, photos: Sequence[PhotoFaces], sources: Sequence[Source]
    ) -> list[str]:
        """Enrol a person.

        Args:
            name: name of the person.
            photos: photos of the person, each with a chip.
            sources: the content of the photos, in the same order.

        Returns:
            Names of people enrolled earlier whom the photos look like.

        Raises:
            Problem: Another program is changing the run.
            InputError: The person cannot be enrolled, see `identity.runs.enrolment.enrol`.
        """
        folder = self._run.folder
        with self._turn:
            refuse_if_locked(folder)
            with PeopleFile(folder) as people, people.exclusive():
                refuse_forgotten(people, name)
                before, bundle = readable(self._run), Bundle.load(folder)
                if bundle.space == before.space:
                    bundle.share_networks(before)
                try:
                    renders = self._wait(self._pool.renders(sources, wanted_renders(bundle, photos)))
                except PhotoError as error:
                    raise InputError(f"{error}; leave it out") from error
                grown, alike = self._wait(
                    self._naming.alone(lambda: _enrolled(bundle, name, photos, renders))
                )
                grown.save(folder)
        readable(self._run)
        return alike

    async def _in_thread(self, function: Callable[..., _Answer], *arguments: Any) -> _Answer:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    def _wait(self, work: Coroutine[Any, Any, _Answer]) -> _Answer:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


def _enrolled(
    bundle: Bundle, name: str, photos: Sequence[PhotoFaces], renders: np.ndarray | None
) -> tuple[Bundle, list[str]]:
    grown = enrol(bundle, name, photos, renders)
    return grown, sorted({other for other, _ in taken_for(bundle, photos)})


def refuse_if_locked(run: Path) -> None:
    """Raise a problem if another program is changing a run, without waiting as long as `PeopleFile` does.

    Raises:
        Problem: Another program is changing the run, or the people file cannot be used.
    """
    if not (run / FILE).is_file():
        return
    try:
        file = sqlite3.connect(run / FILE, timeout=_PATIENCE, isolation_level=None)
        try:
            file.execute("BEGIN IMMEDIATE")
            file.execute("ROLLBACK")
        finally:
            file.close()
    except sqlite3.Error as error:
        problem = storage_problem(error)
        assert problem is not None
        raise problem from error
