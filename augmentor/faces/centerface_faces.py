"""The face source of everyday use: CenterFace's boxes and five points, and 68 landmarks where they are asked for.

A photo is searched in steps, and most photos need the first one only:

    1. reduced to at most 640 pixels; a photo of at most 320 pixels first at three quarters of its size, which is enough
       if that shows a large and sure face;
    2. a larger photo that seems to hold faces too small for that, or in which no face is sure, at up to 1,600 pixels;
    3. if still no face is sure, or most faces lie on their side, turned by 90, 180 or 270 degrees, for scans and for
       cameras that did not note how they were held.

The net's score alone takes dogs for people and misses masks. Faces whose score is not high enough are checked
(`augmentor.faces.face_check`), so every face has the probability that it is one. Where one face of a photo is sure,
others are likely, so they need to convince less. Boxes, points and landmarks are always in the pixels of the photo as
given; the points of a face that hangs upside down are those of the upright face, so the chip shows it upright.

Reasons and measurements: docs/decisions/0032-eyes.md.
"""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from augmentor.faces.centerface import centerface
from augmentor.faces.face_check import check_faces, log_odds, probability
from augmentor.faces.face_search import (
    MIN_FACE,
    NO_LANDMARKS,
    Box,
    Detection,
    Face,
    FaceSearch,
    LandmarkUse,
    Policy,
    overlap,
    search_photo,
)
from augmentor.faces.landmark_net import NetLandmarks
from augmentor.faces.landmark_source import LandmarkSource
from augmentor.faces.landmarks_by_turn import LandmarksByTurn
from augmentor.model_files.known_models import CENTERFACE
from augmentor.model_files.model_store import model_path

_VERSION = 2  # raise it when other faces or points are found: what caches hold is then not used any more
_SIDE = 640  # pixels of the longer side at the first look
_GLANCE_SIDE, _GLANCE = 320, 0.75  # photos up to this side are first seen reduced by this factor
_PLAIN_SIDE = 0.2  # smallest face that a glance accepts, relative to the photo's shorter side
_LARGE_SIDE = 1600  # pixels of the longer side at the second look, which bounds its time
_LARGE_PAYS = 1.4  # the second look must show the photo this much larger
_SMALL = 20.0  # pixels of a face at the first look, below which the second look finds more
_SMALL_SCORE = 0.3
_TURNED_SIDE = 320  # pixels of the longer side at the turned looks, which search for the photo's orientation

# Scores of the net.
_CANDIDATE = 0.2  # below it is hardly a face
_TURNED_CANDIDATE = 0.35  # the same in a turned photo, where a face must convince more
_CERTAIN = 0.8  # from here on nothing was ever found but faces
_CERTAIN_IN_COMPANY = 0.5  # the same beside a face that is certain
_UPRIGHT = 50.0  # degrees of tilt that an upright photo's faces have
_COARSE = 30.0  # pixels of a face at the first look up to which its points are improved
_TILTED = 25.0  # degrees of tilt from which on the points are improved
_MOST_CHECKED = 96  # faces of one look that are checked, half a second; a crowd must not take minutes

# Probabilities, logarithmic odds. They are fitted on photos of people and of animals and houses, about as many.
_LEAST = 1.5  # a face counts; among photos without a face, fewer than 1 in 200 have such a place
_LEAST_UNCHECKED = -0.5  # a face counts where the folder promises that its photos show people
_SURE = 5.3  # no other orientation is tried: masked faces upside down reach 5
_LEAST_TURNED = (
    2.5  # a face counts in a photo that had to be turned, because three more looks are three more chances
)
_COMPANY = 2.5  # more odds for the other faces of a photo in which a face counts


