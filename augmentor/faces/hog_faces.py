"""The face source that dlib gives: its frontal HOG detector, its CNN detector as a second opinion, its 68 landmarks.

The HOG detector finds faces of 80 pixels and more, so how much a photo is enlarged (or reduced) before the detector
runs decides what it can find, and how long it takes: about 0.13 s per megapixel on one core. A photo is scanned in
steps, each only if the step before found no usable face:

    0. unless all faces are wanted, a glance: at the photo's own size, but at most 0.3 megapixels. A face that is found
       there counts only if it is plainly the one the photo was taken of: large and in the middle;
    1. enlarged to twice the photo's size, but to at most 1.2 megapixels (4.8 when all faces are wanted);
    2. enlarged to four times its size, but to at most 4.8 megapixels;
    3. photos over 4.8 megapixels: at their own size, at most 16 megapixels.

With a second opinion, a face that HOG is not sure of counts only if dlib's CNN detector finds one there, too, and where
HOG found nothing the CNN searches the whole photo.

For a 250x250 photo that is "as it is, upsampled once, then twice"; in a 12-megapixel photo step 1 looks for faces
wider than about 6 % of the picture, in 0.16 s. Boxes and landmarks are always in the pixels of the photo as given.

Source:
    dlib's `get_frontal_face_detector`; Dalal and Triggs, "Histograms of Oriented Gradients for Human
    Detection", CVPR 2005.
"""

import functools
import math
from dataclasses import dataclass, field
from typing import Any

import cv2
import dlib
import numpy as np

from augmentor.faces.cnn_detector import check_cnn_model, cnn_faces
from augmentor.faces.face_search import (
    MIN_FACE,
    NO_LANDMARKS,
    Detection,
    Face,
    FaceSearch,
    LandmarkUse,
    Policy,
    choose_faces,
    overlap,
    search_photo,
)
from augmentor.faces.landmark_source import DlibLandmarks, LandmarkSource, points_of_landmarks

_VERSION = 5  # raise it when other faces are found: what caches hold is then not used any more

# Second opinion; measured by benchmarks.face_gate, see docs/decisions/0017-second-opinion.md
SURE_SCORE = 1.2  # of HOG: a face above it needs no second opinion; four of five LFW faces are above
CONFIRMED = 0.5  # confidence of the CNN where HOG found a face
RESCUED = 0.75  # confidence of the CNN where HOG found none
_SURROUNDINGS = 2.2  # sides of the face that the CNN is given
_SAME_PLACE = 0.3  # intersection over union
_GLANCE_PIXELS = 300_000
_PLAIN_SIDE = 0.2  # Smallest face that a glance accepts, relative to the photo's shorter side.
_PLAIN_OFFSET = (
    0.25  # Farthest from the photo's middle that a glance accepts a face, relative to the photo's sides.
)
_QUICK_PIXELS = 1_200_000
_THOROUGH_PIXELS = 4_800_000
_MOST_PIXELS = 16_000_000


