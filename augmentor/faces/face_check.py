"""A check of doubtful faces that takes a few milliseconds: a second look at the place alone, upright and at one size.

CenterFace's score at the first look says little about a dog's head, a mask or a face of 20 pixels. The second look
sees the place turned upright, at one size, and mirrored. A logistic regression weighs what both looks say: scores,
whether the five points stay where they were, the shape that they make, and the inner maps of the net at the place,
which tell a head of a person from one of an animal. Its weights are fitted by

    python -m benchmarks.fit_face_check --data DIR --out augmentor/data/face_check.json

Reasons and measurements: docs/decisions/0032-eyes.md.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from augmentor.errors import InputError
from augmentor.faces.centerface import Maps, decode, run_net
from augmentor.faces.chip import reduced_part
from augmentor.faces.face_search import Detection, overlap
from augmentor.faces.five_points import MEAN_FACE, MIRROR5, similarity

FILE = Path(__file__).parent.parent / "data" / "face_check.json"
_SIZE = 96  # pixels of the second look, a multiple of the net's 32
_FACE = 56  # pixels of the face in it
_BATCH = 8  # faces that are looked at together
_SAME_PLACE = 0.3  # intersection over union of what the second look finds with the face's place
_UNSEEN = 0.02  # score where the second look finds nothing
_FAR = 0.3  # distance of the points, in faces, where the second look finds nothing
_PLACE = ((_SIZE - _FACE) / 2, (_SIZE - _FACE) / 2, float(_FACE), float(_FACE))
# Cells in the middle of the inner maps, from and to: a face of 56 pixels covers 1.75, 3.5, 7 and 14 of them.
_CELLS = ((0, 1, 2), (0, 0, 3), (1, 2, 4), (1, 1, 5), (2, 4, 8), (3, 11, 13))


@dataclass(frozen=True)
class SecondLook:
    """The result of the second look at one face.

    Attributes:
        numbers: (F,) float64, the features that the regression weighs.
        points: (5, 2) float32 (x, y) photo pixels, mean of the looks at the place and at its mirror image; None if one
            of them finds no face.
    """

    numbers: np.ndarray
    points: np.ndarray | None


def check_faces(image: np.ndarray, detections: Sequence[Detection]) -> list[Detection]:
    """Return the detections with the probability that each is a face, and with better points where there are such.

    Args:
        image: (H, W, 3) uint8 RGB.
        detections: of CenterFace, with its scores and points.

    Raises:
        InputError: the file of weights or the model file is missing or damaged.
    """
    weights, bias = _weights()
    looks = second_looks(image, detections)
    return [
        Detection(
            detection.box,
            probability(float(look.numbers @ weights) + bias),
            detection.points if look.points is None else look.points,
        )
        for detection, look in zip(detections, looks, strict=True)
    ]


def probability(log_odds: float) -> float:
    """Return the probability of these logarithmic odds.

    Example:
        >>> probability(0.0)
        0.5
    """
    return 1 / (1 + math.exp(-max(-50.0, min(50.0, log_odds))))


def log_odds(share: float) -> float:
    """Return the logarithmic odds of a probability, kept away from 0 and 1.

    Example:
        >>> log_odds(0.5)
        0.0
    """
    share = min(max(share, 1e-6), 1 - 1e-6)
    return math.log(share / (1 - share))


def second_looks(image: np.ndarray, detections: Sequence[Detection]) -> list[SecondLook]:
    """Look at each place alone, upright, at one size, and at its mirror image.

    Args:
        image: (H, W, 3) uint8 RGB.
        detections: with points.
    """
    looks: list[SecondLook] = []
    for start in range(0, len(detections), _BATCH):
        some = detections[start : start + _BATCH]
        transforms = [look_transform(detection) for detection in some]
        cut = np.stack([_cut(image, transform) for transform in transforms]).astype(np.float32)
        both = np.concatenate([cut, cut[:, :, ::-1]]).transpose(0, 3, 1, 2)
        maps = run_net(both)
        deep = _deep(maps)
        for k, (detection, transform) in enumerate(zip(some, transforms, strict=True)):
            plain, mirror = _found(maps, k), _mirrored(_found(maps, k + len(some)))
            numbers = np.concatenate(
                [(deep[k] + deep[k + len(some)]) / 2, _simple_numbers(detection, transform, plain, mirror)]
            )
            looks.append(SecondLook(numbers, _mean_points(plain, mirror, transform)))
    return looks


def look_transform(detection: Detection) -> np.ndarray:
    """Return look_from_image (2, 3): the box's middle to the middle of the look, its side to `_FACE`, upright."""
    upright = similarity(_points(detection), MEAN_FACE)[:, :2]
    linear = upright / math.sqrt(abs(np.linalg.det(upright))) * (_FACE / detection.side)
    x, y, width, height = detection.box
    middle = np.array([x + width / 2 - 0.5, y + height / 2 - 0.5])
    return np.column_stack([linear, (_SIZE - 1) / 2 - linear @ middle])


