"""Find the faces of a photo and their 68 landmarks.

dlib's frontal HOG detector finds faces of 80 pixels and more, so how much a photo is enlarged (or reduced)
before it looks decides what it can find, and how long it takes: about 0.13 s per megapixel scanned on one
core. A photo is scanned in steps, each only if the one before found no usable face:

    0. unless all faces are wanted, a glance: at its own size, but at most 0.3 megapixels. What it finds counts only
       if it is plainly whom the photo is of: large and in the middle;
    1. enlarged to twice its size, but to at most 1.2 megapixels (4.8 when all faces are wanted);
    2. enlarged to four times its size, but to at most 4.8 megapixels;
    3. photos over 4.8 megapixels: at their own size, at most 16 megapixels.

With a second opinion (`identity.runs.recogniser` and `identity.evaluate` ask for it), a face that HOG is not sure of
counts only if dlib's CNN detector sees one there, too, and where nothing was found the CNN looks at the whole photo.

For a 250x250 photo that is "as it is, upsampled once, then twice"; in a 12-megapixel photo step 1 looks for faces
wider than about 6 % of the picture, in 0.16 s. Boxes and landmarks are always in the pixels of the photo as given.

Source:
    dlib's `get_frontal_face_detector`; Dalal and Triggs, "Histograms of Oriented Gradients for Human
    Detection", CVPR 2005.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import cv2
import dlib
import numpy as np

from augmentor.errors import REASONS
from augmentor.faces.cnn_detector import cnn_faces
from augmentor.faces.landmark_source import DlibLandmarks, LandmarkSource

Policy = Literal["central", "largest", "all", "reject"]
POLICIES: tuple[str, ...] = get_args(Policy)
MIN_FACE = 32  # side of the face box in pixels; below it a 150-pixel chip is mostly interpolation

# Second opinion; measured by benchmarks.face_gate, see docs/decisions/0017-second-opinion.md
SURE_SCORE = 1.2  # of HOG: what it finds above needs no second opinion; four of five LFW faces
CONFIRMED = 0.5  # confidence of the CNN where HOG saw a face
RESCUED = 0.75  # confidence of the CNN where HOG saw none
_SURROUNDINGS = 2.2  # sides of the face that the CNN is shown
_SAME_PLACE = 0.3  # intersection over union
_GLANCE_PIXELS = 300_000
_PLAIN_SIDE = 0.2  # of the photo's shorter side: as large the face must be at a glance
_PLAIN_OFFSET = 0.25  # of the photo's sides: no farther from its middle
_QUICK_PIXELS = 1_200_000
_THOROUGH_PIXELS = 4_800_000
_MOST_PIXELS = 16_000_000


@dataclass(frozen=True)
class Face:
    """One face of a photo.

    Attributes:
        box: (x, y, width, height) in photo pixels; may reach beyond the photo's edge.
        landmarks: (68, 2) float32 (x, y) in photo pixels, dlib's order; may lie beyond the photo's edge.
        score: the detector's confidence, higher is surer; 0 is its threshold, 1 and more is typical.
    """

    box: tuple[float, float, float, float]
    landmarks: np.ndarray
    score: float

    @property
    def side(self) -> float:
        """Side of a square as large as the box, pixels."""
        return math.sqrt(self.box[2] * self.box[3])


@dataclass(frozen=True)
class FaceSearch:
    """What `FaceFinder` found; true if there is a face to use.

    Attributes:
        faces: the faces the policy chose; none exactly when there is a `reason`.
        reason: None, or why there is none: `no_face`, `several_faces` or `too_small`.
    """

    faces: tuple[Face, ...]
    reason: str | None

    def __post_init__(self) -> None:
        if (self.reason is None) != bool(self.faces):
            raise ValueError("a face search has either faces or a reason")
        if self.reason is not None and self.reason not in REASONS:
            raise ValueError(f"unknown reason {self.reason!r}")

    def __bool__(self) -> bool:
        return self.reason is None


@dataclass(frozen=True)
class _Detection:
    """A face box (x, y, width, height) in photo pixels and the detector's score."""

    box: tuple[float, float, float, float]
    score: float

    @property
    def side(self) -> float:
        return math.sqrt(self.box[2] * self.box[3])