@dataclass(frozen=True)
class HogFaces:
    """A `augmentor.faces.face_source.FaceSource` that needs no model but dlib's own.

    Models load at the first call and are shared within the process. dlib's objects are not safe in several threads at
    once.

    Attributes:
        second_opinion: whether doubtful faces must convince the CNN detector, too, and the CNN detector searches where
            HOG found nothing. It takes some 0.15 s more for a photo in which hardly anything is found.
        landmarks: predicts the 68 points in a box.
    """

    second_opinion: bool = False
    landmarks: LandmarkSource = field(default_factory=DlibLandmarks)

    @property
    def version(self) -> str:
        """The versions of this file, dlib and the landmarks, as `FaceSource.version` asks for."""
        parts = [f"hog{_VERSION}", f"dlib{dlib.__version__}"]
        if self.landmarks.version != parts[-1]:
            parts.append(self.landmarks.version)
        if not self.second_opinion:
            parts.append("unchecked")
        return "-".join(parts)

    @property
    def offsets(self) -> np.ndarray:
        """(68, 3) float64 mm, those of the landmarks; see `FaceSource.offsets`."""
        return self.landmarks.offsets

    def check_models(self) -> None:
        """Check that every model file is there, without loading any.

        Raises:
            InputError: a model file is missing or damaged.
        """
        self.landmarks.check_models()
        if self.second_opinion:
            check_cnn_model()

    def __call__(
        self,
        image: np.ndarray,
        policy: Policy = "central",
        min_face: int = MIN_FACE,
        landmarks: LandmarkUse | None = "fit",
    ) -> FaceSearch:
        """Search one photo; arguments and errors are those of `FaceSource.__call__`."""
        detect = functools.partial(self._detect, policy=policy, min_face=min_face)
        return search_photo(image, policy, min_face, detect, lambda whole, d: self._face(whole, d, landmarks))

    def _face(self, image: np.ndarray, detection: Detection, landmarks: LandmarkUse | None) -> Face:
        found = self.landmarks(image, detection)
        points = points_of_landmarks(found.places)
        if not landmarks:
            return Face(detection.box, NO_LANDMARKS, detection.score, points)
        return Face(detection.box, found.places, detection.score, points, found.visible)

    def _detect(self, image: np.ndarray, policy: Policy, min_face: int) -> list[Detection]:
        """Return the faces of the first step that finds a usable one; else all that were too small."""
        too_small: list[Detection] = []
        pixels = image.shape[0] * image.shape[1]
        every_face = policy in ("all", "reject")
        if not every_face:
            glance = self._confirmed(image, _detect_at(image, min(1.0, math.sqrt(_GLANCE_PIXELS / pixels))))
            chosen, _ = choose_faces(glance, policy, min_face, image.shape[:2])
            if chosen and _is_plain(chosen[0], image.shape[:2]):
                return chosen
        for scale in search_scales(pixels, every_face=every_face):
            found = self._confirmed(image, _detect_at(image, scale))
            if any(detection.side >= min_face for detection in found):
                return found
            too_small += found
        if self.second_opinion:
            missed = [
                Detection(box, confidence) for box, confidence in cnn_faces(image) if confidence >= RESCUED
            ]
            if any(detection.side >= min_face for detection in missed):
                return missed
        return too_small

    def _confirmed(self, image: np.ndarray, found: list[Detection]) -> list[Detection]:
        """Return the faces that HOG is sure of or the CNN confirms; without a second opinion, all."""
        if not self.second_opinion:
            return found
        return [d for d in found if d.score >= SURE_SCORE or _is_confirmed(image, d)]


def _is_confirmed(image: np.ndarray, detection: Detection) -> bool:
    """Return whether the CNN finds a face where HOG found one; it is given the place with some surroundings."""
    x, y, width, height = detection.box
    reach = _SURROUNDINGS * detection.side / 2
    left, top = (max(0, round(middle - reach)) for middle in (x + width / 2, y + height / 2))
    right, bottom = round(x + width / 2 + reach), round(y + height / 2 + reach)
    return any(
        confidence >= CONFIRMED
        and overlap((box[0] + left, box[1] + top, box[2], box[3]), detection.box) >= _SAME_PLACE
        for box, confidence in cnn_faces(image[top:bottom, left:right])
    )


def _is_plain(detection: Detection, size: tuple[int, int]) -> bool:
    """Return whether a face is so large and central that no other face of the photo could take its place."""
    x, y, width, height = detection.box
    off = max(abs((x + width / 2) / size[1] - 0.5), abs((y + height / 2) / size[0] - 0.5))
    return detection.side >= _PLAIN_SIDE * min(size) and off <= _PLAIN_OFFSET


def search_scales(pixels: int, *, every_face: bool) -> list[float]:
    """Return the factors by which a photo is scaled for the detector, in the order in which they are tried.

    Args:
        pixels: number of pixels of the photo.
        every_face: whether all faces are wanted, small ones too.

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


@functools.cache
def _detector() -> Any:
    """Return dlib's detector, once per process; it is compiled in, so no file is read."""
    return dlib.get_frontal_face_detector()


def _detect_at(image: np.ndarray, scale: float) -> list[Detection]:
    """Return the faces found in the photo scaled by `scale`, in the pixels of the photo."""
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
        Detection(
            (b.left() / scale_x, b.top() / scale_y, b.width() / scale_x, b.height() / scale_y), float(score)
        )
        for b, score in zip(boxes, scores, strict=True)
    ]
