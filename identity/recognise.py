"""Who is on a photo: every face with its name, or `unknown`, or no face at all.

One class for every command, the server and jobs: photos in, one `Recognition` each out, in the same order. Faces of
several photos are embedded together.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from augmentor.chip import cut_chip
from augmentor.errors import PhotoError
from augmentor.faces import Face, FaceFinder, Policy
from augmentor.head_model import HeadModel, load_head_model
from augmentor.images import load_image
from augmentor.pose import fit_face
from identity.bundle import Bundle
from identity.decision import accept_score, rank_names

UNKNOWN = "unknown"
BEST_NAMES = 5
_BATCH = 32


@dataclass(frozen=True)
class NamedFace:
    """One face of a photo.

    Attributes:
        box: (x, y, width, height) in photo pixels.
        landmarks: (68, 2) float32 (x, y) in photo pixels.
        pose: (yaw, pitch, roll) in degrees; None where no head fits the landmarks.
        name: who it is, or `unknown`.
        score: the acceptance score of the best name, higher is surer.
        probability: that the best name is right, were every second face a stranger's.
        best: the most similar names with their cosines, the most similar first.
    """

    box: tuple[float, float, float, float]
    landmarks: np.ndarray
    pose: tuple[float, float, float] | None
    name: str
    score: float
    probability: float
    best: tuple[tuple[str, float], ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        yaw_pitch_roll = self.pose and dict(zip(("yaw", "pitch", "roll"), self.pose, strict=True))
        return {
            "name": self.name,
            "score": round(self.score, 4),
            "probability": round(self.probability, 4),
            "box": [round(value, 1) for value in self.box],
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
        detail: what exactly is wrong; may be empty.
        faces: the largest first; none exactly when the status is not `ok`.
    """

    photo: str
    status: str
    reason: str | None
    detail: str
    faces: tuple[NamedFace, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values, as `identity.identify` prints them."""
        reason = f"{self.reason}: {self.detail}" if self.detail else self.reason
        faces = [face.as_json() for face in self.faces]
        return {"photo": self.photo, "status": self.status, "reason": reason, "faces": faces}


@dataclass(frozen=True)
class _Seen:
    """A photo after the search for faces."""

    photo: str
    status: str
    reason: str | None
    detail: str
    faces: tuple[Face, ...]
    chips: list[np.ndarray]
    poses: list[tuple[float, float, float] | None]


class Recogniser:
    """Names the faces of photos by a trained run.

    A plain class: `__init__` loads, the methods work, so that Ray can turn it into an actor.

    Args:
        bundle: the run.
        fpir: share of strangers that may be given a name; the threshold comes from the run's calibration.
        policy: which faces of a photo count, see `augmentor.faces`.

    Raises:
        InputError: the run cannot tell that rate, or its networks cannot be loaded.
    """

    def __init__(self, bundle: Bundle, fpir: float = 0.01, policy: Policy = "all") -> None:
        self.bundle = bundle
        self.threshold = bundle.decision.threshold(fpir)
        self._finder = FaceFinder(policy, second_opinion=True)
        self._head: HeadModel = load_head_model()
        self._templates = bundle.templates

    def files(self, paths: Iterable[Path]) -> Iterator[Recognition]:
        """Photo files; an unreadable one gets the status `error` and spoils nothing."""
        return self._named(self._seen_file(path) for path in paths)

    def images(self, images: Sequence[np.ndarray], names: Sequence[str] | None = None) -> list[Recognition]:
        """(H, W, 3) uint8 RGB images."""
        called = names if names is not None else [""] * len(images)
        return list(self._named(self._seen(i, name) for i, name in zip(images, called, strict=True)))

    def _seen_file(self, path: Path) -> _Seen:
        try:
            return self._seen(load_image(path), str(path))
        except PhotoError as error:
            return _Seen(str(path), "error", error.reason, error.detail, (), [], [])

    def _seen(self, image: np.ndarray, name: str) -> _Seen:
        search = self._finder(image)
        if not search:
            return _Seen(name, "no_face", search.reason, "", (), [], [])
        chips = [cut_chip(image, face.landmarks, self.bundle.size) for face in search.faces]
        poses = [self._pose(face.landmarks, (image.shape[0], image.shape[1])) for face in search.faces]
        return _Seen(name, "ok", None, "", search.faces, chips, poses)

    def _pose(self, landmarks: np.ndarray, size: tuple[int, int]) -> tuple[float, float, float] | None:
        try:
            pose = fit_face(landmarks, self._head, size).camera.pose
        except PhotoError:
            return None
        return float(pose.yaw), float(pose.pitch), float(pose.roll)

    def _named(self, photos: Iterable[_Seen]) -> Iterator[Recognition]:
        """Answers in order; faces wait until a batch is full."""
        waiting: list[_Seen] = []
        faces = 0
        for seen in photos:
            waiting.append(seen)
            faces += len(seen.chips)
            if faces >= _BATCH or not faces:
                yield from self._answers(waiting)
                waiting, faces = [], 0
        yield from self._answers(waiting)

    def _answers(self, photos: Sequence[_Seen]) -> Iterator[Recognition]:
        chips = [chip for seen in photos for chip in seen.chips]
        named = iter(self._names(np.stack(chips)) if chips else ())
        for seen in photos:
            faces = []
            for face, pose in zip(seen.faces, seen.poses, strict=True):
                name, score, probability, best = next(named)
                faces.append(NamedFace(face.box, face.landmarks, pose, name, score, probability, best))
            yield Recognition(seen.photo, seen.status, seen.reason, seen.detail, tuple(faces))

    def _names(self, chips: np.ndarray) -> list[tuple[str, float, float, tuple[tuple[str, float], ...]]]:
        """Name, score, probability and best names of each chip."""
        bundle = self.bundle
        similarities = bundle.embed(chips) @ self._templates.T
        best, scores = accept_score(similarities, bundle.crowding, bundle.constants)
        probabilities = bundle.decision.probability(scores)
        ranked = rank_names(similarities, BEST_NAMES)
        return [
            (
                bundle.labels[best[row]] if scores[row] >= self.threshold else UNKNOWN,
                float(scores[row]),
                float(probabilities[row]),
                tuple((bundle.labels[column], float(similarities[row, column])) for column in ranked[row]),
            )
            for row in range(len(chips))
        ]