@dataclass(frozen=True)
class CenterFaces:
    """A `augmentor.faces.face_source.FaceSource` that detects faces of any pose.

    Models load at the first call and are shared within the process. OpenCV's nets are not safe in several threads at
    once. The score of a face is the probability that it is one, 0..1.

    Attributes:
        second_opinion: whether the photos may show anybody or nobody, so that a face must be more than likely.
        landmarks: predicts the 68 points to which a head is fitted for renders.
        pose_landmarks: predicts them in less time, if only the pose is wanted.
    """

    second_opinion: bool = False
    landmarks: LandmarkSource = field(default_factory=LandmarksByTurn)
    pose_landmarks: LandmarkSource = field(default_factory=NetLandmarks)

    @property
    def version(self) -> str:
        """The versions of this file, OpenCV's series and the landmarks, as `FaceSource.version` asks for."""
        checked = "" if self.second_opinion else "-unchecked"
        return f"centerface{_VERSION}-cv{cv2.__version__}-{self.landmarks.version}{checked}"

    @property
    def offsets(self) -> np.ndarray:
        """(68, 3) float64 mm, those of the landmarks; see `FaceSource.offsets`."""
        return self.landmarks.offsets

    def check_models(self) -> None:
        """Check that every model file is there, and fetch what can be fetched, without loading any.

        Raises:
            InputError: a model file is missing or damaged.
        """
        model_path(CENTERFACE)
        self.landmarks.check_models()
        self.pose_landmarks.check_models()

    def __call__(
        self,
        image: np.ndarray,
        policy: Policy = "central",
        min_face: int = MIN_FACE,
        landmarks: LandmarkUse | None = "fit",
    ) -> FaceSearch:
        """Search one photo; arguments and errors are those of `FaceSource.__call__`."""
        detect = functools.partial(self._detect, min_face=min_face)
        return search_photo(image, policy, min_face, detect, lambda whole, d: self._face(whole, d, landmarks))

    def _detect(self, image: np.ndarray, min_face: int) -> list[Detection]:
        """Return the faces of the photo that count, whatever their size."""
        least = _LEAST if self.second_opinion else _LEAST_UNCHECKED
        upright = _upright(image, min_face)
        if _best(upright) >= _SURE and 2 * _upright_evidence(upright) >= _evidence(upright):
            return _counting(upright, least)
        turns = _turns_of(image, upright)
        if turns == 0:
            return _counting(upright, least)
        turned = _upright(np.ascontiguousarray(np.rot90(image, turns)), min_face)
        if _best(turned) < _LEAST_TURNED or _upright_evidence(turned) <= _upright_evidence(upright):
            return _counting(upright, least)
        back = [turned_back(d, turns, image.shape[:2]) for d in turned]
        return _counting(_joined([*back, *upright]), least)

    def _face(self, image: np.ndarray, detection: Detection, landmarks: LandmarkUse | None) -> Face:
        assert detection.points is not None
        if not landmarks:
            return Face(detection.box, NO_LANDMARKS, detection.score, detection.points)
        predictor = self.landmarks if landmarks == "fit" else self.pose_landmarks
        places, visible = predictor(image, detection)
        return Face(detection.box, places, detection.score, detection.points, visible)


def _upright(image: np.ndarray, min_face: int) -> list[Detection]:
    """Return the faces of an upright photo with their probabilities."""
    side = max(image.shape[:2])
    if side <= _GLANCE_SIDE:
        glance = _look(image, _GLANCE)
        if any(log_odds(d.score) >= _SURE and d.side >= _PLAIN_SIDE * min(image.shape[:2]) for d in glance):
            return glance
        return _look(image, 1.0)
    scale = min(1.0, _SIDE / side)
    first = centerface(image, scale, _CANDIDATE)
    found = _checked(image, first, scale)
    larger = min(1.0, _LARGE_SIDE / side)
    if larger < _LARGE_PAYS * scale:
        return found
    # Faces that would be too small to use need no second look.
    small = any(
        d.score >= _SMALL_SCORE and d.side * scale < _SMALL and d.side >= 0.7 * min_face for d in first
    )
    if small or _best(found) < _LEAST:
        return _joined(sorted([*found, *_look(image, larger)], key=lambda d: -d.score))
    return found


def _look(image: np.ndarray, scale: float) -> list[Detection]:
    """Return the candidates at one size with their probabilities."""
    return _checked(image, centerface(image, scale, _CANDIDATE), scale)


def _checked(image: np.ndarray, found: Sequence[Detection], scale: float) -> list[Detection]:
    """Return the candidates with probabilities; only the doubtful ones are checked.

    Args:
        image: (H, W, 3) uint8 RGB.
        found: with the scores of the net, the surest first.
        scale: at which they were found.
    """
    in_company = any(d.score >= _CERTAIN for d in found)
    enough = _CERTAIN_IN_COMPANY if in_company else _CERTAIN
    # The points of tilted and of small faces are better at the check, which sees them upright and larger.
    coarse = [
        d for d in found if d.score >= enough and (abs(roll_of(d)) > _TILTED or d.side * scale < _COARSE)
    ]
    examined = [*(d for d in found if d.score < enough), *coarse][:_MOST_CHECKED]
    rest = [d for d in found if not any(d is other for other in examined)]
    taken = [replace(d, score=_of_score(d.score) if d.score >= enough else d.score) for d in rest]
    return [*taken, *check_faces(image, examined)]