def _cut(image: np.ndarray, look_from_image: np.ndarray) -> np.ndarray:
    """Return what the second look sees; beyond the photo its border is repeated, not mirrored like a second face."""
    part, look_from_part = reduced_part(image, look_from_image, _SIZE)
    return cv2.warpAffine(
        part, look_from_part, (_SIZE, _SIZE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def _deep(maps: Maps) -> np.ndarray:
    """Return means of the inner maps around the middle, (N, 888) float64."""
    return np.concatenate(
        [maps.deep[k][:, :, a:b, a:b].astype(np.float64).mean((2, 3)) for k, a, b in _CELLS], 1
    )


def _found(maps: Maps, image: int) -> Detection:
    """Return the surest face at the place, or the place with `_UNSEEN` and no points; in pixels of the look."""
    for detection in decode(maps, image, _UNSEEN, np.ones(2)):
        if overlap(detection.box, _PLACE) > _SAME_PLACE:
            return detection
    return Detection(_PLACE, _UNSEEN)


def _mirrored(detection: Detection) -> Detection:
    """Return the face as it lies in the mirror image."""
    if detection.points is None:
        return detection
    x, y, width, height = detection.box
    points = detection.points[MIRROR5] * (-1, 1) + (_SIZE - 1, 0)
    return Detection((_SIZE - x - width, y, width, height), detection.score, points)


def _mean_points(plain: Detection, mirror: Detection, look_from_image: np.ndarray) -> np.ndarray | None:
    """Return the mean of both looks' points in photo pixels, (5, 2) float32."""
    if plain.points is None or mirror.points is None:
        return None
    mean = (plain.points + mirror.points) / 2 - look_from_image[:, 2]
    return (mean @ np.linalg.inv(look_from_image[:, :2]).T).astype(np.float32)


def _simple_numbers(
    detection: Detection, look_from_image: np.ndarray, plain: Detection, mirror: Detection
) -> np.ndarray:
    """Return scores, agreement and shape, (16,) float64."""
    first = _points(detection) @ look_from_image[:, :2].T + look_from_image[:, 2]
    seen = first if plain.points is None else plain.points
    scores = [_score_number(d.score) for d in (detection, plain, mirror)]
    eyes, mouth = seen[1] - seen[0], seen[4] - seen[3]
    down = (seen[3, 1] + seen[4, 1] - seen[0, 1] - seen[1, 1]) / 2
    roll = math.atan2(look_from_image[1, 0], look_from_image[0, 0])
    return np.array(
        [
            *scores,
            min(scores[1:]),
            _misfit(_points(detection)),
            0.8 if plain.points is None else _misfit(plain.points),
            _distance(first, plain.points),
            _distance(plain.points, mirror.points),
            abs(roll),
            math.log(detection.side),
            abs(math.log(plain.side / _FACE)),
            math.hypot(*eyes) / _FACE,
            abs(seen[2, 0] - (seen[0, 0] + seen[1, 0]) / 2) / _FACE,
            math.hypot(*mouth) / _FACE,
            down / _FACE,
            detection.box[3] / detection.box[2],
        ]
    )


def _points(detection: Detection) -> np.ndarray:
    """Return the points of a face, which CenterFace always gives."""
    assert detection.points is not None
    return detection.points


def _score_number(score: float) -> float:
    """Return the logarithmic odds of a score of the net, bounded so that no score decides alone."""
    share = min(max(score, 0.01), 0.995)
    return math.log(share / (1 - share))


def _misfit(points: np.ndarray) -> float:
    """Return how far the points' shape is from a frontal face's, relative to the size of that."""
    transform = similarity(points, MEAN_FACE)
    rest = points @ transform[:, :2].T + transform[:, 2] - MEAN_FACE
    return math.sqrt(np.square(rest).sum() / np.square(MEAN_FACE - MEAN_FACE.mean(0)).sum())


def _distance(a: np.ndarray | None, b: np.ndarray | None) -> float:
    """Return the mean distance of two sets of points, in faces."""
    if a is None or b is None:
        return _FAR
    return float(np.sqrt(np.square(a - b).sum(1)).mean()) / _FACE


@lru_cache(maxsize=1)
def _weights() -> tuple[np.ndarray, float]:
    """Return the regression's weights (F,) float64 and its constant.

    Raises:
        InputError: the data file is missing or damaged.
    """
    try:
        data = json.loads(FILE.read_text("utf-8"))
        weights, bias = np.array(data["weights"], float), float(data["bias"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{FILE}: missing or damaged ({error}); reinstall the package") from error
    if weights.shape != (888 + 16,) or not np.isfinite([*weights, bias]).all():
        raise InputError(f"{FILE}: damaged; reinstall the package")
    return weights, bias
