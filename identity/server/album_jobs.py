"""Sort uploaded photos into albums in the background, as `identity.organise` does with a folder.

The photos of a job are stored in a private temporary folder until the job is deleted or too old; nothing of it outlives
the server. They keep their names as far as the file system allows. The server's reading processes decode them; this
process never does. When the user names a group of unknown faces, the person is enrolled in the run, as by
`identity.enrol`.
"""

import asyncio
import secrets
import shutil
import threading
import time
import zipfile
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from augmentor.errors import LikenessError, PhotoError
from identity.albums.group_enrolment import group_photos
from identity.albums.page import as_json, write_pages
from identity.albums.photo_work import Box
from identity.albums.sorting import Albums, decide, move_photo, organise, place_again
from identity.albums.written_files import WrittenFiles
from identity.chips.photo_faces import PhotoFaces
from identity.forgetting.journal import is_album_of
from identity.runs.bundle import Bundle
from identity.runs.collection import PeopleFile
from identity.runs.recogniser import Recognition
from identity.server.naming import Naming, readable
from identity.server.observed import log_error
from identity.server.photo_pool import PhotoPool
from identity.server.problems import Problem, busy, storage_problem
from identity.server.source import Source, file_source
from identity.server.uploads import safe_path

RECEIVING, RUNNING, DONE, FAILED = "receiving", "running", "done", "failed"
_LOCK_SECONDS = 5.0
_Answer = TypeVar("_Answer")


class Room:
    """The disk space that all jobs of a server share.

    Args:
        most: bytes that they may use together.
    """

    def __init__(self, most: int) -> None:
        self._left = most
        self._lock = threading.Lock()

    def take(self, size: int) -> None:
        """Reserve some of the space.

        Args:
            size: bytes.

        Raises:
            Problem: Not enough is left.
        """
        with self._lock:
            if size > self._left:
                raise busy(
                    "the albums on this server use all the space they may have; download and delete some, or try "
                    "again later",
                    30,
                )
            self._left -= size

    def give_back(self, size: int) -> None:
        """Free some of the space, `size` bytes."""
        with self._lock:
            self._left += size


class FreePaths:
    """The paths of the photos of one job; gives each path once, in constant time however many names are equal.

    Example:
        >>> paths = FreePaths()
        >>> [str(paths.take(PurePosixPath(name))) for name in ("a.jpg", "A.jpg", "a.jpg/b.jpg")]
        ['a.jpg', 'A (2).jpg', 'a.jpg (folder)/b.jpg']
    """

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._folders: dict[str, PurePosixPath] = {}
        self._next: dict[str, int] = {}

    def take(self, path: PurePosixPath) -> PurePosixPath:
        """Return this path if it is free, or a similar one that is.

        The second `a.jpg` becomes `a (2).jpg`, and `a/b.jpg` becomes `a (folder)/b.jpg` if `a` is a photo.
        """
        folder = PurePosixPath()
        for part in path.parts[:-1]:
            folder = self._folder(folder / part)
        taken = self._free(folder / path.name, "{stem} ({number}){suffix}")
        self._files.add(_key(taken))
        return taken

    def _folder(self, path: PurePosixPath) -> PurePosixPath:
        known = self._folders.get(_key(path))
        if known is None:
            known = path
            if _key(path) in self._files:  # an earlier photo has the name of this folder
                known = self._free(path.with_name(f"{path.name} (folder)"), "{stem}{suffix} {number}")
            self._folders[_key(path)] = self._folders[_key(known)] = known
        return known

    def _free(self, path: PurePosixPath, numbered: str) -> PurePosixPath:
        key, free = _key(path), path
        while _key(free) in self._files or _key(free) in self._folders:
            number = self._next.get(key, 2)
            self._next[key] = number + 1
            free = path.with_name(numbered.format(stem=path.stem, suffix=path.suffix, number=number))
        return free


def _key(path: PurePosixPath) -> str:
    """Return a key that is equal for paths that some file systems do not tell apart."""
    return str(path).casefold()


