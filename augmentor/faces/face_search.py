"""The result of a search for faces in one photo, and the rules for which of the detected faces count.

Every face source (`augmentor.faces.face_source`) shares these, whatever detector it runs.

Convention:
    Boxes are (x, y, width, height) in the pixels of the photo as given.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from augmentor.faces.five_points import five_of_68

Box = tuple[float, float, float, float]
# What the 68 landmarks of a face are for: to tell its pose, or to fit the head for renders, which takes longer.
LandmarkUse = Literal["pose", "fit"]
Policy = Literal["central", "largest", "all", "reject"]
POLICIES: tuple[str, ...] = get_args(Policy)
SEARCH_REASONS = ("no_face", "several_faces", "too_small")
MIN_FACE = 32  # side of the face box in pixels; below it a 150-pixel chip is mostly interpolation


@dataclass(frozen=True)
class Detection:
    """A box in which a detector reports a face.

    Attributes:
        box: (x, y, width, height) in photo pixels; may reach beyond the photo's edge.
        score: the detector's confidence; higher is surer.
        points: (5, 2) float32 (x, y) photo pixels, see `augmentor.faces.five_points`; None if the detector sees none.
    """

    box: Box
    score: float
    points: np.ndarray | None = None

    @property
    def side(self) -> float:
        """Side in pixels of a square that is as large as the box."""
        return math.sqrt(self.box[2] * self.box[3])


NO_LANDMARKS = np.zeros((0, 2), np.float32)
NO_POINTS = NO_LANDMARKS


@dataclass(frozen=True)
class Face:
    """A face detected in a photo.

    Attributes:
        box: (x, y, width, height) in photo pixels; may reach beyond the photo's edge.
        landmarks: (68, 2) float32 (x, y) in photo pixels, dlib's order; may lie beyond the photo's edge. (0, 2) if
            nobody asked for them, and of a photo that is used whole.
        score: the detector's confidence; higher is surer. For dlib's HOG detector 0 is the threshold, and 1 or more is
            typical.
        points: (5, 2) float32 (x, y) in photo pixels, by which the face is cut out (`augmentor.faces.chip`); by default
            those of the landmarks, (0, 2) without landmarks.
        visible: (68,) bool, false for landmarks that the head itself hides; by default all are visible. (0,) without
            landmarks.
    """

    box: Box
    landmarks: np.ndarray
    score: float
    points: np.ndarray = field(default_factory=lambda: NO_POINTS)
    visible: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))

    def __post_init__(self) -> None:
        if len(self.visible) != len(self.landmarks):
            object.__setattr__(self, "visible", np.ones(len(self.landmarks), bool))
        if not len(self.points) and len(self.landmarks):
            object.__setattr__(self, "points", five_of_68(self.landmarks))

    @property
    def side(self) -> float:
        """Side in pixels of a square that is as large as the box."""
        return math.sqrt(self.box[2] * self.box[3])


@dataclass(frozen=True)
class FaceSearch:
    """The result of a search for faces in one photo; true if there is a face to use.

    Attributes:
        faces: the faces that the policy chose; empty exactly when there is a `reason`.
        reason: None, or why there is no face: one of `SEARCH_REASONS`.

    Raises:
        ValueError: both faces and a reason were given, or neither, or the reason is unknown.
    """

    faces: tuple[Face, ...]
    reason: str | None

    def __post_init__(self) -> None:
        if (self.reason is None) != bool(self.faces):
            raise ValueError("a face search has either faces or a reason")
        if self.reason is not None and self.reason not in SEARCH_REASONS:
            raise ValueError(f"unknown reason {self.reason!r}")

    def __bool__(self) -> bool:
        return self.reason is None


def check_policy(policy: str, min_face: int = MIN_FACE) -> None:
    """Check the two settings of a search.

    Raises:
        ValueError: unknown policy, or `min_face` below 1.
    """
    if policy not in POLICIES:
        raise ValueError(f"unknown policy {policy!r}; known: {', '.join(POLICIES)}")
    if min_face < 1:
        raise ValueError(f"min_face must be at least 1 pixel, not {min_face}")


def check_image(image: np.ndarray) -> None:
    """Check that an image can be searched.

    Raises:
        ValueError: `image` is not (H, W, 3) uint8.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"expected (H, W, 3) uint8, got {image.shape} {image.dtype}")


def choose_faces(
    detections: Sequence[Detection], policy: Policy, min_face: int, size: tuple[int, int]
) -> tuple[list[Detection], str | None]:
    """Choose the detections that count.

    Args:
        detections: all detections in one photo.
        policy: which face counts if there are several. `central`: the most central one, weighted by size (the person
            the photo was taken of; see `centrality`). `largest`: the largest. `all`: all, the largest first. `reject`:
            none.
        min_face: smallest usable face, side of its box in photo pixels.
        size: (height, width) of the photo, pixels.

    Returns:
        The chosen detections in order, and None; or no detection, and the reason: `no_face`, `too_small` (all faces
        are smaller than `min_face`) or `several_faces`.
    """
    usable = [detection for detection in detections if detection.side >= min_face]
    if not usable:
        return [], "too_small" if detections else "no_face"
    if policy == "reject" and len(usable) > 1:
        return [], "several_faces"
    if policy == "central":
        return [max(usable, key=lambda d: centrality(d.box, size))], None
    by_size = sorted(usable, key=lambda d: -d.side)
    return (by_size if policy == "all" else by_size[:1]), None


def search_photo(
    image: np.ndarray,
    policy: Policy,
    min_face: int,
    detect: Callable[[np.ndarray], Sequence[Detection]],
    face_of: Callable[[np.ndarray, Detection], Face],
) -> FaceSearch:
    """Search one photo with a detector: the part of `FaceSource.__call__` that all sources share.

    Args:
        image: (H, W, 3) uint8 RGB; not modified.
        policy: which faces count, see `choose_faces`.
        min_face: smallest usable face, side of its box in photo pixels.
        detect: returns all detections in the image.
        face_of: returns the face of a detection that counts.

    Raises:
        ValueError: `image` is not (H, W, 3) uint8, the policy is unknown, or `min_face` is below 1.
    """
    check_policy(policy, min_face)
    check_image(image)
    image = np.ascontiguousarray(image)
    if min(image.shape[:2]) < min_face:
        return FaceSearch((), "too_small")
    chosen, reason = choose_faces(detect(image), policy, min_face, image.shape[:2])
    return FaceSearch(tuple(face_of(image, detection) for detection in chosen), reason)


def centrality(box: Box, size: tuple[int, int]) -> float:
    """Return how likely it is that the photo was taken of this face.

    It is the area of the face times a Gaussian of its distance from the photo's centre.

    Args:
        box: (x, y, width, height) in pixels.
        size: (height, width) of the photo; a quarter of its shorter side is the Gaussian's standard deviation.
    """
    height, width = size
    dx, dy = box[0] + box[2] / 2 - width / 2, box[1] + box[3] / 2 - height / 2
    sigma = min(size) / 4
    return box[2] * box[3] * math.exp(-(dx * dx + dy * dy) / (2 * sigma * sigma))


def overlap(a: Box, b: Box) -> float:
    """Return the intersection over union of two boxes (x, y, width, height).

    Example:
        >>> round(overlap((0, 0, 10, 10), (5, 0, 10, 10)), 3)
        0.333
    """
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    common = max(0.0, width) * max(0.0, height)
    return common / (a[2] * a[3] + b[2] * b[3] - common)
