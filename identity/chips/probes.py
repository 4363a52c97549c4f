"""From photo files to face chips: the one path that training, evaluation and recognition share.

A photo is read by `augmentor.photos.images`, its face found by `augmentor.faces.face_search`, with a second opinion,
and cut out by `augmentor.faces.chip`.
Finding takes some 0.1 s a photo, so it runs in several processes and what was found (not the chips) is kept
in a cache whose key is the SHA-256 of the file: measuring the same photos again takes a tenth of the time,
and a changed photo is looked at again.

Contract:
    Every path gives exactly one `ProbeChip`, in the order given; one without a chip has a reason. Worker
    processes are spawned, never forked, so that it does not matter whether TensorFlow is loaded; they
    import the main module, which should therefore be cheap to import.
"""

import io
import multiprocessing
import os
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from augmentor.errors import PhotoError
from augmentor.faces.chip import CHIP_SIZE, cut_chip
from augmentor.faces.face_search import MIN_FACE, Policy, check_policy
from augmentor.faces.face_source import FaceSource, face_source
from augmentor.photos.images import load_image, load_photo, perceptual_hash, sha256_of, write_whole
from identity.chips.seeing import use_one_core
from identity.chips.whole_photo import whole_chip

_SAVE_EVERY = 500
_CHUNK = 8
_SECONDS_FINDING, _SECONDS_READING, _SECONDS_STARTING = 0.15, 0.005, 3.0
Looking = Policy | Literal["whole"]
_SCHEMA = pa.schema(
    [
        ("sha256", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("phash", pa.uint64()),
        ("landmarks", pa.list_(pa.float32())),
        ("box", pa.list_(pa.float64())),
    ]
)


@dataclass(frozen=True)
class FoundFace:
    """What is known of a photo file without its pixels.

    Attributes:
        reason: None when there is a face, else one of `augmentor.errors.REASONS`.
        detail: What exactly is wrong, or what else the user should know of the photo; may be empty.
        phash: Perceptual hash of the whole photo; None when it could not be read.
        landmarks: (68, 2) float32 (x, y) photo pixels, or None.
        box: (x, y, width, height) photo pixels, or None.
    """

    reason: str | None
    detail: str = ""
    phash: int | None = None
    landmarks: np.ndarray | None = None
    box: tuple[float, float, float, float] | None = None


@dataclass(frozen=True)
class ProbeChip:
    """One photo and the face cut out of it.

    Attributes:
        path: As given.
        chip: (size, size, 3) uint8 RGB, or None when there is a `reason`.
        reason: None, or why there is no chip.
        sha256: Of the file, hexadecimal; empty when it could not be read.
        phash: See `FoundFace`, as are `landmarks`, `box` and `detail`.
    """

    path: Path
    chip: np.ndarray | None
    reason: str | None
    sha256: str
    phash: int | None
    landmarks: np.ndarray | None
    box: tuple[float, float, float, float] | None = None
    detail: str = ""


def find_chips(
    paths: Sequence[Path],
    size: int = CHIP_SIZE,
    policy: Looking = "central",
    workers: int | None = None,
    cache: Path | None = None,
    *,
    min_face: int = MIN_FACE,
    progress: str = "",
    source: FaceSource | None = None,
) -> list[ProbeChip]:
    """Find and cut out the face of each photo; see `iterate_chips`. A chip of 150 pixels takes 68 kB."""
    return list(
        iterate_chips(
            paths, size, policy, workers, cache, min_face=min_face, progress=progress, source=source
        )
    )


def iterate_chips(
    paths: Sequence[Path],
    size: int = CHIP_SIZE,
    policy: Looking = "central",
    workers: int | None = None,
    cache: Path | None = None,
    *,
    min_face: int = MIN_FACE,
    progress: str = "",
    source: FaceSource | None = None,
) -> Iterator[ProbeChip]:
    """Find and cut out the face of each photo, one after the other, so that many photos need little memory.

    Args:
        paths: Photo files.
        size: Side of the chips, pixels.
        policy: Which face counts; `all` gives several and is not for this function. `whole`: no face is looked for,
            the chip is the square in the middle of the photo.
        workers: Processes; by default as many as there are cores. One looks in this process.
        cache: Folder of the cache; None keeps nothing.
        min_face: Smallest usable face, pixels.
        progress: Label of a progress bar on stderr; none if empty.
        source: Finds the faces; by default the one that recognition uses.

    Raises:
        ValueError: `policy` is `all` or unknown.
        InputError: A model file is missing, or the cache cannot be written.
    """
    if policy == "all":
        raise ValueError("one chip a photo: policy central, largest, reject or whole")
    if policy != "whole":
        check_policy(policy, min_face)  # wrong arguments are an error now, not in a worker
    source = source or face_source(second_opinion=True)
    store = FaceCache(cache, policy, min_face, source)
    jobs: list[_Job | ProbeChip] = []
    unknown = 0
    for path in paths:
        try:
            sha256 = sha256_of(path)
        except PhotoError as error:
            jobs.append(ProbeChip(path, None, error.reason, "", None, None, None, error.detail))
            continue
        known = store.get(sha256)
        unknown += known is None
        jobs.append(_Job(path, sha256, size, policy, min_face, source, known))
    seconds = unknown * _SECONDS_FINDING + (len(jobs) - unknown) * _SECONDS_READING
    processes = workers if workers is not None else available_cores()
    processes = processes if seconds > _SECONDS_STARTING else 1
    unsaved = 0
    try:
        bar = tqdm(_examine_all(jobs, processes), total=len(jobs), desc=progress, disable=not progress)
        for probe in bar:
            if probe.sha256 and probe.reason != "unreadable" and store.get(probe.sha256) is None:
                store.add(probe.sha256, _found(probe))
                unsaved += 1
                if unsaved % _SAVE_EVERY == 0:
                    store.save()
            yield probe
    finally:
        if unsaved % _SAVE_EVERY:
            store.save()


def cut_again(probe: ProbeChip, size: int = CHIP_SIZE) -> np.ndarray:
    """The chip of a photo whose face is known, for looking at it; of a photo that no face was looked for in its middle.

    Raises:
        PhotoError: The photo cannot be read any more.
        ValueError: No face was found in it.
    """
    if probe.landmarks is None and probe.reason is None:
        return whole_chip(load_image(probe.path), size)
    if probe.landmarks is None:
        raise ValueError(f"{probe.path}: no face was found ({probe.reason})")
    return cut_chip(load_image(probe.path), probe.landmarks, size)


def available_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class FaceCache:
    """What was found in photo files, by their SHA-256, in one Parquet file for each way of looking.

    Args:
        folder: Where the file lies; None keeps nothing on disk.
        policy, min_face: Part of the file's name.
        source: Its version is part of the file's name, too.
    """

    def __init__(self, folder: Path | None, policy: Looking, min_face: int, source: FaceSource) -> None:
        name = f"faces-{policy}-{min_face}-{source.version}.parquet"
        self.file = folder / name if folder else None
        self.known: dict[str, FoundFace] = self._read()

    def get(self, sha256: str) -> FoundFace | None:
        """What is known of a file, or None."""
        return self.known.get(sha256)

    def add(self, sha256: str, found: FoundFace) -> None:
        """Remember; on disk only after `save`."""
        self.known[sha256] = found

    def save(self) -> None:
        """Write everything, together with what another process has written in the meantime.

        Raises:
            InputError: The folder cannot be written.
        """
        if self.file is None:
            return
        self.known = {**self._read(), **self.known}
        rows = [
            {
                "sha256": sha256,
                "reason": found.reason,
                "detail": found.detail,
                "phash": found.phash,
                "landmarks": None if found.landmarks is None else found.landmarks.ravel().tolist(),
                "box": None if found.box is None else list(found.box),
            }
            for sha256, found in sorted(self.known.items())
        ]
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows, _SCHEMA), buffer)
        write_whole(self.file, buffer.getvalue(), private=True)

    def _read(self) -> dict[str, FoundFace]:
        if self.file is None or not self.file.is_file():
            return {}
        try:
            rows = pq.read_table(io.BytesIO(self.file.read_bytes()), schema=_SCHEMA).to_pylist()
        except (OSError, pa.ArrowException) as error:
            print(f"{self.file}: not usable ({error}); faces are looked for again", file=sys.stderr)
            return {}
        return {row.pop("sha256"): _from_row(row) for row in rows}