@dataclass
class AlbumJob:
    """Photos that are being sorted or were sorted into albums.

    Attributes:
        number: identifier that the client uses; it cannot be guessed.
        root: folder with all files of the job.
        made: time at which the job was made, in seconds of the server's clock.
        total: number of photos.
        bytes: size of the photos.
        zipped: size of the zips that were made of the albums, bytes.
        status: `receiving` (more photos follow), `running`, `done` or `failed`.
        done: number of photos that were processed.
        detail: why the job failed.
        sorted: the albums, once the job is done.
        state: number that grows whenever the albums change.
        sorted_by: names of the people in the run by which the albums were made.
        unreadable: uploads that could not be unpacked and so are in no album.
        hashes: SHA-256 and perceptual hash of photos that were just processed, by path.
        paths: the paths of the photos.
        given_up: set when the job is deleted.
        lock: held while the files and the albums are read or changed.
    """

    number: str
    root: Path
    made: float
    total: int = 0
    bytes: int = 0
    zipped: int = 0
    status: str = RECEIVING
    done: int = 0
    detail: str = ""
    sorted: Albums | None = None
    state: int = 0
    sorted_by: tuple[str, ...] = ()
    unreadable: list[dict[str, str]] = field(default_factory=list)
    hashes: dict[Path, tuple[str, int | None]] = field(default_factory=dict)
    paths: FreePaths = field(default_factory=FreePaths)
    given_up: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def photos(self) -> Path:
        """Folder of the photos."""
        return self.root / "photos"

    @property
    def albums(self) -> Path:
        """Folder of the albums."""
        return self.root / "albums"

    def check_kept(self) -> None:
        """Raise a problem if the job was deleted; the caller must hold its lock."""
        if self.given_up.is_set():
            raise _no_such_job()

    def as_json(self) -> dict[str, Any]:
        """Return the job as clients get it, see `identity.server.answers.JobAnswer`."""
        answer: dict[str, Any] = {
            "job": self.number,
            "status": self.status,
            "done": self.done,
            "photos": self.total,
            "detail": self.detail or None,
            "albums": None,
        }
        if self.sorted is not None:
            answer["albums"] = as_json(self.sorted) | {"unreadable": self.unreadable}
        return answer


