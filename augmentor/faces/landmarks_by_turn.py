"""68 landmarks of faces of any pose: dlib's predictor for frontal faces, this project's net for turned ones.

The net looks at every face and says how far it is turned. Up to 35 degrees dlib's predictor is the better one on photos
marked by hand, so its answer counts; beyond, the net's. Which landmarks are visible is always the net's answer.
Figures: docs/decisions/0033-landmarks.md.
"""

from dataclasses import dataclass

import numpy as np

from augmentor.faces.chip import CHIP_SIZE, warp_chip
from augmentor.faces.detector_offsets import detector_offsets
from augmentor.faces.face_search import Detection
from augmentor.faces.five_points import MEAN_FACE, similarity
from augmentor.faces.landmark_net import MIRROR68, VERSION, check_net, find_landmarks
from augmentor.faces.landmark_source import DlibLandmarks, Landmarks

MOST_TURN = 35.0  # degrees up to which dlib's landmarks count
# The sine of the turn by how far the tip of the nose lies beside the middle of the eyes' outer corners, relative to the
# height from the bridge of the nose to the chin. Measured on 312 renders and made-up people; right within 3.5 degrees
# on average up to a turn of 45.
_SINE_BY_NOSE = -2.65
# dlib's predictor sees a chip of this side and padding. The box that dlib's detector draws, in pixels of a chip of 150
# px: middle (x, y) and side, medians of 143 photos.
_UPRIGHT, _PADDING = 320, 0.7
_BOX = (74.8, 74.6, 131.3)


@dataclass(frozen=True)
class LandmarksByTurn:
    """A `augmentor.faces.landmark_source.LandmarkSource` for faces of any pose.

    Models load at the first call. A frontal face takes about three times as long as a turned one.
    """

    @property
    def version(self) -> str:
        """The versions of both predictors, as `LandmarkSource.version` asks for."""
        return f"{VERSION}-{DlibLandmarks().version}"

    @property
    def offsets(self) -> np.ndarray:
        """(68, 3) float64 mm: dlib's, because the net was trained to put its landmarks where dlib does."""
        return detector_offsets()

    def check_models(self) -> None:
        """Check that both model files are there, without loading them.

        Raises:
            InputError: a model file is missing or damaged.
        """
        check_net()
        DlibLandmarks().check_models()

    def __call__(self, image: np.ndarray, detection: Detection) -> Landmarks:
        """Predict the landmarks of a face.

        Args:
            image: (H, W, 3) uint8 RGB.
            detection: the face, with its five points.

        Raises:
            ValueError: the detection has no points.
            InputError: a model file is missing or damaged.
        """
        if detection.points is None:
            raise ValueError("landmarks by turn need the five points of a face")
        found = find_landmarks(image, detection.points)
        if abs(turn_of_landmarks(found.places)) > MOST_TURN:
            return found
        return Landmarks(upright_landmarks(image, detection.points), found.visible)


def turn_of_landmarks(landmarks: np.ndarray) -> float:
    """Return roughly by how many degrees a head is turned; + turns the nose to the image's left.

    Args:
        landmarks: (68, 2) (x, y) pixels.

    Example:
        >>> landmarks = np.zeros((68, 2))
        >>> landmarks[[27, 8, 36, 45, 30]] = (50, 40), (50, 140), (10, 40), (90, 40), (31, 80)
        >>> round(turn_of_landmarks(landmarks))
        30
    """
    landmarks = np.asarray(landmarks, np.float64)
    down = landmarks[8] - landmarks[27]
    height = max(float(np.linalg.norm(down)), 1e-9)
    across = np.array([down[1], -down[0]]) / height
    beside = float((landmarks[30] - landmarks[[36, 45]].mean(0)) @ across) / height
    return float(np.degrees(np.arcsin(np.clip(_SINE_BY_NOSE * beside, -1, 1))))


def upright_landmarks(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return dlib's landmarks of a face that its five points bring upright: the mean of those of two mirror images.

    dlib's predictor knows no tilted heads and answers in whole pixels.

    Args:
        image: (H, W, 3) uint8 RGB.
        points: (5, 2) (x, y) pixels.

    Returns:
        (68, 2) float32 (x, y) pixels.

    Raises:
        ValueError: an argument has the wrong shape or type, or the points coincide.
        InputError: dlib's model file is missing or damaged.
    """
    chip_from_image = similarity(points, _in_chip(MEAN_FACE))
    chip = warp_chip(image, chip_from_image, _UPRIGHT)
    last = _UPRIGHT - 1
    (x, y), side = _box_in_chip()
    predictor = DlibLandmarks()
    one = predictor(chip, Detection((x - side / 2, y - side / 2, side, side), 1.0)).places
    flipped = np.ascontiguousarray(chip[:, ::-1])
    other = predictor(flipped, Detection((last - x - side / 2, y - side / 2, side, side), 1.0)).places
    places = (one.astype(np.float64) + (other[MIRROR68] * [-1, 1] + [last, 0])) / 2
    inverse = np.linalg.inv(np.vstack([chip_from_image, [0, 0, 1]]))
    return (places @ inverse[:2, :2].T + inverse[:2, 2]).astype(np.float32)


def _box_in_chip() -> tuple[tuple[float, float], float]:
    """Return the middle (x, y) and the side of the box that dlib's predictor starts from, in the upright chip."""
    x, y = _in_chip(np.array(_BOX[:2])).tolist()
    return (x, y), _BOX[2] * _ZOOM


# Pixels of the upright chip per pixel of a chip of 150 px.
_ZOOM = _UPRIGHT / CHIP_SIZE * 1.5 / (1 + 2 * _PADDING)


def _in_chip(places: np.ndarray) -> np.ndarray:
    """Return places (..., 2) of a chip of 150 px in the upright chip."""
    return (places - (CHIP_SIZE - 1) / 2) * _ZOOM + (_UPRIGHT - 1) / 2
