"""From photo files to faces cut out, several at a time: the part of recognition that needs no trained network.

`PhotoReader` is a plain class, so that processes here and Ray's actors can each have one.
"""

import multiprocessing
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from threadpoolctl import threadpool_limits

from augmentor.errors import PhotoError
from augmentor.faces.chip import cut_chip
from augmentor.faces.face_search import Face, Policy
from augmentor.faces.face_source import FaceSource, face_source
from augmentor.head.head_model import HeadModel, load_head_model
from augmentor.head.pose import fit_face
from augmentor.path_text import shown
from augmentor.photos.images import LoadedPhoto, load_photo
from identity.chips.whole_photo import whole_chip

_AHEAD = 4  # photos for each process


@dataclass(frozen=True)
class SeenPhoto:
    """A photo after the search for faces.

    Attributes:
        photo: what to call it.
        status: `ok`, `no_face` or `error`.
        reason: None, or one of `augmentor.errors.REASONS`.
        detail: what exactly is wrong, or what else the user should know of the photo; may be empty.
        faces: the largest first.
        chips: one for each face, (size, size, 3) uint8 RGB.
        poses: (yaw, pitch, roll) in degrees of each face; None where no head fits the landmarks.
    """

    photo: str
    status: str
    reason: str | None
    detail: str
    faces: tuple[Face, ...]
    chips: list[np.ndarray]
    poses: list[tuple[float, float, float] | None]


def failed(error: PhotoError, name: str) -> SeenPhoto:
    """A photo that could not be read."""
    return SeenPhoto(name, "error", error.reason, error.detail, (), [], [])


class PhotoReader:
    """Reads photos and cuts their faces out.

    Args:
        size: edge of the chips, pixels.
        align: `face`, or `whole`: the one chip is the square in the middle of the photo.
        policy: which faces of a photo count, see `augmentor.faces.face_search`.
        source: finds the faces; by default the one that recognition uses.
    """

    def __init__(
        self, size: int, align: str = "face", policy: Policy = "all", source: FaceSource | None = None
    ) -> None:
        self.size, self.align, self.policy = size, align, policy
        self.source = source or face_source(second_opinion=True)
        self._head: HeadModel = load_head_model()

    def file(self, path: Path) -> SeenPhoto:
        """A photo file; one that cannot be read gets the status `error`."""
        try:
            return self._photo(load_photo(path), shown(path))
        except PhotoError as error:
            return failed(error, shown(path))

    def content(self, content: bytes, name: str, max_pixels: int) -> SeenPhoto:
        """What a photo file holds; it is refused if it has more pixels."""
        try:
            return self._photo(load_photo(content, name=name, max_pixels=max_pixels), name)
        except PhotoError as error:
            return failed(error, name)

    def _photo(self, photo: LoadedPhoto, name: str) -> SeenPhoto:
        return replace(self.image(photo.image, name), detail=photo.note)

    def image(self, image: np.ndarray, name: str) -> SeenPhoto:
        """An (H, W, 3) uint8 RGB image."""
        height, width = image.shape[:2]
        if self.align == "whole":
            photo = Face((0.0, 0.0, float(width), float(height)), np.zeros((0, 2), np.float32), 0.0)
            return SeenPhoto(name, "ok", None, "", (photo,), [whole_chip(image, self.size)], [None])
        search = self.source(image, self.policy)
        if not search:
            return SeenPhoto(name, "no_face", search.reason, "", (), [], [])
        chips = [cut_chip(image, face.landmarks, self.size) for face in search.faces]
        poses = [self._pose(face.landmarks, (height, width)) for face in search.faces]
        return SeenPhoto(name, "ok", None, "", search.faces, chips, poses)

    def _pose(self, landmarks: np.ndarray, size: tuple[int, int]) -> tuple[float, float, float] | None:
        try:
            pose = fit_face(landmarks, self._head, size).camera.pose
        except PhotoError:
            return None
        return float(pose.yaw), float(pose.pitch), float(pose.roll)


def read_photos(reader: PhotoReader, paths: Sequence[Path], workers: int = 1) -> Iterator[SeenPhoto]:
    """Photos in order; only a few are under way at a time.

    Args:
        reader: reads in this process; others get one like it.
        paths: photo files.
        workers: processes; they are spawned and import the main module.
    """
    if workers <= 1:
        yield from (reader.file(path) for path in paths)
        return
    context = multiprocessing.get_context("spawn")
    made = (reader.size, reader.align, reader.policy, reader.source)
    pool = ProcessPoolExecutor(workers, context, initializer=_start, initargs=made)
    pending: deque[Future[SeenPhoto]] = deque()
    try:
        for path in paths:
            pending.append(pool.submit(_read, path))
            if len(pending) > _AHEAD * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_reader: list[PhotoReader] = []


def use_one_core() -> None:
    """For a process beside others like it: OpenCV and BLAS would each take all cores, and wait for them busily."""
    cv2.setNumThreads(1)
    threadpool_limits(1)


def _start(size: int, align: str, policy: Policy, source: FaceSource) -> None:
    use_one_core()
    _reader[:] = [PhotoReader(size, align, policy, source)]


def _read(path: Path) -> SeenPhoto:
    return _reader[0].file(path)
