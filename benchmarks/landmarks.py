"""Measure the 68 landmarks: on photos marked by hand, on renders and made-up people from all sides, and by the pose.

    python -m benchmarks.landmarks --data DIR [--renders 60] [--people 12] [--json]

DIR is a folder with `landmarks68` (photos with .csv files of 68 points set by hand), `turned` (people photographed from
known directions) and `lfw1013/strangers_calibration` (photos of people, none of which the net was trained on). A part
whose folder is absent is left out, with a reason. Every face is detected by CenterFace. Three predictors find its
landmarks: dlib's, this project's net, and the one that is used, which takes the one or the other by the turn.

Errors: mean distance from the true landmarks, in percent of the distance of the outer corners of the eyes. On renders
and made-up people, where turning shortens that distance, it is taken as 0.74 times the distance from the bridge of the
nose to the chin, as on the mean head. `inner` leaves out the contour, whose landmarks have no fixed place along it. The
photos marked by hand come from LFPW: dlib's predictor may have been trained on them.
`turned`: mean difference between the fitted turn of the head and the direction that the file is named after. People do
not look straight at the camera in front of them, so the difference is also given from the same person's turn in the
frontal photo of that height.
Times: median in milliseconds a face, without detection, on one core.
"""

import argparse
import json
import re
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from augmentor.errors import InputError, LikenessError, PhotoError
from augmentor.faces.centerface import centerface
from augmentor.faces.face_search import Detection, choose_faces
from augmentor.faces.landmark_net import find_landmarks
from augmentor.faces.landmark_source import DlibLandmarks, Landmarks
from augmentor.faces.landmarks_by_turn import LandmarksByTurn
from augmentor.head.head_model import HeadModel, load_head_model
from augmentor.head.pose import fit_face
from augmentor.made_up.render import Studio
from augmentor.photos.images import list_photos, load_image
from augmentor.views.view_key import AS_PHOTO, ViewKey
from identity.landmark_training.examples import RENDER, Row
from identity.landmark_training.from_made_up import made_up_examples
from identity.landmark_training.from_photos import PhotoExamples, views_of

_SIDE, _LEAST_SCORE = 640, 0.3
_TURNS = (0, 15, 30, 45, 60, 75, 90)
_EYES_BY_HEIGHT = 0.74
_SEED = 68_000  # nobody who was made up for training
Predict = Callable[[np.ndarray, np.ndarray], Landmarks]


def by_turn(image: np.ndarray, points: np.ndarray) -> Landmarks:
    """Return the landmarks that the project uses."""
    return LandmarksByTurn()(image, Detection((0, 0, 0, 0), 1.0, points))


def by_dlib(image: np.ndarray, points: np.ndarray) -> Landmarks:
    """Return dlib's landmarks, all of them visible."""
    return DlibLandmarks()(image, Detection((0, 0, 0, 0), 1.0, points))


PREDICTORS: dict[str, Predict] = {"used": by_turn, "net": find_landmarks, "dlib": by_dlib}


def detect(image: np.ndarray) -> list[Detection]:
    """Return the faces of a photo, the surest first."""
    return centerface(image, min(1.0, _SIDE / max(image.shape[:2])), _LEAST_SCORE)


