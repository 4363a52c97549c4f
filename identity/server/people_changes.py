"""Enrolling and forgetting in the run on disk, which other programs may be changing at the same time.

Whoever waits for another program waits in a thread of its own, and not for long: naming faces goes on meanwhile.
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
_OTHERS_PATIENCE = 10.0  # seconds that forgetting waits for others who have the run open
_Answer = TypeVar("_Answer")


class PeopleChanges:
    """Changes the people of a run, one change at a time.

    Args:
        run: the run.
        naming: embeds.
        pool: decodes.
        following: lets the server's jobs follow.
    """

    def __init__(self, run: LiveRun, naming: Naming, pool: PhotoPool, following: Following) -> None:
        self._run, self._naming, self._pool, self._following = run, naming, pool, following
        self._turn = threading.Lock()
        self._threads = ThreadPoolExecutor(4, "people")
        self._loop = asyncio.get_running_loop()

    def close(self) -> None:
        """Take no more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def enrol(self, name: str, photos: Sequence[PhotoFaces], sources: Sequence[Source]) -> list[str]:
        """As `enrol_in_thread`, for the loop."""
        return await self._in_thread(self.enrol_in_thread, name, photos, sources)

    async def forget(self, name: str) -> Forgotten:
        """Forget somebody.

        Raises:
            Problem: another program is changing the run.
            InputError: as `identity.forgetting.forget_person.forget`.
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
        """Whether somebody of this name is enrolled, or was and is not forgotten everywhere yet."""

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
        """Enrol somebody.

        Args:
            name: of the person.
            photos: of the person, each with a face.
            sources: what the files of the photos hold.

        Returns:
            Who of the others the photos look like.

        Raises:
            Problem: another program is changing the run.
            InputError: as `identity.runs.enrolment.enrol`.
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
    """See whether another program is changing a run, without waiting as long as `PeopleFile` does.

    Raises:
        Problem: it is, or the file cannot be used.
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
