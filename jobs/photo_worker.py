"""What one worker does with photos: look for the face, cut it out, render it.

A plain class, so that it works alone as well as inside Ray, which turns it into actors (`jobs.ray_pool`): models
are loaded once, by the constructor; every photo is decoded once and searched for faces once.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa

from augmentor.balance import PlannedImage
from augmentor.chip import chip_landmarks, chip_transform, cut_chip
from augmentor.effects import apply_effects, expression_of
from augmentor.errors import InputError, PhotoError
from augmentor.faces import FaceFinder, Policy
from augmentor.images import encode_jpeg, load_image, perceptual_hash, write_whole
from augmentor.light import relight
from augmentor.manifest import ManifestRow, table_of
from augmentor.render import PreparedPhoto, prepare_photo, render_views
from augmentor.view import View
from augmentor.view_set import SPREAD, load_view_set
from jobs.scan_table import ScannedFace

PHOTO_QUALITY = 95  # JPEG quality of the aligned photos: they are the evidence
RENDER_QUALITY = 92  # of the renders: a fifth smaller, no difference that training could see


@dataclass(frozen=True)
class WorkerSettings:
    """What a worker must know; plain values, so that they travel."""

    data: str
    images: str
    size: int
    seed: int
    faces: Policy
    head_model: str
    views: str = SPREAD


@dataclass(frozen=True)
class PreparedFace:
    """A face ready to be written and rendered: chip (size, size, 3) uint8 and its landmarks (68, 2) float32."""

    chip: np.ndarray
    landmarks: np.ndarray
    photo: PreparedPhoto


@dataclass(frozen=True)
class Scanned:
    """All faces of one photo, or its reason, and the core seconds it took."""

    faces: tuple[ScannedFace, ...]
    seconds: float


@dataclass(frozen=True)
class Written:
    """The manifest rows (`augmentor.manifest.SCHEMA`) of the images made of one photo, and the core seconds it took."""

    rows: pa.Table
    seconds: float


class PhotoWorker:
    """Scans photos and makes images of them.

    Args:
        settings: where the photos are, where the images go, and how they are made.
        views: by name; only `make_images` needs them.

    Raises:
        InputError: a model is missing or damaged.
    """

    def __init__(self, settings: WorkerSettings, views: dict[str, View] | None = None) -> None:
        cv2.setNumThreads(1)  # one worker is one core
        self._settings = settings
        self._views = views or {}
        self._find_faces = FaceFinder(settings.faces)
        self._view_set = load_view_set(settings.head_model, settings.size, settings.seed, settings.views)

    def scan(self, identity: str, photo: str, keep: bool = True) -> tuple[Scanned, list[PreparedFace]]:
        """Decode a photo, find its face, estimate the pose.

        Args:
            identity: whose photo it is.
            photo: relative to the data folder.
            keep: also return the prepared faces; else the list is empty, and `make_images` decodes once more.
        """
        start = time.process_time()
        blank = ScannedFace(identity, photo, 0, "", 0, 0.0, 0.0, 0.0, None, "", None)
        try:
            content = _read(Path(self._settings.data) / photo)
            blank = replace(blank, sha256=sha256(content).hexdigest())
            image = load_image(content, name=photo)
        except PhotoError as error:
            failed = replace(blank, reason=error.reason, detail=error.detail)
            return Scanned((failed,), time.process_time() - start), []
        blank = replace(blank, phash=perceptual_hash(image))
        search = self._find_faces(image)
        if not search:
            failed = replace(blank, reason=search.reason)
            return Scanned((failed,), time.process_time() - start), []
        faces, prepared = [], []
        for number, found in enumerate(search.faces):
            try:
                ready = self._prepare(image, found.landmarks)
            except PhotoError as error:
                faces.append(replace(blank, face=number, reason=error.reason, detail=error.detail))
                continue
            pose = ready.photo.fit.camera.pose
            faces.append(
                replace(
                    blank,
                    face=number,
                    yaw=float(pose.yaw),
                    pitch=float(pose.pitch),
                    roll=float(pose.roll),
                    landmarks=np.asarray(found.landmarks, np.float32),
                )
            )
            prepared.append(ready)
        return Scanned(tuple(faces), time.process_time() - start), prepared if keep else []

    def make_images(
        self,
        faces: Sequence[ScannedFace],
        images: Sequence[PlannedImage],
        prepared: Sequence[PreparedFace] = (),
    ) -> Written:
        """Write the planned images of one photo.

        Args:
            faces: the usable faces of the photo, as `scan` gave them.
            images: what is to be made of them.
            prepared: what `scan` prepared for these faces; without it the photo is decoded again.

        Raises:
            InputError: an image cannot be written, or the photo has changed since it was scanned.
        """
        start = time.process_time()
        ready = dict(zip((face.face for face in faces), prepared or self._prepare_again(faces), strict=True))
        by_number = {face.face: face for face in faces}
        rows: list[ManifestRow] = []
        for number, face in by_number.items():
            own = [image for image in images if image.face == number]
            rows += self._make(face, ready[number], own)
        return Written(table_of(rows), time.process_time() - start)

    def _prepare(self, image: np.ndarray, landmarks: np.ndarray) -> PreparedFace:
        chip = cut_chip(image, landmarks, self._settings.size)
        in_chip = chip_landmarks(landmarks, chip_transform(landmarks, self._settings.size))
        return PreparedFace(
            chip, in_chip, prepare_photo(image, landmarks, self._view_set.head, self._settings.size)
        )

    def _prepare_again(self, faces: Sequence[ScannedFace]) -> list[PreparedFace]:
        """Prepare faces whose landmarks are known from an earlier run."""
        photo = faces[0].photo
        try:
            content = _read(Path(self._settings.data) / photo)
            if sha256(content).hexdigest() != faces[0].sha256:
                raise InputError(f"{photo}: changed while the job ran; start it again")
            image = load_image(content, name=photo)
        except PhotoError as error:
            raise InputError(f"{error}; it could be read before: start the job again") from error
        return [self._prepare(image, face.landmarks) for face in faces if face.landmarks is not None]

    def _make(
        self, face: ScannedFace, ready: PreparedFace, images: Sequence[PlannedImage]
    ) -> Iterator[ManifestRow]:
        """Make the images of one face, write them, and describe them."""
        turned = [image for image in images if image.view]
        views = [self._views[image.view.name] for image in turned if image.view]
        changes = [expression_of(image.effects, ready.photo, self._view_set.head) for image in turned]
        renders = zip(views, render_views(ready.photo, views, changes), strict=True)
        for image in images:
            if image.view is None:
                pixels, landmarks, visible = ready.chip, ready.landmarks, np.ones(68, bool)
                yaw, pitch, roll = face.yaw, face.pitch, face.roll
            else:
                view, rendered = next(renders)
                landmarks, visible = rendered.landmarks_2d, rendered.landmarks_visible
                pixels = relight(rendered.image, view, image.light)
                pixels = apply_effects(pixels, view, landmarks, image.effects)
                yaw, pitch, roll = image.view.yaw, image.view.pitch, image.view.roll
            data = encode_jpeg(pixels, PHOTO_QUALITY if image.view is None else RENDER_QUALITY)
            write_whole(Path(self._settings.images) / image.file, data)
            yield ManifestRow(
                file=image.file,
                identity=image.identity,
                kind=image.kind,
                source=face.photo,
                source_sha256=face.sha256,
                source_phash=face.phash,
                face=face.face,
                shape=image.view.shape if image.view else None,
                expression=image.view.expression if image.view else None,
                yaw=yaw,
                pitch=pitch,
                roll=roll,
                light=image.light,
                effects=" ".join(map(str, image.effects)),
                landmarks=landmarks,
                visible=visible,
                size=self._settings.size,
                seed=self._settings.seed,
                bytes=len(data),
            )


def _read(path: Path) -> bytes:
    """The content of a photo's file.

    Raises:
        PhotoError: `unreadable`.
    """
    if not path.is_file():
        raise PhotoError("unreadable", path, "not a file")
    try:
        return path.read_bytes()
    except OSError as error:
        raise PhotoError("unreadable", path, error.strerror or str(error)) from error
