"""What one worker does with photos: look for the face, cut it out, render it.

A plain class that knows neither folders nor Ray: content in, images out. Models are loaded once, by the constructor;
every photo is decoded once and searched for faces once.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

import cv2
import numpy as np

from augmentor.balanced_set.manifest import ManifestRow
from augmentor.balancing.plan import PlannedImage
from augmentor.errors import PhotoError
from augmentor.faces.chip import chip_landmarks, chip_transform, cut_chip
from augmentor.faces.face_finder import FaceFinder, Policy
from augmentor.photos.images import MAX_PIXELS, encode_jpeg, load_image, load_photo, perceptual_hash
from augmentor.rendering.effects import apply_effects, expression_of
from augmentor.rendering.light import relight
from augmentor.rendering.render import PreparedPhoto, prepare_photo, render_views
from augmentor.views.view import View
from augmentor.views.view_set import SPREAD, ViewSet, load_view_set
from jobs.balancing.scan_table import ScannedFace

PHOTO_QUALITY = 95  # JPEG quality of the aligned photos: they are the evidence
RENDER_QUALITY = 92  # of the renders: a fifth smaller, no difference that training could see


@dataclass(frozen=True)
class RenderSettings:
    """How images are made; plain values, so that they travel."""

    size: int
    seed: int
    faces: Policy
    head_model: str = "built-in"
    views: str = SPREAD
    max_pixels: int = MAX_PIXELS


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


class PhotoWorker:
    """Scans photos and makes images of them.

    Args:
        settings: how the images are made.
        view_set: the head and its views; loaded if not given.

    Raises:
        InputError: a model is missing or damaged.
    """

    def __init__(self, settings: RenderSettings, view_set: ViewSet | None = None) -> None:
        cv2.setNumThreads(1)  # one worker is one core
        self._settings = settings
        self._find_faces = FaceFinder(settings.faces)
        self._view_set = view_set or load_view_set(
            settings.head_model, settings.size, settings.seed, settings.views
        )

    def scan(
        self, identity: str, photo: str, content: bytes | PhotoError
    ) -> tuple[Scanned, list[PreparedFace]]:
        """Decode a photo, find its face, estimate the pose.

        Args:
            identity: whose photo it is.
            photo: relative to the data folder.
            content: of its file, or why that could not be read.

        Returns:
            what was found, and the prepared faces, one for each that can be used.
        """
        start = time.process_time()
        blank = blank_face(identity, photo, content)
        try:
            if isinstance(content, PhotoError):
                raise content
            loaded = load_photo(content, name=photo, max_pixels=self._settings.max_pixels)
        except PhotoError as error:
            failed = replace(blank, reason=error.reason, detail=error.detail)
            return Scanned((failed,), time.process_time() - start), []
        image = loaded.image
        blank = replace(blank, phash=perceptual_hash(image), detail=loaded.note)
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
        return Scanned(tuple(faces), time.process_time() - start), prepared

    def prepare_again(self, faces: Sequence[ScannedFace], content: bytes) -> list[PreparedFace]:
        """Prepare faces whose landmarks are known from an earlier scan of the same content.

        Raises:
            PhotoError: it cannot be decoded any more.
        """
        image = load_image(content, name=faces[0].photo, max_pixels=self._settings.max_pixels)
        return [self._prepare(image, face.landmarks) for face in faces if face.landmarks is not None]

    def make_images(
        self,
        faces: Sequence[ScannedFace],
        prepared: Sequence[PreparedFace],
        images: Sequence[PlannedImage],
        views: Mapping[str, View],
    ) -> Iterator[tuple[ManifestRow, bytes]]:
        """The planned images of one photo: the row of the manifest and the JPEG of each.

        Args:
            faces: the usable faces of the photo, as `scan` gave them.
            prepared: beside them.
            images: what is to be made of them.
            views: by name, all that `images` need.
        """
        for face, ready in zip(faces, prepared, strict=True):
            yield from self._make(face, ready, [image for image in images if image.face == face.face], views)

    def _prepare(self, image: np.ndarray, landmarks: np.ndarray) -> PreparedFace:
        chip = cut_chip(image, landmarks, self._settings.size)
        in_chip = chip_landmarks(landmarks, chip_transform(landmarks, self._settings.size))
        return PreparedFace(
            chip, in_chip, prepare_photo(image, landmarks, self._view_set.head, self._settings.size)
        )

    def _make(
        self,
        face: ScannedFace,
        ready: PreparedFace,
        images: Sequence[PlannedImage],
        views: Mapping[str, View],
    ) -> Iterator[tuple[ManifestRow, bytes]]:
        """Make the images of one face and describe them."""
        turned = [image for image in images if image.view]
        seen = [views[image.view.name] for image in turned if image.view]
        changes = [expression_of(image.effects, ready.photo, self._view_set.head) for image in turned]
        renders = zip(seen, render_views(ready.photo, seen, changes), strict=True)
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
            row = ManifestRow(
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
            yield row, data


def blank_face(identity: str, photo: str, content: bytes | PhotoError) -> ScannedFace:
    """What is known of a photo before it is decoded."""
    digest = "" if isinstance(content, PhotoError) else sha256(content).hexdigest()
    return ScannedFace(identity, photo, 0, digest, 0, 0.0, 0.0, 0.0, None, "", None)
