"""Folders of photos into albums, in the background: what `identity.organise` does, for photos that were sent.

The photos of a job lie in a private temporary folder, under their names as far as a file can have them, until the job
is deleted or too old, and none of it outlives the server. Photos are decoded by the server's processes, never here.
People that a group is named for are enrolled in the run, as by `identity.enrol`.
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
    """Bytes that all jobs of a server may have on disk together.

    Args:
        most: of them.
    """

    def __init__(self, most: int) -> None:
        self._left = most
        self._lock = threading.Lock()

    def take(self, size: int) -> None:
        """Use some of it.

        Raises:
            Problem: so much is not left.
        """
        with self._lock:
            if size > self._left:
                raise busy(
                    "folders that are kept fill the server's room; fetch and delete some, ask again later", 30
                )
            self._left -= size

    def give_back(self, size: int) -> None:
        """What was used is free again."""
        with self._lock:
            self._left += size


class FreePaths:
    """Paths of the photos of one job; each is given once, in constant time however many are alike."""

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._folders: dict[str, PurePosixPath] = {}
        self._next: dict[str, int] = {}

    def take(self, path: PurePosixPath) -> PurePosixPath:
        """The path, or one like it that is free: `a.jpg`, `a (2).jpg`, and `a (folder)/b.jpg` if `a` is a photo."""
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
            if _key(path) in self._files:  # what is a folder here was a file's name before
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
    """Equal for paths that some file system takes for one."""
    return str(path).casefold()


@dataclass
class AlbumJob:
    """One folder of photos.

    Attributes:
        number: what the client calls it; not to be guessed.
        root: folder of everything of it.
        made: when, in seconds of the clock.
        total: how many photos.
        bytes: of the photos.
        zipped: bytes of the zips that were made of it.
        status: `receiving` (more photos follow), `running`, `done` or `failed`.
        done: how many photos were looked at.
        detail: why it failed.
        found: the albums, once done.
        state: counts up whenever the albums change.
        sorted_by: the people of the run by which the albums were made.
        unreadable: what could not be unpacked, which is in no album.
        hashes: of photos that were just looked at, by path.
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
    found: Albums | None = None
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
        """Raise a problem if it was given up; to be asked while its lock is held."""
        if self.given_up.is_set():
            raise _no_such_job()

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
        scratch: folder for their files.
        minutes: how long a job is kept.
        most: how many are kept.
        most_bytes: photos of one job.
        most_bytes_of_all: photos and zips of all jobs.
        fpir: share of strangers who may get into somebody's album.
        clock: seconds, ever growing.
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
        self._keeping = threading.Lock()  # one upload is unpacked at a time, or they would keep Python busy
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
        with self._adding:
            if len(self._jobs) >= self._most:
                raise busy(
                    f"{self._most} folders are being sorted or wait to be fetched; ask again later", 30
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
        """Keep further photos, and begin unless more follow; call it in a thread.

        Raises:
            Problem: no such job, it has begun, no photo at all, or too much for one job.
        """
        job = self.find(number)
        with job.lock:
            job.check_kept()
            if job.status != RECEIVING:
                raise Problem(409, "begun", "the photos are being sorted already; begin another job")
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
                        raise Problem(413, "too-large", f"a job may have {limit} of photos")
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
        """A job that is kept.

        Raises:
            Problem: there is none.
        """
        job = self._jobs.get(number)
        if job is None or self._is_old(job):
            raise _no_such_job()
        return job

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
                shutil.rmtree(job.root, ignore_errors=True)
                self._room.give_back(job.bytes + job.zipped)

    def _is_old(self, job: AlbumJob) -> bool:
        return job.made < self._clock() - 60 * self._minutes

    def drop_old(self) -> None:
        """Forget jobs whose time is over; call it in a thread."""
        for number in [number for number, job in list(self._jobs.items()) if self._is_old(job)]:
            self.give_up(number)

    def close(self) -> None:
        """Forget all."""
        for number in list(self._jobs):
            self.give_up(number)
        self._thread.shutdown(wait=True, cancel_futures=True)

    def name_group(
        self, number: str, album: str, name: str, enrol: Callable[[Sequence[PhotoFaces], str], Bundle]
    ) -> AlbumJob:
        """Enrol the person of an unknown album under a name, and sort again; call it in a thread.

        Args:
            number: of the job.
            album: such as `unknown/001`.
            name: of the person.
            enrol: enrols photos of a person: (photos, name) -> the run.

        Raises:
            Problem, InputError: no such job or album, or the person cannot be enrolled.
        """
        job, _ = self.finished(number)
        with job.lock:
            job.check_kept()
            assert job.found is not None
            size = readable(self._naming.run).size
            chips = group_photos(job.found, album, job.photos, size, _Work(job, self))
            bundle = enrol(chips, name)
            with PeopleFile(job.root) as people:
                self._sort_again(job, people, bundle)
        return job

    def move(self, number: str, photo: str, source: str, target: str) -> AlbumJob:
        """Put a photo into another album; call it in a thread.

        Raises:
            Problem, InputError: no such job, photo or album.
        """
        job, _ = self.finished(number)
        with job.lock:
            job.check_kept()
            assert job.found is not None
            with PeopleFile(job.root) as people:
                move_photo(job.found, people, self._collection(people, job), photo, source, target)
                self._sort_again(job, people, readable(self._naming.run))
        return job

    def zipped(self, number: str) -> Path:
        """The albums with their page as a zip, made once for each state of the albums; call it in a thread.

        Raises:
            Problem: no such job, it goes on, or there is no room.
        """
        job, _ = self.finished(number)
        with job.lock:
            job.check_kept()
            assert job.found is not None
            target = job.root / f"albums-{job.state}.zip"
            if target.exists():
                return target
            before = job.root / f"albums-{job.state - 1}.zip"
            for old in job.root.glob("albums-*.zip"):
                if old != before:  # somebody may be about to fetch that one
                    self._remove_zip(job, old)
            with PeopleFile(job.root) as people:
                write_pages(job.found, people, job.photos, job.albums, work=_Work(job, self))
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
        """Delete a zip; what it took is known but for the few bytes of its own directory."""
        with zipfile.ZipFile(file) as archive:
            size = sum(info.file_size for info in archive.infolist())
        file.unlink()
        job.zipped -= size
        self._room.give_back(size)

    def photo_source(self, number: str, photo: int) -> Source:
        """A photo of a job, counted as the job lists them.

        Raises:
            Problem: no such job or photo, it cannot be read, or the job goes on.
        """
        job, found = self.finished(number)
        paths = list(found.photos)
        if photo >= len(paths) or found.photos[paths[photo]].status == "error":
            raise Problem(404, "no-such-photo", "no such photo, or not one that can be read")
        return file_source(job.photos / paths[photo], paths[photo])

    def _collection(self, people: PeopleFile, job: AlbumJob) -> int:
        found = people.find_collection(job.albums.resolve())
        assert found is not None
        return found[0]

    def follow(self, bundle: Bundle) -> list[str]:
        """Sort finished jobs again by the run as it is now, and drop what names people who are not in it any more.

        A job that is being sorted does so itself before it is done. Call it in a thread.

        Args:
            bundle: the run as it is now.

        Returns:
            A line for each job that could not be changed now.
        """
        left = []
        for number, job in list(self._jobs.items()):
            if job.found is None or job.sorted_by == bundle.labels:
                continue
            # not for ever: whoever names a group holds it, and may wait for what this belongs to
            if not job.lock.acquire(timeout=_LOCK_SECONDS):
                left.append(
                    "albums of the server are being changed and may have the person; ask again in a moment"
                )
                continue
            try:
                if not job.given_up.is_set():
                    self._follow(job, bundle)
            except Exception as error:  # rather no job than one that names whoever was forgotten
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
            WrittenFiles(people, number, job.albums.resolve()).remove_others()  # made again with the next zip
            people.clean()

    def _sort_again(self, job: AlbumJob, people: PeopleFile, bundle: Bundle) -> None:
        number = self._collection(people, job)
        threshold = self._naming.run.recogniser(bundle, self._fpir).threshold
        found = decide(bundle, people, number, threshold)
        place_again(found, people, job.photos.resolve(), job.albums.resolve())
        job.found, job.state, job.sorted_by = found, job.state + 1, bundle.labels

    def _work(self, job: AlbumJob) -> None:
        if job.given_up.is_set():
            return
        try:
            with job.lock:
                self._organise(job)
        except _GivenUp:
            pass
        except Exception as error:  # the thread goes on with the next job, and this one says that it failed
            job.status, job.detail = FAILED, _why_failed(error, job)

    def _organise(self, job: AlbumJob) -> None:
        if job.given_up.is_set():
            raise _GivenUp
        bundle = readable(self._naming.run)
        recogniser = _Remote(job, self, bundle, self._naming.run.recogniser(bundle, self._fpir).threshold)
        with PeopleFile(job.root) as people:
            found = organise(recogniser, job.photos, job.albums, people, how="hard", work=_Work(job, self))
            job.sorted_by = bundle.labels
            while (
                now := readable(self._naming.run)
            ) is not bundle:  # somebody may have been forgotten meanwhile
                bundle = now
                found = decide(bundle, people, found.collection, recogniser.threshold)
                place_again(found, people, job.photos.resolve(), job.albums.resolve())
                job.sorted_by = bundle.labels
        job.found = found
        job.done, job.status, job.state = job.total, DONE, job.state + 1
        job.hashes.clear()

    def recognise(self, job: AlbumJob, paths: Sequence[Path]) -> Iterator[Recognition]:
        """Photos through the server's processes and networks, a few at a time; for the thread of jobs."""
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
        seen = await self._pool.faces(_source(job, path), hashed=True)
        job.hashes[path] = seen.sha256, seen.phash
        return await self._naming.name(seen, self._fpir)

    def in_pool(self, work: Callable[[PhotoPool], Coroutine[Any, Any, _Answer]]) -> _Answer:
        """Let the server's processes do something, and wait for it; for threads of jobs."""
        return asyncio.run_coroutine_threadsafe(work(self._pool), self._loop).result()


def _why_failed(error: Exception, job: AlbumJob) -> str:
    """What a client gets to know; the log gets what nobody thought of."""
    told = error if isinstance(error, Problem) else storage_problem(error)
    if told is not None:
        return told.detail
    if isinstance(error, LikenessError):
        return within_job(str(error), job)
    log_error("album job", error)
    return f"an error in the server ({type(error).__name__}); its log tells more"


def within_job(text: str, job: AlbumJob) -> str:
    """A message whose paths begin in the job: where the server keeps it is nobody's business."""
    for folder in (job.photos, job.albums, job.root):
        text = text.replace(f"{folder}/", "").replace(str(folder), "the job")
    return text


def _source(job: AlbumJob, path: Path) -> Source:
    return file_source(path, path.relative_to(job.photos).as_posix())


def _no_such_job() -> Problem:
    return Problem(404, "no-such-job", "no such job; its time may be over")


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


class _Work:
    """Stands where albums take somebody who decodes photos: the server's processes do it."""

    def __init__(self, job: AlbumJob, jobs: AlbumJobs) -> None:
        self._job, self._jobs = job, jobs

    def hashes(self, path: Path, status: str) -> tuple[str, int | None]:
        """As `PhotoWork`; they were made when the photo was looked at."""
        known = self._job.hashes.pop(path, None)
        if known is None:
            source = _source(self._job, path)
            found = self._jobs.in_pool(lambda pool: pool.faces(source, hashed=True))
            known = found.sha256, found.phash
        return known

    def thumbnail(self, path: Path) -> bytes:
        """As `PhotoWork`."""
        source = _source(self._job, path)
        return self._jobs.in_pool(lambda pool: pool.thumbnail(source))

    def face_again(self, path: Path, box: Box, size: int) -> PhotoFaces | None:
        """As `PhotoWork`."""
        source = _source(self._job, path)
        return self._jobs.in_pool(lambda pool: pool.face_again(source, path, box, size))
