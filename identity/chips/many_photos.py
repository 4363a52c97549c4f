"""Many photos: read in several processes, in order, and not searched again if a cache knows their faces.

`read_photos` gives all faces of each photo and is for naming. `iterate_chips` gives one face of each photo and is for
photos of one person each: training, enrolment, evaluation.

Contract:
    Every path gives exactly one `PhotoFaces`, in the order given. Worker processes are spawned, never forked, so that
    it does not matter whether TensorFlow is loaded; they import the main module, which should therefore be cheap to
    import.
"""

import multiprocessing
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Literal

import cv2
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from augmentor.errors import PhotoError
from augmentor.faces.chip import CHIP_SIZE
from augmentor.faces.face_search import MIN_FACE, Policy, check_policy
from augmentor.faces.face_source import FaceSource, face_source
from augmentor.path_text import shown
from augmentor.photos.images import sha256_of
from identity.chips.detection_cache import DetectionCache
from identity.chips.photo_faces import PhotoFaces, PhotoReader, failed

_AHEAD = 4  # Tasks that wait for each process, so that finished chips do not pile up.
_SAVE_EVERY = 500
_CHUNK = 8
_SECONDS_DETECTING, _SECONDS_READING, _SECONDS_STARTING = 0.15, 0.005, 3.0
OneFace = Policy | Literal["whole"]


def read_photos(reader: PhotoReader, paths: Sequence[Path], workers: int = 1) -> Iterator[PhotoFaces]:
    """Yield the faces of each photo, in order; only a few photos are read ahead.

    Args:
        reader: reads the photos, in each process.
        paths: photo files.
        workers: processes; with one, this process reads.
    """
    yield from _read_all(reader, (_Task(path) for path in paths), workers, 1)


def find_chips(
    paths: Sequence[Path],
    size: int = CHIP_SIZE,
    policy: OneFace = "central",
    workers: int | None = None,
    cache: Path | None = None,
    *,
    min_face: int = MIN_FACE,
    progress: str = "",
    source: FaceSource | None = None,
) -> list[PhotoFaces]:
    """Return the one face of each photo; see `iterate_chips`. A chip of 150 pixels takes 68 kB."""
    return list(
        iterate_chips(
            paths, size, policy, workers, cache, min_face=min_face, progress=progress, source=source
        )
    )


def iterate_chips(
    paths: Sequence[Path],
    size: int = CHIP_SIZE,
    policy: OneFace = "central",
    workers: int | None = None,
    cache: Path | None = None,
    *,
    min_face: int = MIN_FACE,
    progress: str = "",
    source: FaceSource | None = None,
) -> Iterator[PhotoFaces]:
    """Yield the one face of each photo, with the hashes of the photo; many photos need little memory.

    Args:
        paths: photo files.
        size: edge of the chips, pixels.
        policy: which face counts; `all` gives several and is not for this function. `whole`: no face is detected, the
            chip is the square in the middle of the photo.
        workers: processes; by default as many as there are cores. With one, this process reads.
        cache: folder of the cache; None keeps nothing.
        min_face: smallest usable face, pixels.
        progress: label of a progress bar on stderr; none if empty.
        source: detects the faces; by default the one with a second opinion.

    Raises:
        ValueError: `policy` is `all` or unknown.
        InputError: a model file is missing, or the cache cannot be written.
    """
    if policy == "all":
        raise ValueError("one chip a photo: policy central, largest, reject or whole")
    source = source or face_source(second_opinion=True)
    if policy == "whole":
        reader = PhotoReader(size, "whole", source=source, min_face=min_face, poses=False)
    else:
        check_policy(policy, min_face)  # wrong arguments are an error now, not in a worker
        reader = PhotoReader(size, policy=policy, source=source, min_face=min_face, poses=False)
    known = DetectionCache(cache, reader)
    tasks = [_task(path, known) for path in paths]
    new = sum(task.known is None and task.failed is None for task in tasks)
    seconds = new * _SECONDS_DETECTING + (len(tasks) - new) * _SECONDS_READING
    processes = workers if workers is not None else available_cores()
    processes = processes if seconds > _SECONDS_STARTING else 1
    unsaved = 0
    try:
        found = _read_all(reader, tasks, processes, _CHUNK)
        for photo in tqdm(found, total=len(tasks), desc=progress, disable=not progress):
            if photo.sha256 and photo.reason != "unreadable" and known.get(photo.sha256) is None:
                known.add(photo)
                unsaved += 1
                if unsaved % _SAVE_EVERY == 0:
                    known.save()
            yield photo
    finally:
        if unsaved % _SAVE_EVERY:
            known.save()


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def use_one_core() -> None:
    """Keep OpenCV and BLAS to one core, in a process beside others like it.

    Each would take all cores otherwise, and wait for them busily.
    """
    cv2.setNumThreads(1)
    threadpool_limits(1)


@dataclass(frozen=True)
class _Task:
    """A photo for a worker.

    Attributes:
        path: the photo file.
        sha256: of the file; empty if hashes are not wanted.
        known: what was detected in it before.
        failed: the outcome, if the file cannot even be hashed.
    """

    path: Path
    sha256: str = ""
    known: PhotoFaces | None = None
    failed: PhotoFaces | None = None


def _task(path: Path, known: DetectionCache) -> _Task:
    try:
        sha256 = sha256_of(path)
    except PhotoError as error:
        return _Task(path, failed=failed(error, shown(path), path))
    return _Task(path, sha256, known.get(sha256))


def _read_all(
    reader: PhotoReader, tasks: Iterable[_Task], processes: int, chunk: int
) -> Iterator[PhotoFaces]:
    """Yield the photos in order; only a few chunks are under way at a time."""
    if processes <= 1:
        yield from (_read(reader, task) for task in tasks)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, context, initializer=_start, initargs=(reader,))
    pending: deque[Future[list[PhotoFaces]]] = deque()
    remaining = iter(tasks)
    try:
        while some := list(islice(remaining, chunk)):
            pending.append(pool.submit(_read_chunk, some))
            if len(pending) > _AHEAD * processes:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_reader: list[PhotoReader] = []


def _start(reader: PhotoReader) -> None:
    use_one_core()
    reader.load()
    _reader[:] = [reader]


def _read_chunk(tasks: Sequence[_Task]) -> list[PhotoFaces]:
    return [_read(_reader[0], task) for task in tasks]


def _read(reader: PhotoReader, task: _Task) -> PhotoFaces:
    if task.failed is not None:
        return task.failed
    hashed = bool(task.sha256)
    return replace(reader.file(task.path, known=task.known, hashed=hashed), sha256=task.sha256)