class FaceFinder:
    """Finds the faces of one photo at a time, and their landmarks.

    Models load at the first call and are shared within the process, so an instance is cheap and can be
    sent to another process. dlib's objects are not safe in several threads at once.

    Args:
        policy: which face counts if there are several. `central`: the most central, weighted by size (who the
            photo is of; see `centrality`). `largest`: the largest. `all`: all, the largest first.
            `reject`: none.
        min_face: smallest usable face, side of its box in photo pixels. A photo whose faces are all
            smaller, or which is itself smaller, is `too_small`.
        landmark_source: finds the 68 points in a box; dlib's predictor if None.
        second_opinion: doubtful faces must convince the CNN detector, too, and it looks for faces that HOG missed: some
            0.15 s more for a photo in which nothing is found, or hardly.

    Raises:
        ValueError: unknown policy, or `min_face` below 1.
    """

    def __init__(
        self,
        policy: Policy = "central",
        min_face: int = MIN_FACE,
        *,
        landmark_source: LandmarkSource | None = None,
        second_opinion: bool = False,
    ) -> None:
        if policy not in POLICIES:
            raise ValueError(f"unknown policy {policy!r}; known: {', '.join(POLICIES)}")
        if min_face < 1:
            raise ValueError(f"min_face must be at least 1 pixel, not {min_face}")
        self.policy = policy
        self.min_face = min_face
        self.landmark_source: LandmarkSource = landmark_source or DlibLandmarks()
        self.second_opinion = second_opinion

    def __call__(self, image: np.ndarray) -> FaceSearch:
        """Search one photo.

        Args:
            image: (H, W, 3) uint8 RGB.

        Raises:
            ValueError: `image` is not (H, W, 3) uint8.
            InputError: a model file is missing or damaged.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f"expected (H, W, 3) uint8, got {image.shape} {image.dtype}")
        image = np.ascontiguousarray(image)
        if min(image.shape[:2]) < self.min_face:
            return FaceSearch((), "too_small")
        found = self._detect(image)
        usable = [detection for detection in found if detection.side >= self.min_face]
        if not usable:
            return FaceSearch((), "too_small" if found else "no_face")
        if self.policy == "reject" and len(usable) > 1:
            return FaceSearch((), "several_faces")
        chosen = self._choose(usable, image.shape[:2])
        return FaceSearch(
            tuple(Face(d.box, self.landmark_source(image, d.box), d.score) for d in chosen), None
        )

    def _detect(self, image: np.ndarray) -> list[_Detection]:
        """Faces of the first step that finds a usable one; else all that were too small."""
        too_small: list[_Detection] = []
        if self.policy in ("central", "largest"):
            scale = min(1.0, math.sqrt(_GLANCE_PIXELS / (image.shape[0] * image.shape[1])))
            found = self._believed(image, _detect_at(image, scale))
            usable = [detection for detection in found if detection.side >= self.min_face]
            if usable and _is_plain(plain := self._choose(usable, image.shape[:2])[0], image.shape[:2]):
                return [plain]
        for scale in search_scales(
            image.shape[0] * image.shape[1], every_face=self.policy in ("all", "reject")
        ):
            found = self._believed(image, _detect_at(image, scale))
            if any(detection.side >= self.min_face for detection in found):
                return found
            too_small += found
        if self.second_opinion:
            missed = [_Detection(box, sure) for box, sure in cnn_faces(image) if sure >= RESCUED]
            if any(detection.side >= self.min_face for detection in missed):
                return missed
        return too_small

    def _believed(self, image: np.ndarray, found: list[_Detection]) -> list[_Detection]:
        """Those that HOG is sure of, or the CNN confirms; all without a second opinion."""
        if not self.second_opinion:
            return found
        return [d for d in found if d.score >= SURE_SCORE or _is_confirmed(image, d)]

    def _choose(self, usable: Sequence[_Detection], size: tuple[int, int]) -> list[_Detection]:
        """The faces the policy wants, in order."""
        if self.policy == "central":
            return [max(usable, key=lambda d: centrality(d.box, size))]
        by_size = sorted(usable, key=lambda d: -d.side)
        return by_size if self.policy == "all" else by_size[:1]


def _is_confirmed(image: np.ndarray, detection: _Detection) -> bool:
    """Whether the CNN sees a face where HOG saw one; it is shown the place with some surroundings."""
    x, y, width, height = detection.box
    reach = _SURROUNDINGS * detection.side / 2
    left, top = (max(0, round(middle - reach)) for middle in (x + width / 2, y + height / 2))
    right, bottom = round(x + width / 2 + reach), round(y + height / 2 + reach)
    shown = cnn_faces(image[top:bottom, left:right])
    return any(
        sure >= CONFIRMED
        and overlap((box[0] + left, box[1] + top, box[2], box[3]), detection.box) >= _SAME_PLACE
        for box, sure in shown
    )


def overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> float:
    """Intersection over union of two boxes (x, y, width, height)."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    common = max(0.0, width) * max(0.0, height)
    return common / (a[2] * a[3] + b[2] * b[3] - common)


