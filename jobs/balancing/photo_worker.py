"""All that one worker does with photos: detect the faces, cut them out, render them.

A plain class that knows neither folders nor Ray: content in, images out. Models are loaded once, by the constructor.
Every photo is decoded once and searched for faces once.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256

import cv2
import numpy as np

from augmentor.balanced_set.manifest import ManifestRow
from augmentor.balancing.plan import PhotoRecord, PlannedImage
from augmentor.errors import PhotoError
from augmentor.faces.chip import chip_landmarks
from augmentor.faces.face_search import Face, Policy
from augmentor.faces.face_source import FaceSource, face_source
from augmentor.photos.images import MAX_PIXELS, encode_jpeg, load_image, load_photo, perceptual_hash
from augmentor.rendering.effects import apply_effects, expression_of
from augmentor.rendering.light import relight
from augmentor.rendering.render import PreparedPhoto, prepare_photo, render_views
from augmentor.views.view import View
from augmentor.views.view_set import SPREAD, ViewSet, load_view_set
from identity.chips.photo_faces import FaceChip, PhotoReader

PHOTO_QUALITY = 95  # JPEG quality of the aligned photos, which are the evidence.
RENDER_QUALITY = 92  # JPEG quality of the renders: a fifth smaller, with no difference to training.
_NO_BOX = (math.nan, math.nan, math.nan, math.nan)  # The table of the scan keeps landmarks, no boxes.


@dataclass(frozen=True)
class RenderSettings:
    """The settings by which images are made; plain values that can be sent to other machines.

    Attributes:
        size: edge of the images, pixels.
        seed: of everything that is drawn.
        faces: which faces of a photo count.
        head_model, views: see `augmentor.views.view_set.load_view_set`.
        max_pixels: a photo with more is refused.
        source: detects the faces; without a second opinion, since a folder promises that its photos show a person.
    """

    size: int
    seed: int
    faces: Policy
    head_model: str = "built-in"
    views: str = SPREAD
    max_pixels: int = MAX_PIXELS
    source: FaceSource = field(default_factory=face_source)


@dataclass(frozen=True)
class PreparedFace:
    """A face ready to be written and rendered.

    Attributes:
        chip: (size, size, 3) uint8 RGB.
        landmarks: (68, 2) float32 (x, y) chip pixels.
        visible: (68,) bool, which of them the head does not hide.
        photo: what renders need of the photo.
    """

    chip: np.ndarray
    landmarks: np.ndarray
    visible: np.ndarray
    photo: PreparedPhoto


@dataclass(frozen=True)
class Scanned:
    """The outcome of scanning one photo.

    Attributes:
        faces: all its faces, or one record that says why there is none.
        prepared: one for each usable face, in the same order.
        seconds: core seconds that the scan took.
    """

    faces: tuple[PhotoRecord, ...]
    prepared: tuple[PreparedFace, ...] = ()
    seconds: float = 0.0


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
        self._reader = PhotoReader(settings.size, policy=settings.faces, source=settings.source, poses=False)
        self._view_set = view_set or load_view_set(
            settings.head_model, settings.size, settings.seed, settings.views, settings.source.offsets
        )

    def scan(self, identity: str, photo: str, content: bytes | PhotoError) -> Scanned:
        """Decode a photo, detect its faces, estimate their poses.

        Args:
            identity: the person whose photo it is.
            photo: path relative to the data folder.
            content: of the photo file, or why it could not be read.
        """
        start = time.process_time()
        blank = blank_face(identity, photo, content)
        try:
            if isinstance(content, PhotoError):
                raise content
            loaded = load_photo(content, name=photo, max_pixels=self._settings.max_pixels)
        except PhotoError as error:
            failed = replace(blank, reason=error.reason, detail=error.detail)
            return Scanned((failed,), seconds=time.process_time() - start)
        blank = replace(blank, phash=perceptual_hash(loaded.image), detail=loaded.note)
        found = self._reader.image(loaded.image, photo)
        if not found.faces:
            failed = replace(blank, reason=found.reason)
            return Scanned((failed,), seconds=time.process_time() - start)
        faces, prepared = [], []
        for number, face in enumerate(found.faces):
            try:
                ready = self._prepare(loaded.image, face)
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
                    landmarks=np.asarray(face.landmarks, np.float32),
                    points=np.asarray(face.points, np.float32),
                    visible=face.visible,
                )
            )
            prepared.append(ready)
        return Scanned(tuple(faces), tuple(prepared), time.process_time() - start)

    def prepare_again(self, faces: Sequence[PhotoRecord], content: bytes) -> list[PreparedFace]:
        """Prepare faces whose landmarks are known from an earlier scan of the same content.

        Raises:
            PhotoError: the content cannot be decoded any more.
        """
        image = load_image(content, name=faces[0].photo, max_pixels=self._settings.max_pixels)
        known = [
            Face(_NO_BOX, face.landmarks, math.nan, face.points, face.visible)
            for face in faces
            if face.landmarks is not None and face.points is not None and face.visible is not None
        ]
        return [self._prepare(image, self._reader.cut(image, face)) for face in known]

    def make_images(
        self,
        faces: Sequence[PhotoRecord],
        prepared: Sequence[PreparedFace],
        images: Sequence[PlannedImage],
        views: Mapping[str, View],
    ) -> Iterator[tuple[ManifestRow, bytes]]:
        """Make the planned images of one photo; yield the row of the manifest and the JPEG of each.

        Args:
            faces: the usable faces of the photo, as `scan` gave them.
            prepared: one for each of `faces`.
            images: the images to make.
            views: by name, all that `images` need.
        """
        for face, ready in zip(faces, prepared, strict=True):
            yield from self._make(face, ready, [image for image in images if image.face == face.face], views)

    def _prepare(self, image: np.ndarray, face: FaceChip) -> PreparedFace:
        assert face.chip is not None and face.chip_from_image is not None
        return PreparedFace(
            face.chip,
            chip_landmarks(face.landmarks, face.chip_from_image),
            face.visible,
            prepare_photo(
                image, face.landmarks, self._view_set.head, self._settings.size, visible=face.visible
            ),
        )

    def _make(
        self,
        face: PhotoRecord,
        ready: PreparedFace,
        images: Sequence[PlannedImage],
        views: Mapping[str, View],
    ) -> Iterator[tuple[ManifestRow, bytes]]:
        """Make the images of one face and describe them."""
        turned = [image for image in images if image.view]
        wanted = [views[image.view.name] for image in turned if image.view]
        changes = [expression_of(image.effects, ready.photo, self._view_set.head) for image in turned]
        renders = zip(wanted, render_views(ready.photo, wanted, changes), strict=True)
        for image in images:
            if image.view is None:
                pixels, landmarks, visible = ready.chip, ready.landmarks, ready.visible
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


def blank_face(identity: str, photo: str, content: bytes | PhotoError) -> PhotoRecord:
    """Return what is known of a photo before it is decoded."""
    digest = "" if isinstance(content, PhotoError) else sha256(content).hexdigest()
    return PhotoRecord(identity, photo, digest, 0.0, 0.0, 0.0, None)