class AlbumJobs:
    """All jobs of a server; only one is sorted at a time.

    Args:
        naming: names faces.
        pool: the processes that decode photos.
        scratch: folder for the files of jobs.
        minutes: how long a job is kept.
        most: largest number of jobs.
        most_bytes: largest size of the photos of one job.
        most_bytes_of_all: largest size of the photos and zips of all jobs together.
        fpir: share of strangers who may be put into an enrolled person's album.
        clock: monotonic clock, seconds.
    """

    def __init__(
        self,
        naming: Naming,
        pool: PhotoPool,
        scratch: Path,
        minutes: float,
        most: int,
        most_bytes: int,
        most_bytes_of_all: int,
        fpir: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._naming, self._pool, self._scratch, self._fpir = naming, pool, scratch, fpir
        self._minutes, self._most, self._most_bytes, self._clock = minutes, most, most_bytes, clock
        self._room = Room(most_bytes_of_all)
        self._jobs: dict[str, AlbumJob] = {}
        self._adding = threading.Lock()
        self._keeping = threading.Lock()  # only one upload is unpacked at a time, so that others are answered
        self._thread = ThreadPoolExecutor(1, "albums")
        self._loop = asyncio.get_running_loop()

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, sources: Sequence[Source], more: bool) -> AlbumJob:
        """Store the photos of a new job and start it unless more photos follow; call it in a thread.

        Args:
            sources: the photos.
            more: whether more photos follow.

        Raises:
            Problem: There is no photo, there are too many jobs, or the photos are too large for one job.
        """
        self.drop_old()
        with self._adding:
            if len(self._jobs) >= self._most:
                raise busy(
                    f"this server already keeps {self._most} sets of albums, its limit; try again later", 30
                )
            number = secrets.token_urlsafe(16)
            job = AlbumJob(number, self._scratch / secrets.token_hex(8), self._clock())
            self._jobs[number] = job
        try:
            job.root.mkdir(mode=0o700)
            job.photos.mkdir(mode=0o700)
            return self.extend(number, sources, more)
        except BaseException:
            self.give_up(number)
            raise

    def extend(self, number: str, sources: Sequence[Source], more: bool) -> AlbumJob:
        """Store further photos of a job and start it unless more follow; call it in a thread.

        Args:
            number: the job's.
            sources: the photos.
            more: whether more photos follow.

        Raises:
            Problem: The job does not exist or has started, it has no photo, or the photos are too large for one job.
        """
        job = self.find(number)
        with job.lock:
            job.check_kept()
            if job.status != RECEIVING:
                raise Problem(409, "begun", "the photos are already being sorted; start another job")
            with self._keeping:
                for source in sources:
                    job.check_kept()
                    self._keep(job, source)
            if more:
                return job
            if not job.total:
                raise Problem(422, "no-photo", "no photo was sent, or none that could be unpacked")
            job.status = RUNNING
        self._thread.submit(self._work, job)
        return job

    def _keep(self, job: AlbumJob, source: Source) -> None:
        file = job.photos / job.paths.take(safe_path(source.name))
        file.parent.mkdir(parents=True, exist_ok=True)
        before = job.bytes
        try:
            with file.open("xb") as kept:
                for block in source.blocks():
                    if job.bytes + len(block) > self._most_bytes:
                        limit = f"{self._most_bytes / 1e9:g} GB"
                        raise Problem(413, "too-large", f"the photos of a job may have at most {limit}")
                    self._room.take(len(block))
                    job.bytes += len(block)
                    kept.write(block)
        except BaseException as error:
            file.unlink(missing_ok=True)
            self._room.give_back(job.bytes - before)
            job.bytes = before
            if not isinstance(error, PhotoError):
                raise
            job.unreadable.append({"photo": source.name, "reason": f"{error.reason}: {error.detail}"})
        else:
            job.total += 1

    def find(self, number: str) -> AlbumJob:
        """Return a job.

        Raises:
            Problem: It does not exist, or its time is over.
        """
        job = self._jobs.get(number)
        if job is None or self._is_old(job):
            raise _no_such_job()
        return job

    def finished(self, number: str) -> tuple[AlbumJob, Albums]:
        """Return a job that is done, and its albums.

        Raises:
            Problem: The job does not exist, is not done yet or failed.
        """
        job = self.find(number)
        if job.sorted is None:
            raise Problem(409, "not-done", job.detail or "the photos are still being sorted; try again later")
        return job, job.sorted

    def give_up(self, number: str) -> None:
        """Delete a job and all its files."""
        job = self._jobs.pop(number, None)
        if job is not None:
            job.given_up.set()
            with job.lock:
                shutil.rmtree(job.root, ignore_errors=True)
                self._room.give_back(job.bytes + job.zipped)

    def _is_old(self, job: AlbumJob) -> bool:
        return job.made < self._clock() - 60 * self._minutes

    def drop_old(self) -> None:
        """Delete the jobs whose time is over; call it in a thread."""
        for number in [number for number, job in list(self._jobs.items()) if self._is_old(job)]:
            self.give_up(number)

    def close(self) -> None:
        """Delete all jobs and end the thread that sorts."""
        for number in list(self._jobs):
            self.give_up(number)
        self._thread.shutdown(wait=True, cancel_futures=True)

    def name_group(
        self, number: str, album: str, name: str, enrol: Callable[[Sequence[PhotoFaces], str], Bundle]
    ) -> AlbumJob:
        """Enrol the person of an unknown album under a name and sort the photos again; call it in a thread.

        Args:
            number: the job's.
            album: the album, for instance `unknown/001`.
            name: name of the person.
            enrol: function of (photos, name) that enrols a person and returns the changed run.

        Raises:
            Problem: The job does not exist or is not done.
            InputError: The album does not exist, or the person cannot be enrolled.
        """
        job, _ = self.finished(number)
        with job.lock:
            job.check_kept()
            assert job.sorted is not None
            size = readable(self._naming.run).size
            chips = group_photos(job.sorted, album, job.photos, size, _PoolWork(job, self))
            bundle = enrol(chips, name)
            with PeopleFile(job.root) as people:
                self._sort_again(job, people, bundle)
        return job

    def move(self, number: str, photo: str, source: str, target: str) -> AlbumJob:
        """Move a photo from one album to another; call it in a thread.

        Args:
            number: the job's.
            photo: the photo, as the job lists it.
            source: the album that it is in.
            target: the album to put it into; made if missing.

        Raises:
            Problem: The job does not exist or is not done.
            InputError: The photo or the album does not exist.
        """
        job, _ = self.finished(number)
        with job.lock:
            job.check_kept()
            assert job.sorted is not None
            with PeopleFile(job.root) as people:
                move_photo(job.sorted, people, self._collection(people, job), photo, source, target)
                self._sort_again(job, people, readable(self._naming.run))
        return job

    def zipped(self, number: str) -> Path:
        """Return a zip of the albums and their page, made once for each state of the albums; call it in a thread.

        Raises:
            Problem: The job does not exist or is not done, or there is no disk space.
        """
        job, _ = self.finished(number)
        with job.lock:
            job.check_kept()
            assert job.sorted is not None
            target = job.root / f"albums-{job.state}.zip"
            if target.exists():
                return target
            before = job.root / f"albums-{job.state - 1}.zip"
            for old in job.root.glob("albums-*.zip"):
                if old != before:  # a client may still be downloading the zip of the state before
                    self._remove_zip(job, old)
            with PeopleFile(job.root) as people:
                write_pages(job.sorted, people, job.photos, job.albums, work=_PoolWork(job, self))
            self._make_zip(job, target)
        return target

    def _make_zip(self, job: AlbumJob, target: Path) -> None:
        files = [file for file in sorted(job.albums.rglob("*")) if file.is_file()]
        size = sum(file.stat().st_size for file in files)
        self._room.take(size)
        job.zipped += size
        partial = target.with_suffix(".part")
        try:
            with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
                for file in files:
                    archive.write(file, f"albums/{file.relative_to(job.albums).as_posix()}")
            partial.replace(target)
        except BaseException:
            partial.unlink(missing_ok=True)
            job.zipped -= size
            self._room.give_back(size)
            raise

    def _remove_zip(self, job: AlbumJob, file: Path) -> None:
        """Delete a zip and free its space; as when it was made, the zip's own directory is not counted."""
        with zipfile.ZipFile(file) as archive:
            size = sum(info.file_size for info in archive.infolist())
        file.unlink()
        job.zipped -= size
        self._room.give_back(size)

    def photo_source(self, number: str, photo: int) -> Source:
        """Return a photo of a job.

        Args:
            number: the job's.
            photo: index of the photo in the job's list, from 0.

        Raises:
            Problem: The job or the photo does not exist, the photo cannot be read, or the job is not done.
        """
        job, albums = self.finished(number)
        paths = list(albums.photos)
        if photo >= len(paths) or albums.photos[paths[photo]].status == "error":
            raise Problem(404, "no-such-photo", "this photo does not exist or cannot be read")
        return file_source(job.photos / paths[photo], paths[photo])

    def _collection(self, people: PeopleFile, job: AlbumJob) -> int:
        collection = people.find_collection(job.albums.resolve())
        assert collection is not None
        return collection[0]

    def follow(self, bundle: Bundle) -> list[str]:
        """Sort finished jobs again by the run as it is now, and delete what names people who are no longer in it.

        A job that is still being sorted does this itself before it is done. Call it in a thread.

        Args:
            bundle: the run as it is now.

        Returns:
            A line for each job that could not be changed now.
        """
        left = []
        for number, job in list(self._jobs.items()):
            if job.sorted is None or job.sorted_by == bundle.labels:
                continue
            # Naming a group holds this lock and may itself wait for the caller, so this must not wait forever.
            if not job.lock.acquire(timeout=_LOCK_SECONDS):
                left.append(
                    "albums on the server are being changed and may still name the person; try again in a moment"
                )
                continue
            try:
                if not job.given_up.is_set():
                    self._follow(job, bundle)
            except Exception as error:  # better no job than one that names a forgotten person
                log_error("album job", error)
                failed = True
            else:
                failed = False
            finally:
                job.lock.release()
            if failed:
                self.give_up(number)
        return left

    def _follow(self, job: AlbumJob, bundle: Bundle) -> None:
        for file in job.root.glob("albums-*.zip"):
            self._remove_zip(job, file)
        with PeopleFile(job.root) as people:
            number = self._collection(people, job)
            gone = set(job.sorted_by) - set(bundle.labels)
            people.drop_moved(number, lambda album: is_album_of(album, gone))
            self._sort_again(job, people, bundle)
            WrittenFiles(
                people, number, job.albums.resolve()
            ).remove_others()  # the next zip makes them again
            people.clean()

    def _sort_again(self, job: AlbumJob, people: PeopleFile, bundle: Bundle) -> None:
        number = self._collection(people, job)
        threshold = self._naming.run.recogniser(bundle, self._fpir).threshold
        albums = decide(bundle, people, number, threshold)
        place_again(albums, people, job.photos.resolve(), job.albums.resolve())
        job.sorted, job.state, job.sorted_by = albums, job.state + 1, bundle.labels

    def _work(self, job: AlbumJob) -> None:
        if job.given_up.is_set():
            return
        try:
            with job.lock:
                self._organise(job)
        except _GivenUp:
            pass
        except Exception as error:  # the thread must go on with the next job
            job.status, job.detail = FAILED, _why_failed(error, job)

    def _organise(self, job: AlbumJob) -> None:
        if job.given_up.is_set():
            raise _GivenUp
        bundle = readable(self._naming.run)
        recogniser = _PoolRecogniser(
            job, self, bundle, self._naming.run.recogniser(bundle, self._fpir).threshold
        )
        with PeopleFile(job.root) as people:
            albums = organise(
                recogniser, job.photos, job.albums, people, how="hard", work=_PoolWork(job, self)
            )
            job.sorted_by = bundle.labels
            # A person may have been forgotten meanwhile.
            while (now := readable(self._naming.run)) is not bundle:
                bundle = now
                albums = decide(bundle, people, albums.collection, recogniser.threshold)
                place_again(albums, people, job.photos.resolve(), job.albums.resolve())
                job.sorted_by = bundle.labels
        job.sorted = albums
        job.done, job.status, job.state = job.total, DONE, job.state + 1
        job.hashes.clear()

    def recognise(self, job: AlbumJob, paths: Sequence[Path]) -> Iterator[Recognition]:
        """Name the faces in photos with the server's processes and networks, a few photos at a time.

        Call it in the thread that sorts.

        Args:
            job: the job.
            paths: its photos.

        Yields:
            The answer for each photo, in order.
        """
        ahead = 2 * self._pool.workers
        waiting = []
        for path in paths:
            waiting.append(asyncio.run_coroutine_threadsafe(self._one(job, path), self._loop))
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

    async def _one(self, job: AlbumJob, path: Path) -> Recognition:
        photo = await self._pool.faces(_source(job, path), hashed=True, to_name=True)
        job.hashes[path] = photo.sha256, photo.phash
        return await self._naming.name(photo, self._fpir)

    def in_pool(self, work: Callable[[PhotoPool], Coroutine[Any, Any, _Answer]]) -> _Answer:
        """Let the server's reading processes do some work and wait for the result; call it in a thread of jobs.

        Args:
            work: function of the pool that starts the work.
        """
        return asyncio.run_coroutine_threadsafe(work(self._pool), self._loop).result()