@dataclass(frozen=True)
class _Job:
    """A photo for a worker, with what is already known of it."""

    path: Path
    sha256: str
    size: int
    policy: Looking
    min_face: int
    source: FaceSource
    known: FoundFace | None


def _from_row(row: dict[str, Any]) -> FoundFace:
    landmarks, box = row["landmarks"], row["box"]
    return FoundFace(
        row["reason"],
        row["detail"],
        row["phash"],
        None if landmarks is None else np.array(landmarks, np.float32).reshape(68, 2),
        None if box is None else (box[0], box[1], box[2], box[3]),
    )


def _found(probe: ProbeChip) -> FoundFace:
    return FoundFace(probe.reason, probe.detail, probe.phash, probe.landmarks, probe.box)


def _examine_all(jobs: Sequence[_Job | ProbeChip], processes: int) -> Iterator[ProbeChip]:
    """Results in order; only a few chunks are under way at a time, so that finished chips do not pile up."""
    if processes <= 1:
        yield from (_examine(job) for job in jobs)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, context, initializer=use_one_core)
    pending: deque[Future[list[ProbeChip]]] = deque()
    try:
        for start in range(0, len(jobs), _CHUNK):
            pending.append(pool.submit(_examine_chunk, jobs[start : start + _CHUNK]))
            if len(pending) > 3 * processes:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _examine_chunk(jobs: Sequence[_Job | ProbeChip]) -> list[ProbeChip]:
    return [_examine(job) for job in jobs]


def _examine(job: _Job | ProbeChip) -> ProbeChip:
    """Read one photo, find its face unless that is known, cut it out."""
    if isinstance(job, ProbeChip):
        return job
    found, chip = job.known, None
    whole = job.policy == "whole"
    if whole or found is None or found.landmarks is not None:
        try:
            photo = load_photo(job.path)
        except PhotoError as error:
            return ProbeChip(job.path, None, error.reason, job.sha256, None, None, None, error.detail)
        found = replace(found or _find(photo.image, job.policy, job.min_face, job.source), detail=photo.note)
        if whole:
            chip = whole_chip(photo.image, job.size)
        elif found.landmarks is not None:
            chip = cut_chip(photo.image, found.landmarks, job.size)
    return ProbeChip(
        job.path, chip, found.reason, job.sha256, found.phash, found.landmarks, found.box, found.detail
    )


def _find(image: np.ndarray, policy: Looking, min_face: int, source: FaceSource) -> FoundFace:
    phash = perceptual_hash(image)
    if policy == "whole":
        return FoundFace(None, "", phash)
    search = source(image, policy, min_face)
    if not search:
        return FoundFace(search.reason, "", phash)
    face = search.faces[0]
    return FoundFace(None, "", phash, face.landmarks, face.box)
