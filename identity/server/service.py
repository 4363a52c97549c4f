"""Everything that the routes of a server share: the run, the networks, the processes and the jobs."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from fastapi import Request, UploadFile

from augmentor.faces.face_search import Policy
from identity.chips.photo_faces import PhotoFaces
from identity.runs.bundle import Bundle
from identity.server.album_jobs import AlbumJobs
from identity.server.following import Following
from identity.server.live_run import LiveRun
from identity.server.naming import Naming, readable
from identity.server.observed import Metrics
from identity.server.people_changes import PeopleChanges
from identity.server.photo_pool import PhotoLimits, PhotoPool, memory_for
from identity.server.problems import Problem
from identity.server.scratch import Scratch
from identity.server.settings import Settings
from identity.server.source import Source
from identity.server.uploads import sources_of

_AT_ONCE = 4  # photos of one request that are processed at the same time
_Answer = TypeVar("_Answer")


class Service:
    """The objects that the routes share; `start` it with the server and `stop` it at the end.

    Args:
        settings: settings of the server.
        metrics: the server's metrics.
        run: the run to serve.

    Raises:
        InputError: The run was calibrated with too few strangers for the server's rate.
        OSError: There is no room for temporary files.
    """

    def __init__(self, settings: Settings, metrics: Metrics, run: LiveRun) -> None:
        bundle = readable(run)
        bundle.decision.threshold(settings.fpir)
        self.settings, self.metrics, self.run = settings, metrics, run
        memory = settings.photo_memory or memory_for(settings.max_pixels)
        large_at_once = max(1, settings.workers // 4)
        limits = PhotoLimits(settings.photo_seconds, settings.max_pixels, memory, large_at_once)
        self.pool = PhotoPool(bundle.size, bundle.align, settings.workers, limits, bundle.faces)
        self.naming = Naming(run, metrics)
        self.scratch = Scratch()
        self.jobs = AlbumJobs(
            self.naming,
            self.pool,
            self.scratch.root,
            settings.job_minutes,
            settings.max_jobs,
            settings.max_job,
            settings.max_stored,
            settings.fpir,
        )
        self.following = Following(run, self.jobs)
        self.people = PeopleChanges(run, self.naming, self.pool, self.following)
        # Calls on jobs wait for each other. Threads of their own keep them from delaying photos.
        self._job_threads = ThreadPoolExecutor(16, "jobs")
        self._sweeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Load the networks and start the processes, so that the first photo does not wait for them."""
        await self.naming.start()
        await self.pool.start()
        await self.following.start()
        self._sweeping = asyncio.create_task(self._sweep())

    async def stop(self) -> None:
        """End all threads and processes and delete all temporary files."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        await asyncio.to_thread(self.jobs.close)
        await self.following.stop()
        await self.naming.stop()
        await asyncio.to_thread(self.pool.close)
        self.people.close()
        self._job_threads.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self.scratch.close)

    async def _sweep(self) -> None:
        """Delete jobs whose time is over, even if no request asks for them."""
        while True:
            await asyncio.sleep(self.settings.sweep_seconds)
            await self.on_jobs(self.jobs.drop_old)

    async def bundle(self) -> Bundle:
        """Return the run as it is on disk.

        Raises:
            Problem: The run cannot be read.
        """
        if self.run.changed:
            return await asyncio.to_thread(readable, self.run)
        return readable(self.run)

    async def on_jobs(self, function: Callable[..., _Answer], *arguments: Any) -> _Answer:
        """Call a function that may wait for a job in a thread, and return its result."""
        return await asyncio.get_running_loop().run_in_executor(self._job_threads, function, *arguments)

    async def sources(self, files: Sequence[UploadFile]) -> list[Source]:
        """Return the photos in the files of a request.

        Raises:
            Problem: There are too many photos.
        """
        limits = self.settings
        named = [(file.filename or "photo", file.file) for file in files]
        arguments = (named, limits.max_files, limits.max_unzipped, limits.max_file)
        return await asyncio.to_thread(sources_of, *arguments)

    async def read(self, source: Source, policy: Policy, to_name: bool = False) -> PhotoFaces:
        """Read a photo and detect its faces.

        Args:
            source: the photo.
            policy: which faces of the photo to use.
            to_name: see `PhotoPool.faces`.
        """
        photo = await self.pool.faces(source, policy, to_name=to_name)
        self.metrics.photos.labels(photo.status).inc()
        return photo


def service_of(request: Request) -> Service:
    """Return the service that answers a request.

    Raises:
        Problem: The server is not ready yet.
    """
    service: Service | None = request.app.state.service
    if service is None:
        raise Problem(
            503, "not-ready", "the server is still loading its networks; try again", {"Retry-After": "5"}
        )
    return service


async def a_few_at_a_time(
    process: Callable[[Source], Coroutine[Any, Any, _Answer]], sources: Sequence[Source]
) -> list[_Answer]:
    """Process the photos of a request, a few at a time so that other requests get their turn.

    Args:
        process: coroutine function that processes one photo.
        sources: the photos.

    Returns:
        The results in the order of the photos.
    """
    turns = asyncio.Semaphore(_AT_ONCE)

    async def in_turn(source: Source) -> _Answer:
        async with turns:
            return await process(source)

    tasks = [asyncio.ensure_future(in_turn(source)) for source in sources]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        raise