def _of_score(score: float) -> float:
    """Return the probability that a face is one, if the net alone is so sure of it."""
    return probability(4.0 + log_odds(score))


def _turns_of(image: np.ndarray, upright: Sequence[Detection]) -> int:
    """Return how often the photo must be turned by 90 degrees, counter-clockwise, to show upright faces; 0 if unknown.

    A sure face says it by its tilt. Otherwise the turned photo is searched at a small size.
    """
    surest = max(upright, key=lambda d: d.score, default=None)
    if surest is not None and log_odds(surest.score) >= _SURE and abs(roll_of(surest)) > _UPRIGHT:
        return round(roll_of(surest) / 90) % 4
    looks = {turns: _glance_turned(image, turns) for turns in (1, 2, 3)}
    turns = max(looks, key=lambda k: _upright_evidence(looks[k]))
    return turns if _best(looks[turns]) >= _LEAST_TURNED else 0


def _glance_turned(image: np.ndarray, quarter_turns: int) -> list[Detection]:
    """Return the faces that show at a small size if the photo is turned, in the pixels of the turned photo."""
    scale = min(_GLANCE, _TURNED_SIDE / max(image.shape[:2]))
    found = centerface(image, scale, _TURNED_CANDIDATE, quarter_turns)
    if not found:
        return []
    return _checked(np.ascontiguousarray(np.rot90(image, quarter_turns)), found, scale)


def turned_back(detection: Detection, quarter_turns: int, size: tuple[int, int]) -> Detection:
    """Return a face of `np.rot90(photo, quarter_turns)` as it lies in the photo.

    Args:
        detection: with points.
        quarter_turns: 0 to 3, counter-clockwise.
        size: (height, width) of the photo, pixels.

    Returns:
        The box of the same place, and the same points in the same order: the first is the eye on the left of the
        upright face.
    """
    height, width = size
    # Where (x, y) of the turned photo lies in the photo; the sides after 1, 2, 3 turns.
    places: tuple[Callable[[np.ndarray, float], np.ndarray], ...] = (
        lambda p, edge: p,
        lambda p, edge: np.stack([width - edge - p[:, 1], p[:, 0]], 1),
        lambda p, edge: np.stack([width - edge - p[:, 0], height - edge - p[:, 1]], 1),
        lambda p, edge: np.stack([p[:, 1], height - edge - p[:, 0]], 1),
    )
    back = places[quarter_turns]
    x, y, w, h = detection.box
    corners = back(np.array([(x, y), (x + w, y + h)]), 0)  # Boxes are counted from the pixels' edges,
    low, high = corners.min(0), corners.max(0)
    box: Box = (float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1]))
    points = (
        None if detection.points is None else back(detection.points, 1).astype(np.float32)
    )  # points from middles.
    return Detection(box, detection.score, points)


def _joined(found: Sequence[Detection]) -> list[Detection]:
    """Return the faces of several looks; of a face that two of them found, the first in order."""
    joined: list[Detection] = []
    for detection in found:
        if all(overlap(detection.box, other.box) <= 0.3 for other in joined):
            joined.append(detection)
    return joined


def _counting(found: Sequence[Detection], least: float) -> list[Detection]:
    """Return the faces that are likely enough, the surest first, those in company with the odds that it gives them."""
    ordered = sorted(found, key=lambda d: -d.score)
    if not ordered or log_odds(ordered[0].score) < least:
        return []
    others = [replace(d, score=probability(log_odds(d.score) + _COMPANY)) for d in ordered[1:]]
    return [ordered[0], *(d for d in others if log_odds(d.score) >= least)]


def _best(found: Sequence[Detection]) -> float:
    """Return the logarithmic odds of the surest face."""
    return max((log_odds(d.score) for d in found), default=-50.0)


def _evidence(found: Sequence[Detection]) -> float:
    """Return how many faces there probably are."""
    return sum(d.score for d in found if d.score > 0.5)


def _upright_evidence(found: Sequence[Detection]) -> float:
    """Return how many upright faces there probably are."""
    return _evidence([d for d in found if abs(roll_of(d)) <= _UPRIGHT])


def roll_of(detection: Detection) -> float:
    """Return how far the face is tilted clockwise, in degrees, -180..180, by its points."""
    assert detection.points is not None
    across, down = detection.points[3:].mean(0) - detection.points[:2].mean(0)
    return math.degrees(math.atan2(-float(across), float(down)))