def marked_photos(folder: Path) -> list[dict[str, Any]]:
    """Measure the photos with points set by hand; a photo counts if a face is detected where the points are."""
    errors: dict[str, list[tuple[float, float]]] = {name: [] for name in PREDICTORS}
    missed = 0
    photos = [path for path in list_photos(folder) if path.with_suffix(".csv").exists()]
    for path in tqdm(photos, "marked by hand"):
        image = load_image(path)
        true = np.loadtxt(path.with_suffix(".csv"), delimiter=",", skiprows=1)
        eyes = float(np.linalg.norm(true[36] - true[45]))
        faces = [d for d in detect(image) if d.points is not None]
        off = [
            float(np.linalg.norm(d.points.mean(0) - true[17:].mean(0))) for d in faces if d.points is not None
        ]
        if not off or min(off) > eyes:
            missed += 1
            continue
        points = faces[int(np.argmin(off))].points
        assert points is not None
        for name, predict in PREDICTORS.items():
            error = np.linalg.norm(predict(image, points).places - true, axis=1) / eyes
            errors[name].append((error.mean(), error[17:].mean()))
    return [
        {
            "part": "marked by hand",
            "predictor": name,
            "photos": len(values),
            "missed": missed,
            "error": 100 * float(np.mean([e for e, _ in values])),
            "error_inner": 100 * float(np.mean([e for _, e in values])),
        }
        for name, values in errors.items()
    ]


def from_all_sides(part: str, rows: Iterator[Row]) -> list[dict[str, Any]]:
    """Measure examples with true landmarks, by how far the head is turned."""
    errors: dict[tuple[str, int], list[tuple[float, float, float]]] = defaultdict(list)
    right: dict[tuple[str, int], list[float]] = defaultdict(list)
    for image, true, visible, points, pose, _, _ in tqdm(rows, part):
        turn = min(_TURNS, key=lambda t: abs(abs(pose[0]) - t))
        eyes = _EYES_BY_HEIGHT * float(np.linalg.norm(true[27] - true[8]))
        for name, predict in PREDICTORS.items():
            found, said = predict(image, points)
            error = np.linalg.norm(found - true, axis=1) / eyes
            shown = error[visible == 1]
            errors[name, turn].append((error.mean(), error[17:].mean(), shown.mean()))
            right[name, turn].append(float((said == (visible == 1)).mean()))
    result = []
    for (name, turn), values in sorted(errors.items()):
        mean = 100 * np.mean(values, axis=0)
        result.append(
            {
                "part": part,
                "predictor": name,
                "turn": turn,
                "photos": len(values),
                "error": float(mean[0]),
                "error_inner": float(mean[1]),
                "error_visible": float(mean[2]),
                "visible_right": float(np.mean(right[name, turn])),
            }
        )
    return result