def _why_failed(error: Exception, job: AlbumJob) -> str:
    """Return why a job failed, for its client; log errors that were not expected."""
    problem = error if isinstance(error, Problem) else storage_problem(error)
    if problem is not None:
        return problem.detail
    if isinstance(error, LikenessError):
        return within_job(str(error), job)
    log_error("album job", error)
    return f"an unexpected error in the server ({type(error).__name__}); see the server's log"


def within_job(text: str, job: AlbumJob) -> str:
    """Make the paths in a message relative to a job, so that it does not show where the server keeps the job.

    Args:
        text: the message.
        job: the job.
    """
    for folder in (job.photos, job.albums, job.root):
        text = text.replace(f"{folder}/", "").replace(str(folder), "the job")
    return text


def _source(job: AlbumJob, path: Path) -> Source:
    return file_source(path, path.relative_to(job.photos).as_posix())


def _no_such_job() -> Problem:
    return Problem(404, "no-such-job", "this job does not exist; its time may be over")


class _GivenUp(Exception):
    """The job was deleted while it was sorted."""


class _PoolRecogniser:
    """A recogniser for `organise` that uses the server's processes and networks."""

    def __init__(self, job: AlbumJob, jobs: AlbumJobs, bundle: Bundle, threshold: float) -> None:
        self.bundle, self.threshold = bundle, threshold
        self._job, self._jobs = job, jobs

    def files(self, paths: Sequence[Path], workers: int = 1) -> Iterator[Recognition]:
        """Name the faces in photos, like `Recogniser.files`."""
        return self._jobs.recognise(self._job, paths)


class _PoolWork:
    """A `PhotoWork` that decodes photos in the server's processes."""

    def __init__(self, job: AlbumJob, jobs: AlbumJobs) -> None:
        self._job, self._jobs = job, jobs

    def hashes(self, path: Path, status: str) -> tuple[str, int | None]:
        """Return SHA-256 and perceptual hash, which are known if the photo was processed just before."""
        known = self._job.hashes.pop(path, None)
        if known is None:
            source = _source(self._job, path)
            photo = self._jobs.in_pool(lambda pool: pool.faces(source, hashed=True))
            known = photo.sha256, photo.phash
        return known

    def thumbnail(self, path: Path) -> bytes:
        """Return a thumbnail as a JPEG."""
        source = _source(self._job, path)
        return self._jobs.in_pool(lambda pool: pool.thumbnail(source))

    def face_again(self, path: Path, box: Box, size: int) -> PhotoFaces | None:
        """Return the chip of a face whose box is known."""
        source = _source(self._job, path)
        return self._jobs.in_pool(lambda pool: pool.face_again(source, path, box, size))
