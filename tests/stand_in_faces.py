"""Face sources for tests: what they find is known, and they need no model."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from augmentor.faces.face_search import MIN_FACE, Detection, Face, FaceSearch, Policy
from augmentor.faces.face_source import DEFAULT, SOURCES
from augmentor.faces.landmark_source import Landmarks
from identity.chips.photo_faces import FaceChip, PhotoFaces


@dataclass(frozen=True)
class StandInFaces:
    """A face source that finds nothing; tests say in `__call__` what theirs finds."""

    second_opinion: bool = False

    @property
    def version(self) -> str:
        return f"{type(self).__name__}-1"

    @property
    def offsets(self) -> np.ndarray:
        return np.zeros((68, 3))

    def check_models(self) -> None:
        pass

    def __call__(
        self, image: np.ndarray, policy: Policy = "central", min_face: int = MIN_FACE, landmarks: bool = True
    ) -> FaceSearch:
        return FaceSearch((), "no_face")


class StandInLandmarks:
    """A landmark source that puts all landmarks where the box begins."""

    version = "corner-1"
    offsets = np.zeros((68, 3))

    def check_models(self) -> None:
        pass

    def __call__(self, image: np.ndarray, detection: Detection) -> Landmarks:
        return Landmarks(np.tile(np.array(detection.box[:2], np.float32), (68, 1)), np.ones(68, bool))


def first_or_all(faces: list[Face], policy: Policy) -> FaceSearch:
    """The faces that a policy chooses; the first is both the largest and the most central."""
    if not faces:
        return FaceSearch((), "no_face")
    if policy == "reject" and len(faces) > 1:
        return FaceSearch((), "several_faces")
    return FaceSearch(tuple(faces if policy == "all" else faces[:1]), None)


def one_face(
    path: Path,
    chip: np.ndarray | None,
    sha256: str = "",
    phash: int | None = None,
    landmarks: np.ndarray | None = None,
) -> PhotoFaces:
    """A photo with one face, whose chip is known and whose landmarks may be."""
    points = np.zeros((0, 2), np.float32) if landmarks is None else landmarks
    face = FaceChip((0.0, 0.0, 9.0, 9.0), points, 1.0, chip=chip)
    return PhotoFaces(str(path), path, faces=(face,), sha256=sha256, phash=phash)


def find_with(source: type[StandInFaces], monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a stand-in the face source that everything gets by default."""
    monkeypatch.setitem(SOURCES, DEFAULT, source)