def rendered(folder: Path, count: int, head: HeadModel) -> Iterator[Row]:
    """Yield renders of photos at the turns, to either side, a little from above or below."""
    keys = [
        ViewKey(0, AS_PHOTO, float(sign * turn), float(pitch), 0.0)
        for turn in _TURNS
        for sign, pitch in ((1, 0), (-1, 0))
    ]
    maker = PhotoExamples(head, views_of(head, keys), _points_of, len(keys), _SEED, effects=False)
    photos = list_photos(folder)
    for number, path in enumerate(photos[:: max(1, len(photos) // count)][:count]):
        image = load_image(path)
        points = _points_of(image)
        if points is not None:
            yield from (row for row in maker.of(image, points, number) if row[5] == RENDER)


def made_up(count: int, head: HeadModel) -> Iterator[Row]:
    """Yield photos of made-up people from all sides."""
    studio = Studio(head)
    for person in range(count):
        yield from made_up_examples(studio, _points_of, _SEED, person, 2 * len(_TURNS))


def _points_of(image: np.ndarray) -> np.ndarray | None:
    """Return the five points (5, 2) of the most central face, or None if there is no face."""
    chosen, _ = choose_faces(detect(image), "central", 1, image.shape[:2])
    return chosen[0].points if chosen else None


def turned(folder: Path, head: HeadModel) -> list[dict[str, Any]]:
    """Fit the head to photos whose direction is known, and compare the turn."""
    turns: dict[tuple[str, int, int], dict[str, float | None]] = defaultdict(dict)
    for path in tqdm(sorted(folder.glob("*/yaw*_pitch*.jpg")), "turned"):
        match = re.fullmatch(r"yaw([+-]\d+)_pitch([+-]\d+)", path.stem)
        if not match:
            continue
        image = load_image(path)
        points = _points_of(image)
        for name, predict in PREDICTORS.items():
            fitted = None if points is None else _fitted_turn(predict, image, points, head)
            turns[name, int(match[1]), int(match[2])][path.parent.name] = fitted
    # The sign is as the folder's photos show it; whichever fits the photos at 45 degrees.
    votes = [
        np.sign(turn)
        for (_, yaw, _), values in turns.items()
        if yaw == 45
        for turn in values.values()
        if turn
    ]
    sign = 1 if sum(votes) >= 0 else -1
    result = []
    for (name, yaw, pitch), values in sorted(turns.items()):
        off, relative = [], []
        for person, turn in values.items():
            if turn is not None:
                off.append(abs(sign * turn - yaw))
                own = turns[name, 0, pitch].get(person)
                if own is not None:
                    relative.append(abs(sign * (turn - own) - yaw))
        fitted_turns = [sign * turn for turn in values.values() if turn is not None]
        result.append(
            {
                "part": "turned",
                "predictor": name,
                "turn": yaw,
                "pitch": pitch,
                "photos": len(values),
                "fitted": len(fitted_turns),
                "degrees_off": _mean(off),
                "degrees_off_from_frontal": _mean(relative),
                "mean_turn": _mean(fitted_turns),
            }
        )
    return result


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _fitted_turn(predict: Predict, image: np.ndarray, points: np.ndarray, head: HeadModel) -> float | None:
    """Return by how many degrees a head is turned, or None if no head fits the landmarks."""
    landmarks, visible = predict(image, points)
    try:
        return fit_face(landmarks, head, image.shape[:2], visible=visible).camera.turn.turn
    except PhotoError:
        return None


def times(photos: list[Path]) -> list[dict[str, Any]]:
    """Measure the time a face."""
    seconds: dict[str, list[float]] = {name: [] for name in PREDICTORS}
    for path in photos[:40]:
        image = load_image(path)
        points = _points_of(image)
        if points is None:
            continue
        for name, predict in PREDICTORS.items():
            predict(image, points)
            started = time.process_time()
            predict(image, points)
            seconds[name].append(time.process_time() - started)
    return [
        {"part": "time", "predictor": name, "photos": len(values), "ms": 1000 * float(np.median(values))}
        for name, values in seconds.items()
        if values
    ]


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure every part whose photos are there.

    Raises:
        InputError: DIR does not exist.
    """
    if not options.data.is_dir():
        raise InputError(
            f"{options.data}: no such folder; name the folder of landmarks68, turned and lfw1013"
        )
    cv2.setNumThreads(1)
    head = load_head_model()
    marked, people = options.data / "landmarks68", options.data / "turned"
    photos = options.data / "lfw1013" / "strangers_calibration"
    rows: list[dict[str, Any]] = []
    if present(marked):
        rows += marked_photos(marked) + times(list_photos(marked))
    if present(photos) and options.renders:
        rows += from_all_sides("renders", rendered(photos, options.renders, head))
    if options.people:
        rows += from_all_sides("made up", made_up(options.people, head))
    if present(people):
        rows += turned(people, head)
    return rows


def present(folder: Path) -> bool:
    """Return whether a folder exists; say so if it does not."""
    if not folder.is_dir():
        print(f"{folder}: absent, this part is left out", file=sys.stderr)
    return folder.is_dir()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.landmarks", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of landmarks68, turned and lfw1013")
    parser.add_argument("--renders", type=int, default=60, help="number of photos to render (60)")
    parser.add_argument("--people", type=int, default=12, help="number of people to make up (12)")
    parser.add_argument("--json", action="store_true", help="one JSON array on the last line")
    options = parser.parse_args(arguments)
    try:
        rows = measure(options)
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(rows))
        return 0
    for row in rows:
        print(
            "  ".join(
                f"{key} {value:.2f}" if isinstance(value, float) else f"{key} {value}"
                for key, value in row.items()
            )
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