def _is_plain(detection: _Detection, size: tuple[int, int]) -> bool:
    """Whether a face is so large and central that nothing a closer look finds could take its place."""
    x, y, width, height = detection.box
    off = max(abs((x + width / 2) / size[1] - 0.5), abs((y + height / 2) / size[0] - 0.5))
    return detection.side >= _PLAIN_SIDE * min(size) and off <= _PLAIN_OFFSET


def search_scales(pixels: int, *, every_face: bool) -> list[float]:
    """By which factors a photo of so many pixels is scaled for the detector, in the order they are tried.

    Example:
        >>> search_scales(250 * 250, every_face=False)
        [2.0, 4.0]
    """
    first = min(2.0, math.sqrt((_THOROUGH_PIXELS if every_face else _QUICK_PIXELS) / pixels))
    steps = [
        first,
        min(4.0, math.sqrt(_THOROUGH_PIXELS / pixels)),
        min(1.0, math.sqrt(_MOST_PIXELS / pixels)),
    ]
    scales = steps[:1]
    for step in steps[1:]:
        if step > 1.2 * scales[-1]:  # the detector's own pyramid has steps of 1.2
            scales.append(step)
    return scales


def centrality(box: tuple[float, float, float, float], size: tuple[int, int]) -> float:
    """How likely the photo is of this face: its area, times a Gaussian of its distance from the photo's
    centre.

    Args:
        box: (x, y, width, height) in pixels.
        size: (height, width) of the photo; a quarter of its shorter side is the Gaussian's standard
            deviation.
    """
    height, width = size
    dx, dy = box[0] + box[2] / 2 - width / 2, box[1] + box[3] / 2 - height / 2
    sigma = min(size) / 4
    return box[2] * box[3] * math.exp(-(dx * dx + dy * dy) / (2 * sigma * sigma))


@functools.cache
def _detector() -> Any:
    """dlib's detector, once per process; it is compiled in, no file is read."""
    return dlib.get_frontal_face_detector()


def _detect_at(image: np.ndarray, scale: float) -> list[_Detection]:
    """Faces found in the photo scaled by `scale`, in the pixels of the photo."""
    if scale in (1.0, 2.0, 4.0):
        boxes, scores, _ = _detector().run(image, int(math.log2(scale)), 0.0)
        scale_x = scale_y = 1.0
    else:
        height, width = image.shape[:2]
        scaled_size = (max(1, round(width * scale)), max(1, round(height * scale)))
        interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        scaled = cv2.resize(image, scaled_size, interpolation=interpolation)
        boxes, scores, _ = _detector().run(scaled, 0, 0.0)
        scale_x, scale_y = scaled_size[0] / width, scaled_size[1] / height
    return [
        _Detection(
            (b.left() / scale_x, b.top() / scale_y, b.width() / scale_x, b.height() / scale_y), float(score)
        )
        for b, score in zip(boxes, scores, strict=True)
    ]
