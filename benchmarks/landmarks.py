"""Measure the 68 landmarks: on photos marked by hand, on renders and made-up people from all sides, and by the pose.

    python -m benchmarks.landmarks --data DIR [--renders 60] [--people 12] [--json]

DIR is a folder with `landmarks68` (photos with .csv files of 68 points set by hand), `turned` (people photographed from
known directions) and `lfw1013/strangers_calibration` (photos of people, none of which the net was trained on). A part
whose folder is absent is left out, with a reason. Every face is detected by CenterFace, and two predictors find its
landmarks: this project's net, and dlib's.

Errors: mean distance from the true landmarks, in percent of the distance of the outer corners of the eyes. On renders
and made-up people, where turning shortens that distance, it is taken as 0.74 times the distance from the bridge of the
nose to the chin, as on the mean head. `inner` leaves out the contour, whose landmarks have no fixed place along it. The
photos marked by hand come from LFPW: dlib's predictor may have been trained on them.
`turned`: mean difference between the fitted turn of the head and the direction that the file is named after.
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
from augmentor.faces.face_search import Detection
from augmentor.faces.landmark_net import find_landmarks
from augmentor.faces.landmark_source import DlibLandmarks
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
Predict = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray | None]]


def by_net(image: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the net's landmarks (68, 2) and which are visible (68,)."""
    return find_landmarks(image, points)


def by_dlib(image: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Return dlib's landmarks (68, 2); it does not say which are visible."""
    return DlibLandmarks()(image, Detection((0, 0, 0, 0), 1.0, points)), None


PREDICTORS: dict[str, Predict] = {"net": by_net, "dlib": by_dlib}


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
            error = np.linalg.norm(predict(image, points)[0] - true, axis=1) / eyes
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
    right: dict[int, list[float]] = defaultdict(list)
    for image, true, visible, points, pose, _, _ in tqdm(rows, part):
        turn = min(_TURNS, key=lambda t: abs(abs(pose[0]) - t))
        eyes = _EYES_BY_HEIGHT * float(np.linalg.norm(true[27] - true[8]))
        for name, predict in PREDICTORS.items():
            found, said = predict(image, points)
            error = np.linalg.norm(found - true, axis=1) / eyes
            shown = error[visible == 1]
            errors[name, turn].append((error.mean(), error[17:].mean(), shown.mean()))
            if said is not None:
                right[turn].append(float((said == (visible == 1)).mean()))
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
                "visible_right": float(np.mean(right[turn])) if name == "net" else None,
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
    found = detect(image)
    return found[0].points if found else None


def turned(folder: Path, head: HeadModel) -> list[dict[str, Any]]:
    """Fit the head to photos whose direction is known, and compare the turn."""
    turns: dict[tuple[str, int, int], list[float | None]] = defaultdict(list)
    for path in tqdm(sorted(folder.glob("*/yaw*_pitch*.jpg")), "turned"):
        match = re.fullmatch(r"yaw([+-]\d+)_pitch([+-]\d+)", path.stem)
        if not match:
            continue
        yaw, pitch = int(match[1]), int(match[2])
        image = load_image(path)
        points = _points_of(image)
        for name, predict in PREDICTORS.items():
            turns[name, yaw, pitch].append(
                None if points is None else _fitted_turn(predict, image, points, head)
            )
    # The sign is as the folder's photos show it; whichever fits the photos at 45 degrees.
    votes = [np.sign(turn) for (_, yaw, _), values in turns.items() if yaw == 45 for turn in values if turn]
    sign = 1 if sum(votes) >= 0 else -1
    result = []
    for (name, yaw, pitch), values in sorted(turns.items()):
        fitted = [turn for turn in values if turn is not None]
        off = [abs(sign * turn - yaw) for turn in fitted]
        result.append(
            {
                "part": "turned",
                "predictor": name,
                "turn": yaw,
                "pitch": pitch,
                "photos": len(values),
                "fitted": len(fitted),
                "degrees_off": float(np.mean(off)) if off else None,
                "mean_turn": sign * float(np.mean(fitted)) if fitted else None,
            }
        )
    return result


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
