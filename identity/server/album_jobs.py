"""Folders of photos into albums, in the background: what `identity.organise` does, for photos that were sent.

The photos of a job lie in a private temporary folder under numbers until its albums are fetched, given up or too old,
and none of it outlives the server. People that a group is named for are enrolled in the run, as by `identity.enrol`.
"""

import asyncio
import secrets
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from augmentor.errors import LikenessError, PhotoError
from augmentor.images import load_image
from identity.albums_page import as_json, thumbnail, write_pages
from identity.bundle import Bundle
from identity.group_enrolment import group_photos
from identity.organising import Albums, decide, move_photo, organise, place_again
from identity.people_file import PeopleFile
from identity.probes import ProbeChip
from identity.recognise import Recognition
from identity.seeing import failed
from identity.server.naming import Naming
from identity.server.observed import LOGGER
from identity.server.photo_pool import PhotoPool
from identity.server.problems import Problem, busy
from identity.server.uploads import Source, content_of, safe_path

RECEIVING, RUNNING, DONE, FAILED = "receiving", "running", "done", "failed"


@dataclass
class AlbumJob:
    """One folder of photos.

    Attributes:
        number: what the client calls it; not to be guessed.
        folder: everything of it.
        total: how many photos.
        made: when, in seconds of the clock.
        status: `receiving` (more photos follow), `running`, `done` or `failed`.
        bytes: of the photos.
        done: how many photos were looked at.
        detail: why it failed.
        found: the albums, once done.
        unreadable: what could not be unpacked, which is in no album.
    """

    number: str
    folder: tempfile.TemporaryDirectory
    made: float
    total: int = 0
    bytes: int = 0
    status: str = RECEIVING
    done: int = 0
    detail: str = ""
    found: Albums | None = None
    unreadable: list[dict[str, str]] = field(default_factory=list)
    given_up: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def root(self) -> Path:
        """Of its files."""
        return Path(self.folder.name)

    @property
    def photos(self) -> Path:
        """Folder of the photos."""
        return self.root / "photos"

    @property
    def albums(self) -> Path:
        """Folder of the albums."""
        return self.root / "albums"

    def as_json(self) -> dict[str, Any]:
        """As it is told."""
        told: dict[str, Any] = {
            "job": self.number,
            "status": self.status,
            "done": self.done,
            "photos": self.total,
            "detail": self.detail or None,
            "albums": None,
        }
        if self.found is not None:
            told["albums"] = as_json(self.found) | {"unreadable": self.unreadable}
        return told


