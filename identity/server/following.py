"""Keep the album jobs of a server up to date with its run, whichever program changes it.

The server registers itself with the run (`identity.runs.holders`). Therefore `identity.forget`, in whatever process it
runs, waits until the server's jobs no longer contain the forgotten person.
"""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

from augmentor.errors import InputError
from identity.runs.bundle import Bundle
from identity.runs.collection import PeopleFile
from identity.runs.holders import Holder
from identity.server.album_jobs import AlbumJobs
from identity.server.live_run import LiveRun
from identity.server.naming import readable
from identity.server.observed import log_error
from identity.server.problems import Problem

_SECONDS = 1.0  # time between two checks whether the run changed
_PATIENCE = 5.0  # seconds to wait for another program that is changing the run


class Following:
    """Keeps jobs up to date with a run, from `start` to `stop`.

    Args:
        run: the run.
        jobs: the server's jobs.
    """

    def __init__(self, run: LiveRun, jobs: AlbumJobs) -> None:
        self._run, self._jobs = run, jobs
        self._bundle: Bundle = readable(run)
        self._number: int | None = None
        self._turn = threading.Lock()
        self._task: asyncio.Task[None] | None = None

    @property
    def holders(self) -> list[int]:
        """Numbers of the server's own entries among the holders of the run."""
        return [] if self._number is None else [self._number]

    async def start(self) -> None:
        """Register with the run and start to follow it."""
        await asyncio.to_thread(self._register)
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Stop following; the jobs must be closed before."""
        if self._task is not None:
            self._task.cancel()
        await asyncio.to_thread(self._unregister)

    def catch_up(self) -> list[str]:
        """Remove people who are no longer in the run from the jobs; call it in a thread.

        Returns:
            A line for each job that could not be changed.
        """
        with self._turn:
            bundle = readable(self._run)
            left = self._jobs.follow(bundle)
            if left:
                return left
            self._bundle = bundle
            if self._number is not None:
                with _people_of(self._run.folder) as people:
                    if people is not None:
                        people.still_holds(self._number, bundle.saved or 0)
            return []

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(_SECONDS)
            if self._bundle.outdated:
                with contextlib.suppress(Problem):  # the run cannot be read at the moment, which was logged
                    await asyncio.to_thread(self.catch_up)

    def _register(self) -> None:
        with _people_of(self._run.folder) as people:
            if people is not None:
                holder = Holder(self._run.folder, people, "identity.serve")
                self._number = holder.number
                holder.catch_up(self._bundle.saved or 0)

    def _unregister(self) -> None:
        with _people_of(self._run.folder) as people:
            if people is not None and self._number is not None:
                people.release(self._number)


@contextlib.contextmanager
def _people_of(run: Path) -> Iterator[PeopleFile | None]:
    """Open the people file of a run; gives None if it cannot be written, as in a read-only run."""
    try:
        people = PeopleFile(run, _PATIENCE)
    except InputError as error:
        log_error("registering with the run", error)
        yield None
        return
    with people:
        yield people
