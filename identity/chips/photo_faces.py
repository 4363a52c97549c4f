"""From one photo to the faces cut out of it: what augmenting, training, evaluating, naming and enrolling share.

A photo is read by `augmentor.photos.images`, its faces are detected by a face source (`augmentor.faces.face_source`),
and each is cut out into a chip (`augmentor.faces.chip`). Several photos at once: `identity.chips.many_photos`.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from threadpoolctl import ThreadpoolController

from augmentor.errors import PhotoError
from augmentor.faces.chip import CHIP_SIZE, chip_transform, warp_chip
from augmentor.faces.face_search import (
    MIN_FACE,
    NO_LANDMARKS,
    SEARCH_REASONS,
    Box,
    Face,
    FaceSearch,
    LandmarkUse,
    Policy,
    overlap,
)
from augmentor.faces.face_source import FaceSource, face_source
from augmentor.head.head_model import HeadModel, load_head_model
from augmentor.head.pose import fit_face
from augmentor.path_text import shown
from augmentor.photos.images import LoadedPhoto, load_image, load_photo, perceptual_hash
from identity.chips.whole_photo import whole_chip

_SAME_FACE = 0.5  # Intersection over union of two boxes of one face.
Transform = Callable[[np.ndarray, int], np.ndarray]


@dataclass(frozen=True)
class FaceChip(Face):
    """A face cut out of a photo.

    Attributes:
        box, landmarks, score, points, visible: see `augmentor.faces.face_search.Face`. The score of a face from a cache
            is NaN.
        chip: (size, size, 3) uint8 RGB; None of a face whose photo was not opened again, or that was dropped to save
            memory.
        chip_from_image: (2, 3) float64, brings photo pixels (x, y, 1) to chip pixels; None of a photo used whole.
        pose: (yaw, pitch, roll) in degrees; None if no head fits the landmarks, or if poses were not asked for.
    """

    chip: np.ndarray | None = None
    chip_from_image: np.ndarray | None = None
    pose: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class PhotoFaces:
    """A photo and the faces cut out of it.

    Attributes:
        photo: what messages and answers call the photo.
        path: its file; of a photo that did not come from a file, its name.
        reason: None if there is a face, else one of `augmentor.errors.REASONS`.
        detail: what exactly is wrong, or what else the user should know of the photo; may be empty.
        faces: the faces that the policy chose, in its order. A photo that is used whole counts as one face.
        sha256: of the file, hexadecimal; empty if the file could not be read or it was not asked for.
        phash: perceptual hash of the whole photo; None if the photo could not be read or it was not asked for.
    """

    photo: str
    path: Path
    reason: str | None = None
    detail: str = ""
    faces: tuple[FaceChip, ...] = ()
    sha256: str = ""
    phash: int | None = None

    @property
    def status(self) -> str:
        """`ok`; `no_face`: the photo was read, but has no face to use; `error`: the photo could not be read."""
        if self.reason is None:
            return "ok"
        return "no_face" if self.reason in SEARCH_REASONS else "error"

    @property
    def chips(self) -> list[np.ndarray]:
        """(size, size, 3) uint8 RGB of each face."""
        return [face.chip for face in self.faces if face.chip is not None]

    @property
    def chip(self) -> np.ndarray | None:
        """(size, size, 3) uint8 RGB of the first face, or None."""
        return self.faces[0].chip if self.faces else None

    @property
    def landmarks(self) -> np.ndarray | None:
        """(68, 2) float32 (x, y) photo pixels of the first face; None if it has none."""
        return self.faces[0].landmarks if self.faces and len(self.faces[0].landmarks) else None

    @property
    def points(self) -> np.ndarray | None:
        """(5, 2) float32 (x, y) photo pixels of the first face; None without a face, and of a photo used whole."""
        return self.faces[0].points if self.faces and len(self.faces[0].points) else None

    @property
    def visible(self) -> np.ndarray | None:
        """(68,) bool, which landmarks of the first face the head does not hide; None if it has no landmarks."""
        return self.faces[0].visible if self.landmarks is not None else None

    @property
    def box(self) -> Box | None:
        """(x, y, width, height) photo pixels of the first face, or None."""
        return self.faces[0].box if self.faces else None

    def without_chips(self) -> "PhotoFaces":
        """Return the same without the pixels of the chips, to save memory."""
        return replace(self, faces=tuple(replace(face, chip=None) for face in self.faces))


def failed(error: PhotoError, photo: str, path: Path | None = None) -> PhotoFaces:
    """Return the outcome of a photo that could not be read.

    Args:
        error: why.
        photo: what messages call the photo.
        path: its file, if it is one.
    """
    return PhotoFaces(photo, Path(photo) if path is None else path, error.reason, error.detail)


@dataclass(frozen=True)
class PhotoReader:
    """Reads photos, detects faces and cuts them out. A small value, so that processes and Ray's actors get it.

    Attributes:
        size: edge of the chips, pixels.
        align: `face`, or `whole`: no face is detected, the one chip is the square in the middle of the photo.
        policy: which faces of a photo count, see `augmentor.faces.face_search.choose_faces`.
        source: detects the faces; by default the one with a second opinion, for photos that may show anybody.
        min_face: smallest usable face, side of its box in pixels.
        poses: whether to estimate the pose of each face; it takes some milliseconds.
        landmarks: what the 68 landmarks of each face are for; None: for nothing but the pose, if that is asked for.
        transform: gives (2, 3) chip_from_image from five points (5, 2) and the edge of the chip.
    """

    size: int = CHIP_SIZE
    align: str = "face"
    policy: Policy = "all"
    source: FaceSource = field(default_factory=lambda: face_source(second_opinion=True))
    min_face: int = MIN_FACE
    poses: bool = True
    landmarks: LandmarkUse | None = "fit"
    transform: Transform = chip_transform

    def load(self) -> None:
        """Load now what would otherwise be loaded with the first photo.

        Raises:
            InputError: the head model is missing or damaged.
        """
        if self.poses:
            head_for(self.source)

    def file(self, path: Path, *, known: PhotoFaces | None = None, hashed: bool = False) -> PhotoFaces:
        """Return the faces of a photo file; a photo that cannot be read gets the status `error`.

        Args:
            path: the file.
            known: what was detected in the same file before; a photo without a face is then not even opened.
            hashed: whether to compute the perceptual hash, unless it is known.
        """
        if known is not None and known.reason is not None and self.align == "face":
            return replace(known, photo=shown(path), path=path)
        try:
            photo = load_photo(path)
        except PhotoError as error:
            return failed(error, shown(path), path)
        return replace(self._faces(photo, shown(path), known, hashed), path=path)

    def content(self, content: bytes, name: str, max_pixels: int) -> PhotoFaces:
        """Return the faces of the photo whose file has this content.

        Args:
            content: of the file.
            name: what messages call the photo.
            max_pixels: a photo with more is refused.
        """
        try:
            return self._faces(load_photo(content, name=name, max_pixels=max_pixels), name)
        except PhotoError as error:
            return failed(error, name)

    def _faces(
        self, photo: LoadedPhoto, name: str, known: PhotoFaces | None = None, hashed: bool = False
    ) -> PhotoFaces:
        found = replace(self.image(photo.image, name, known.faces if known else ()), detail=photo.note)
        if not hashed:
            return found
        return replace(found, phash=known.phash if known else perceptual_hash(photo.image))

    def image(self, image: np.ndarray, name: str, known: tuple[Face, ...] = ()) -> PhotoFaces:
        """Return the faces of an image.

        Args:
            image: (H, W, 3) uint8 RGB; not modified.
            name: what messages call it.
            known: the faces, if they were detected before.

        Raises:
            ValueError: `image` is not (H, W, 3) uint8, or the landmarks of a face coincide.
            InputError: a model file is missing or damaged.
        """
        path = Path(name)
        if self.align == "whole":
            return PhotoFaces(name, path, faces=(_whole(image, self.size),))
        search = FaceSearch(known, None) if known else self._search(image, self.policy)
        return PhotoFaces(
            name, path, search.reason, faces=tuple(self.cut(image, face) for face in search.faces)
        )

    def _search(self, image: np.ndarray, policy: Policy) -> FaceSearch:
        return self.source(image, policy, self.min_face, self.landmarks or ("pose" if self.poses else None))

    def cut(self, image: np.ndarray, face: Face) -> FaceChip:
        """Cut a face out of an (H, W, 3) uint8 RGB image.

        Raises:
            ValueError: `image` is not (H, W, 3) uint8, or the points coincide.
        """
        chip_from_image = self.transform(face.points, self.size)
        chip = warp_chip(image, chip_from_image, self.size)
        pose = _pose(face, image.shape[:2], self.source) if self.poses else None
        return FaceChip(
            face.box, face.landmarks, face.score, face.points, face.visible, chip, chip_from_image, pose
        )

    def face_again(self, image: np.ndarray, path: Path, box: Box) -> PhotoFaces | None:
        """Return the one face of a photo that was detected at `box` before, or None if it is not detected again.

        Args:
            image: (H, W, 3) uint8 RGB, the photo.
            path: its file.
            box: (x, y, width, height) in photo pixels.
        """
        faces = self._search(image, "all").faces
        near = [face for face in faces if overlap(face.box, box) >= _SAME_FACE]
        if not near:
            return None
        face = max(near, key=lambda face: overlap(face.box, box))
        return replace(self.image(image, shown(path), (face,)), path=path)


def cut_again(photo: PhotoFaces, size: int = CHIP_SIZE) -> np.ndarray:
    """Return the chip of a photo whose face is known, (size, size, 3) uint8 RGB, so that it can be shown.

    Raises:
        PhotoError: the photo cannot be read any more.
        ValueError: there is no face in it.
    """
    if photo.reason is not None:
        raise ValueError(f"{photo.path}: there is no face in it ({photo.reason})")
    image = load_image(photo.path)
    if photo.points is None:
        return whole_chip(image, size)
    return warp_chip(image, chip_transform(photo.points, size), size)


def _whole(image: np.ndarray, size: int) -> FaceChip:
    """Return a photo that is used whole."""
    height, width = image.shape[:2]
    box = (0.0, 0.0, float(width), float(height))
    return FaceChip(box, NO_LANDMARKS, 0.0, chip=whole_chip(image, size))


def head_for(source: FaceSource) -> HeadModel:
    """Return the head model with the landmarks of a face source, loaded once per process.

    Raises:
        InputError: the head model is missing or damaged.
    """
    return _head(np.asarray(source.offsets, np.float64).tobytes())


@functools.cache
def _head(offsets: bytes) -> HeadModel:
    """Return the head for face sources with these offsets, loaded once per process."""
    return load_head_model().with_landmark_offsets(np.frombuffer(offsets).reshape(68, 3))


@functools.cache
def _blas() -> ThreadpoolController:
    """Return the control of BLAS's threads; for matrices as small as those of a fit, more than one only wait."""
    return ThreadpoolController()


def _pose(face: Face, size: tuple[int, int], source: FaceSource) -> tuple[float, float, float] | None:
    """Return yaw, pitch and roll in degrees; None if no head fits the landmarks."""
    try:
        with _blas().limit(limits=1, user_api="blas"):
            pose = fit_face(face.landmarks, head_for(source), size, visible=face.visible).camera.pose
    except PhotoError:
        return None
    return float(pose.yaw), float(pose.pitch), float(pose.roll)