class AlbumJobs:
    """All jobs of a server; one is worked on at a time.

    Args:
        naming, pool: of the server.
        minutes: how long a job is kept.
        most: how many are kept.
        most_bytes: photos of one job.
        fpir: share of strangers who may get into somebody's album.
        clock: seconds, ever growing.
    """

    def __init__(
        self,
        naming: Naming,
        pool: PhotoPool,
        minutes: float,
        most: int,
        most_bytes: int,
        fpir: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._naming, self._pool, self._fpir = naming, pool, fpir
        self._minutes, self._most, self._most_bytes, self._clock = minutes, most, most_bytes, clock
        self._jobs: dict[str, AlbumJob] = {}
        self._thread = ThreadPoolExecutor(1, "albums")
        self._loop = asyncio.get_running_loop()

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, sources: Sequence[Source], more: bool) -> AlbumJob:
        """Keep the photos of a new job, and begin unless more follow; call it in a thread.

        Raises:
            Problem: no photo, too many jobs or too much for one.
        """
        self.drop_old()
        if len(self._jobs) >= self._most:
            raise busy(f"{self._most} folders are being sorted or wait to be fetched; ask again later", 30)
        folder = tempfile.TemporaryDirectory(prefix="likeness-")
        job = AlbumJob(secrets.token_urlsafe(16), folder, self._clock())
        job.photos.mkdir(mode=0o700)
        self._jobs[job.number] = job
        try:
            return self.extend(job.number, sources, more)
        except BaseException:
            self.give_up(job.number)
            raise

    def extend(self, number: str, sources: Sequence[Source], more: bool) -> AlbumJob:
        """Keep further photos, and begin unless more follow; call it in a thread.

        Raises:
            Problem: no such job, it has begun, no photo at all, or too much for one job.
        """
        job = self.find(number)
        with job.lock:
            if job.status != RECEIVING:
                raise Problem(409, "begun", "the photos are being sorted already; begin another job")
            self._keep(job, sources)
            if more:
                return job
            if not job.total:
                raise Problem(422, "no-photo", "no photo was sent, or none that could be unpacked")
            job.status = RUNNING
        self._thread.submit(self._work, job)
        return job

    def _keep(self, job: AlbumJob, sources: Sequence[Source]) -> None:
        for source in sources:
            content = content_of(source)
            if isinstance(content, PhotoError):
                job.unreadable.append({"photo": source.name, "reason": f"{content.reason}: {content.detail}"})
                continue
            job.bytes += len(content)
            if job.bytes > self._most_bytes:
                raise Problem(413, "too-large", f"a job may have {self._most_bytes / 1e9:g} GB of photos")
            file = _free_file(job.photos, safe_path(source.name))
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
            job.total += 1

    def find(self, number: str) -> AlbumJob:
        """A job that is kept.

        Raises:
            Problem: there is none.
        """
        self.drop_old()
        if number not in self._jobs:
            raise Problem(404, "no-such-job", "no such job; its time may be over")
        return self._jobs[number]

    def finished(self, number: str) -> tuple[AlbumJob, Albums]:
        """A job whose albums are there.

        Raises:
            Problem: there is none, it goes on, or it failed.
        """
        job = self.find(number)
        if job.found is None:
            raise Problem(409, "not-done", job.detail or "the photos are being looked at; ask again later")
        return job, job.found

    def give_up(self, number: str) -> None:
        """Forget a job and all its files."""
        job = self._jobs.pop(number, None)
        if job is not None:
            job.given_up.set()
            with job.lock:
                job.folder.cleanup()

    def drop_old(self) -> None:
        """Forget jobs whose time is over."""
        too_old = self._clock() - 60 * self._minutes
        for number in [n for n, job in self._jobs.items() if job.made < too_old]:
            self.give_up(number)

    def close(self) -> None:
        """Forget all."""
        for number in list(self._jobs):
            self.give_up(number)
        self._thread.shutdown(wait=True, cancel_futures=True)

    def name_group(
        self, number: str, album: str, name: str, enrol: Callable[[Sequence[ProbeChip], str], Bundle]
    ) -> AlbumJob:
        """Enrol the person of an unknown album under a name, and sort again.

        Args:
            number: of the job.
            album: such as `unknown/001`.
            name: of the person.
            enrol: enrols photos of a person: (photos, name) -> the run.

        Raises:
            Problem, InputError: no such job or album, or the person cannot be enrolled.
        """
        job, found = self.finished(number)
        with job.lock, PeopleFile(job.root) as people:
            chips = group_photos(found, album, job.photos, self._naming.run.current().size)
            bundle = enrol(chips, name)
            self._sort_again(job, people, bundle)
        return job

    def move(self, number: str, photo: str, source: str, target: str) -> AlbumJob:
        """Put a photo into another album.

        Raises:
            Problem, InputError: no such job, photo or album.
        """
        job, found = self.finished(number)
        with job.lock, PeopleFile(job.root) as people:
            move_photo(found, people, self._collection(people, job), photo, source, target)
            self._sort_again(job, people, self._naming.run.current())
        return job

    def zipped(self, number: str) -> Path:
        """The albums with their page as a zip.

        Raises:
            Problem: no such job, or it goes on.
        """
        job, found = self.finished(number)
        with job.lock:
            with PeopleFile(job.root) as people:
                write_pages(found, people, job.photos, job.albums)
            target = job.root / f"albums-{secrets.token_hex(4)}.zip"
            with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
                for file in sorted(job.albums.rglob("*")):
                    if file.is_file():
                        archive.write(file, f"albums/{file.relative_to(job.albums).as_posix()}")
        return target

    def thumbnail(self, number: str, photo: int) -> bytes:
        """A small JPEG of a photo, counted as the job lists them.

        Raises:
            Problem: no such job or photo, it cannot be read, or the job goes on.
        """
        job, found = self.finished(number)
        paths = list(found.photos)
        if photo >= len(paths) or found.photos[paths[photo]].status == "error":
            raise Problem(404, "no-such-photo", "no such photo, or not one that can be read")
        return thumbnail(load_image(job.photos / paths[photo]))

    def _collection(self, people: PeopleFile, job: AlbumJob) -> int:
        found = people.find_collection(job.albums.resolve())
        assert found is not None
        return found[0]

    def _sort_again(self, job: AlbumJob, people: PeopleFile, bundle: Bundle) -> None:
        number = self._collection(people, job)
        threshold = self._naming.run.recogniser(bundle, self._fpir).threshold
        found = decide(bundle, people, number, threshold)
        place_again(found, people, job.photos.resolve(), job.albums.resolve())
        job.found = found

    def _work(self, job: AlbumJob) -> None:
        if job.given_up.is_set():
            return
        try:
            with job.lock:
                self._organise(job)
        except _GivenUp:
            pass
        except LikenessError as error:
            job.status, job.detail = FAILED, str(error)
        except Exception as error:  # the thread goes on with the next job, and this one says that it failed
            LOGGER.error("album job: %s", type(error).__name__, exc_info=error)
            job.status, job.detail = (
                FAILED,
                f"an error in the server ({type(error).__name__}); its log tells more",
            )

    def _organise(self, job: AlbumJob) -> None:
        bundle = self._naming.run.current()
        recogniser = _Remote(job, self, bundle, self._naming.run.recogniser(bundle, self._fpir).threshold)
        with PeopleFile(job.root) as people:
            job.found = organise(recogniser, job.photos, job.albums, people, how="hard")
        job.done, job.status = job.total, DONE

    def recognise(self, job: AlbumJob, paths: Sequence[Path]) -> Iterator[Recognition]:
        """Photos through the server's processes and networks, a few at a time; for the thread of jobs."""
        ahead = 2 * self._pool.workers
        waiting = []
        for path in paths:
            waiting.append(asyncio.run_coroutine_threadsafe(self._one(path), self._loop))
            if len(waiting) >= ahead:
                yield self._next(job, waiting.pop(0))
        while waiting:
            yield self._next(job, waiting.pop(0))

    def _next(self, job: AlbumJob, future: Any) -> Recognition:
        if job.given_up.is_set():
            raise _GivenUp
        answer: Recognition = future.result()
        job.done += 1
        return answer

    async def _one(self, path: Path) -> Recognition:
        try:
            content = await asyncio.to_thread(path.read_bytes)
            seen = await self._pool.see(content, str(path))
        except OSError as error:
            seen = failed(PhotoError("unreadable", str(path), str(error)), str(path))
        return await self._naming.name(seen, self._fpir)


def _free_file(folder: Path, path: PurePosixPath) -> Path:
    """A file below `folder` that is not there yet: `path`, or one called like it."""
    taken = next((p for p in reversed(path.parents) if (folder / p).is_file()), None)
    if taken is not None:  # what is a folder here was a file's name before
        path = PurePosixPath(f"{taken} (folder)") / path.relative_to(taken)
    for turn in range(1, 1_000_000):
        file = folder / (path if turn == 1 else path.with_name(f"{path.stem} ({turn}){path.suffix}"))
        if not file.exists():
            return file
    raise Problem(413, "too-many-photos", "too many photos of one name")


class _GivenUp(Exception):
    """The job is wanted no more."""


class _Remote:
    """Stands where `organise` takes a `Recogniser`: photos go through the server's processes."""

    def __init__(self, job: AlbumJob, jobs: AlbumJobs, bundle: Bundle, threshold: float) -> None:
        self.bundle, self.threshold = bundle, threshold
        self._job, self._jobs = job, jobs

    def files(self, paths: Sequence[Path], workers: int = 1) -> Iterator[Recognition]:
        """As `Recogniser.files`."""
        return self._jobs.recognise(self._job, paths)
