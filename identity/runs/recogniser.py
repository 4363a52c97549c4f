"""Who is on a photo: every face with its name, or `unknown`, or no face at all.

A run of whole photos (`identity.train --align whole`) looks for no face: the photo is the one thing that is named.

One class for every command, the server and jobs: photos in, one `Recognition` each out, in the same order. Faces of
several photos are embedded together.
"""

import functools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from augmentor.faces.face_search import Policy
from augmentor.faces.face_source import FaceSource, face_source
from identity.chips.many_photos import read_photos
from identity.chips.photo_faces import PhotoFaces, PhotoReader
from identity.decisions.open_set import rank_names
from identity.runs.bundle import Bundle

UNKNOWN = "unknown"
OTHER = "other"
BEST_NAMES = 5
_BATCH = 32


@dataclass(frozen=True)
class NamedFace:
    """One face of a photo.

    Attributes:
        box: (x, y, width, height) in photo pixels.
        landmarks: (68, 2) float32 (x, y) in photo pixels.
        pose: (yaw, pitch, roll) in degrees; None where no head fits the landmarks.
        name: who it is, or `unknown`; of a run of whole photos what it shows, or `other`.
        score: the acceptance score of the best name, higher is surer.
        probability: that the best name is right, were every second face a stranger's.
        quality: cosine of the face and its mirror image as the networks see them; of LFW's training photos a tenth lie
            below 0.94 with dlib's features, and 5.2 % of these are named wrongly, of the others 1.8 %
            (docs/decisions/0020-quality.md).
        embedding: (D,) float32 unit row, as the run compares it.
        best: the most similar names with their cosines, the most similar first.
    """

    box: tuple[float, float, float, float]
    landmarks: np.ndarray
    pose: tuple[float, float, float] | None
    name: str
    score: float
    probability: float
    quality: float
    embedding: np.ndarray
    best: tuple[tuple[str, float], ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        yaw_pitch_roll = self.pose and dict(zip(("yaw", "pitch", "roll"), self.pose, strict=True))
        return {
            "name": self.name,
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
    """What became of one photo.

    Attributes:
        photo: what to call it.
        status: `ok`, `no_face` or `error`.
        reason: None, or one of `augmentor.errors.REASONS`.
        detail: what exactly is wrong, or what else the user should know of the photo; may be empty.
        faces: the largest first; none exactly when the status is not `ok`.
    """

    photo: str
    status: str
    reason: str | None
    detail: str
    faces: tuple[NamedFace, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values, as `identity.identify` prints them."""
        reason = f"{self.reason}: {self.detail}" if self.reason and self.detail else self.reason
        faces = [face.as_json() for face in self.faces]
        return {"photo": self.photo, "status": self.status, "reason": reason, "faces": faces}


class Recogniser:
    """Names the faces of photos by a trained run, as it is on disk at the moment of each answer.

    Whoever is enrolled is named, and whoever was forgotten is named no more, from the next photo on.

    A plain class: `__init__` loads, the methods work, so that Ray can turn it into an actor.

    Args:
        bundle: the run.
        fpir: share of strangers that may be given a name; the threshold comes from the run's calibration.
        policy: which faces of a photo count, see `augmentor.faces.face_search`.
        source: finds the faces; by default `face_source(second_opinion=True)`.

    Raises:
        InputError: the run cannot tell that rate, or its networks cannot be loaded.
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
        self._templates = bundle.templates

    @functools.cached_property
    def _reader(self) -> PhotoReader:
        source = self._source or face_source(second_opinion=True)
        return PhotoReader(self.bundle.size, self.bundle.align, self._policy, source)

    def files(self, paths: Sequence[Path], workers: int = 1) -> Iterator[Recognition]:
        """Photo files, in `workers` processes; an unreadable one gets the status `error` and spoils nothing."""
        return self.seen(read_photos(self._reader, paths, workers))

    def images(self, images: Sequence[np.ndarray], names: Sequence[str] | None = None) -> list[Recognition]:
        """(H, W, 3) uint8 RGB images."""
        called = names if names is not None else [""] * len(images)
        seen = (self._reader.image(i, name) for i, name in zip(images, called, strict=True))
        return list(self.seen(seen))

    def seen(self, photos: Iterable[PhotoFaces]) -> Iterator[Recognition]:
        """Photos that were searched for faces, in order; faces wait until a batch is full."""
        waiting: list[PhotoFaces] = []
        faces = 0
        for seen in photos:
            waiting.append(seen)
            faces += len(seen.chips)
            if faces >= _BATCH or not faces:
                yield from self._answers(waiting)
                waiting, faces = [], 0
        yield from self._answers(waiting)

    def _answers(self, photos: Sequence[PhotoFaces]) -> Iterator[Recognition]:
        chips = [chip for seen in photos for chip in seen.chips]
        if not chips:
            return iter(self.named(photos, np.zeros((0, 0), np.float32), np.zeros(0)))
        while True:
            if self.bundle.outdated:
                self._use(self.bundle.as_it_is_now())
            answers = self.named(photos, *self.bundle.embed_with_quality(np.stack(chips)))
            if not self.bundle.outdated:  # else somebody may have been forgotten meanwhile
                return iter(answers)

    def named(
        self, photos: Sequence[PhotoFaces], embeddings: np.ndarray, quality: np.ndarray
    ) -> list[Recognition]:
        """Photos whose faces were embedded.

        Args:
            photos: as they were seen.
            embeddings, quality: of `Bundle.embed_with_quality`, a row for each chip of the photos in turn.
        """
        named = iter(self._names(embeddings, quality) if len(embeddings) else ())
        found = []
        for seen in photos:
            faces = []
            for face in seen.faces:
                faces.append(NamedFace(face.box, face.landmarks, face.pose, *next(named)))
            found.append(Recognition(seen.photo, seen.status, seen.reason, seen.detail, tuple(faces)))
        return found

    def _names(
        self, embeddings: np.ndarray, quality: np.ndarray
    ) -> list[tuple[str, float, float, float, np.ndarray, tuple[tuple[str, float], ...]]]:
        """Name, score, probability, quality, embedding and best names of each row."""
        bundle = self.bundle
        similarities = embeddings @ self._templates.T
        best, scores = bundle.decision.score(similarities)
        probabilities = bundle.decision.probability(scores)
        ranked = rank_names(similarities, BEST_NAMES)
        return [
            (
                bundle.labels[best[row]] if scores[row] >= self.threshold else self.nobody,
                float(scores[row]),
                float(probabilities[row]),
                float(quality[row]),
                embeddings[row],
                tuple((bundle.labels[column], float(similarities[row, column])) for column in ranked[row]),
            )
            for row in range(len(embeddings))
        ]
