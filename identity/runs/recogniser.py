"""Name the faces of photos with a trained run.

Every command, the server and the jobs use the same class: it takes photos and returns one `Recognition` for each, in
the same order. Faces of several photos are embedded together. A run of whole photos (`identity.train --align whole`)
detects no face; it names the photo as a whole.
"""

import functools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from augmentor.faces.face_search import MIN_FACE, Policy
from augmentor.faces.face_source import FaceSource
from identity.chips.many_photos import read_photos
from identity.chips.photo_faces import FaceChip, PhotoFaces, PhotoReader
from identity.chips.sharpness import LITTLE_DETAIL, detail
from identity.decisions.open_set import rank_names
from identity.runs.bundle import Bundle

UNKNOWN = "unknown"
OTHER = "other"
BEST_NAMES = 5
SMALLEST_SHOWN = 12  # pixels, side of the box; faces from here to MIN_FACE are shown, but not named
TOO_SMALL, BLURRED = "too_small", "blurred"
_BATCH = 32


@dataclass(frozen=True)
class NamedFace:
    """One face of a photo.

    Attributes:
        box: (x, y, width, height) in photo pixels.
        landmarks: (68, 2) float32 (x, y) in photo pixels.
        pose: (yaw, pitch, roll) in degrees; None where no head fits the landmarks.
        reason: why a face that is `unknown` cannot be told: `too_small` for a name, or `blurred`; else None.
        name: name of the person, or `unknown`; with a run of whole photos the class of the photo, or `other`.
        score: the acceptance score of the best name, higher is surer.
        probability: that the best name is right, if every second face is a stranger's.
        quality: cosine of the embeddings of the face and of its mirror image. With dlib's features, a tenth of LFW's
            training photos lie below 0.94; 5.2 % of these are named wrongly, of the others 1.8 %
            (docs/decisions/0020-quality.md).
        embedding: (D,) float32 unit row, as the run compares it.
        best: the most similar names with their cosines, the most similar first.
    """

    box: tuple[float, float, float, float]
    landmarks: np.ndarray
    pose: tuple[float, float, float] | None
    reason: str | None
    name: str
    score: float
    probability: float
    quality: float
    embedding: np.ndarray
    best: tuple[tuple[str, float], ...]

    def as_json(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        yaw_pitch_roll = self.pose and dict(zip(("yaw", "pitch", "roll"), self.pose, strict=True))
        return {
            "name": self.name,
            "reason": self.reason,
            "score": round(self.score, 4),
            "probability": round(self.probability, 4),
            "box": [round(value, 1) for value in self.box],
            "size": round(math.sqrt(self.box[2] * self.box[3])),
            "quality": round(self.quality, 4),
            "pose": yaw_pitch_roll and {name: round(angle, 1) for name, angle in yaw_pitch_roll.items()},
            "best": [{"name": name, "similarity": round(cosine, 4)} for name, cosine in self.best],
        }


@dataclass(frozen=True)
class Recognition:
    """The result for one photo.

    Attributes:
        photo: name of the photo in messages.
        status: `ok`, `no_face` or `error`.
        reason: None, or one of `augmentor.errors.REASONS`.
        detail: what exactly is wrong, or what else the user should know about the photo; may be empty.
        faces: the largest first; none exactly when the status is not `ok`.
    """

    photo: str
    status: str
    reason: str | None
    detail: str
    faces: tuple[NamedFace, ...]

    def as_json(self) -> dict[str, Any]:
        """Return plain values for JSON, as `identity.identify` prints them."""
        reason = f"{self.reason}: {self.detail}" if self.reason and self.detail else self.reason
        faces = [face.as_json() for face in self.faces]
        return {"photo": self.photo, "status": self.status, "reason": reason, "faces": faces}


def naming_reader(reader: PhotoReader) -> PhotoReader:
    """Return a reader for photos whose faces are only to be named.

    It also returns faces that are too small for a name, and of the landmarks it asks only for what tells the pose.
    """
    return replace(reader, min_face=SMALLEST_SHOWN, landmarks=None)


class Recogniser:
    """Names the faces of photos with a trained run, in the state that the run has on disk when each answer is given.

    A person who is enrolled is named from the next photo on, and a person who was forgotten is named no more.

    A plain class, so that Ray can turn it into an actor.

    Args:
        bundle: the run.
        fpir: share of strangers that may be given a name; the threshold comes from the run's calibration.
        policy: which faces of a photo count, see `augmentor.faces.face_search`.
        source: finds the faces; by default that of the run.

    Raises:
        InputError: the run was calibrated with too few strangers for that rate, or its networks cannot be loaded.
    """

    def __init__(
        self,
        bundle: Bundle,
        fpir: float = 0.01,
        policy: Policy = "all",
        source: FaceSource | None = None,
    ) -> None:
        self._fpir, self._policy, self._source = fpir, policy, source
        self._use(bundle)

    def _use(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.threshold = bundle.decision.threshold(self._fpir)
        self.nobody = OTHER if bundle.align == "whole" else UNKNOWN
        self._templates = bundle.pose_templates

    @functools.cached_property
    def reader(self) -> PhotoReader:
        """Reads the photos, for processes that do not name them; it also returns faces that are too small to name."""
        source = self._source or self.bundle.faces
        return naming_reader(PhotoReader(self.bundle.size, self.bundle.align, self._policy, source))

    def files(self, paths: Sequence[Path], workers: int = 1) -> Iterator[Recognition]:
        """Name the faces of photo files, read by `workers` processes; an unreadable file gets the status `error`."""
        return self.seen(read_photos(self.reader, paths, workers))

    def images(self, images: Sequence[np.ndarray], names: Sequence[str] | None = None) -> list[Recognition]:
        """Name the faces of (H, W, 3) uint8 RGB images."""
        called = names if names is not None else [""] * len(images)
        photos = (self.reader.image(i, name) for i, name in zip(images, called, strict=True))
        return list(self.seen(photos))

    def seen(self, photos: Iterable[PhotoFaces]) -> Iterator[Recognition]:
        """Name the detected faces of photos, in order; faces wait until a batch is full."""
        waiting: list[PhotoFaces] = []
        faces = 0
        for photo in photos:
            waiting.append(photo)
            faces += len(photo.chips)
            if faces >= _BATCH or not faces:
                yield from self._answers(waiting)
                waiting, faces = [], 0
        yield from self._answers(waiting)

    def _answers(self, photos: Sequence[PhotoFaces]) -> Iterator[Recognition]:
        chips = [chip for photo in photos for chip in photo.chips]
        if not chips:
            return iter(self.named(photos, np.zeros((0, 0), np.float32), np.zeros(0)))
        while True:
            if self.bundle.outdated:
                self._use(self.bundle.as_it_is_now())
            answers = self.named(photos, *self.bundle.embed_with_quality(np.stack(chips)))
            if not self.bundle.outdated:  # otherwise a person may have been forgotten meanwhile
                return iter(answers)

    def named(
        self, photos: Sequence[PhotoFaces], embeddings: np.ndarray, quality: np.ndarray
    ) -> list[Recognition]:
        """Name the faces of photos whose faces were embedded.

        Args:
            photos: with the detected faces.
            embeddings, quality: what `Bundle.embed_with_quality` returned, one row for each chip of all photos in turn.
        """
        names = iter(self._names(embeddings, quality) if len(embeddings) else ())
        return [
            Recognition(
                photo.photo,
                photo.status,
                photo.reason,
                photo.detail,
                tuple(self._named(face, next(names)) for face in photo.faces),
            )
            for photo in photos
        ]

    def _named(self, face: FaceChip, named: dict[str, Any]) -> NamedFace:
        """Return a face with the name that the run gives it, unless it is too small to have one."""
        reason = None
        if self.bundle.align == "face" and face.side < MIN_FACE:
            reason, named["name"] = TOO_SMALL, self.nobody
        elif self.bundle.align == "face" and named["name"] == self.nobody and _is_blurred(face):
            reason = BLURRED
        return NamedFace(box=face.box, landmarks=face.landmarks, pose=face.pose, reason=reason, **named)

    def _names(self, embeddings: np.ndarray, quality: np.ndarray) -> list[dict[str, Any]]:
        """Return, for each of the (N, D) embeddings, the attributes of its `NamedFace` that come from the run."""
        bundle = self.bundle
        similarities = self._templates.similarities(embeddings)
        best, scores = bundle.decision.score(similarities)
        probabilities = bundle.decision.probability(scores)
        ranked = rank_names(similarities, BEST_NAMES)
        return [
            {
                "name": bundle.labels[best[row]] if scores[row] >= self.threshold else self.nobody,
                "score": float(scores[row]),
                "probability": float(probabilities[row]),
                "quality": float(quality[row]),
                "embedding": embeddings[row],
                "best": tuple(
                    (bundle.labels[column], float(similarities[row, column])) for column in ranked[row]
                ),
            }
            for row in range(len(embeddings))
        ]


def _is_blurred(face: FaceChip) -> bool:
    return face.chip is not None and detail(face.chip) < LITTLE_DETAIL
