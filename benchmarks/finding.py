"""Measure how many marked faces are found in ordinary photos, and how long that takes, beside dlib's HOG detector.

    python -m benchmarks.finding --boxes DIR [--no-face DIR] [--json]

Protocol: DIR/boxes.csv lists the marked faces (`photo, x, y, width, height, label`; pixels, photos relative to DIR).
Every photo is searched for all faces in two ways, one right after the other, and the photos take turns in which comes
first, so that a busy machine is as hard on both: by the default face source, as `identity.identify` reads a photo, and
by the face source `hog` with a second opinion, as `identify` did before there was another. A way does all that
`identify` does with a decoded photo before it embeds a face: it detects the faces and, if `identify` needs them, their
68 landmarks, cuts the chips out and estimates poses. Faces that are shown without a name because they are small count
as found. Times are processor time on one core, the mean over all photos; decoding is not part of them.

Matching: detectors draw their boxes differently; dlib's are smaller than the marked ones and lie lower, CenterFace's
are about as large. So a found box may be that of a marked face if they overlap by 0.3 or more (intersection over union)
and the middle of at least one of them lies in the other. Each found box is given to one marked face at most and each
marked face to one found box, so that as many faces as possible are found. A found box that is left is `extra`; it may
show a face that nobody marked.

`recall_open` is the recall of faces with the label `without_mask`; null if there are none. `no_face_found` is the share
of the photos below `--no-face` in which the default face source finds a face; null without that option. Intervals:
95 %, by drawing photos (bootstrap); of `no_face_found`, Wilson's.
"""

import argparse
import csv
import json
import sys
import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment
from tqdm import tqdm

from augmentor.errors import InputError, LikenessError
from augmentor.faces.face_search import MIN_FACE, Box, overlap
from augmentor.faces.face_source import face_source
from augmentor.photos.images import list_photos, load_image
from benchmarks.face_gate import wilson
from identity.chips.many_photos import use_one_core
from identity.chips.photo_faces import PhotoReader
from identity.decisions.metrics import identity_weights, interval
from identity.runs.recogniser import naming_reader

OPEN = "without_mask"
LEAST_OVERLAP = 0.3
SIDES = (0, 24, 48, 96)  # pixels; the table tells faces apart by the side of the marked box
_RESAMPLES = 1000


@dataclass(frozen=True)
class MarkedFace:
    """A face that somebody marked: its box (x, y, width, height) in pixels, and its label."""

    box: Box
    label: str

    @property
    def side(self) -> float:
        """Side in pixels of a square that is as large as the box."""
        return float(np.sqrt(self.box[2] * self.box[3]))


@dataclass(frozen=True)
class PhotoFound:
    """The faces that one of the two ways found in one photo.

    Attributes:
        found: (M,) bool for each marked face.
        extra: number of boxes that belong to no marked face.
        seconds: processor time.
    """

    found: np.ndarray
    extra: int
    seconds: float


def read_boxes(folder: Path) -> dict[Path, list[MarkedFace]]:
    """Return the marked faces of every photo that `folder`/boxes.csv lists.

    Raises:
        InputError: the file is missing, or a row of it is unusable.
    """
    path = folder / "boxes.csv"
    photos: dict[Path, list[MarkedFace]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for number, row in enumerate(csv.DictReader(file), 2):
                try:
                    x, y, width, height = (float(row[name]) for name in ("x", "y", "width", "height"))
                    face = MarkedFace((x, y, width, height), row["label"])
                    photo = folder / row["photo"]
                except (KeyError, TypeError, ValueError) as error:
                    raise InputError(f"{path}, line {number}: no marked face ({error})") from error
                if not (width > 0 and height > 0):
                    raise InputError(f"{path}, line {number}: a box without an area")
                photos.setdefault(photo, []).append(face)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    if not photos:
        raise InputError(f"{path}: no marked face in it")
    return photos


def matched(marked: Sequence[Box], found: Sequence[Box]) -> np.ndarray:
    """Return for each marked box whether a found box is assigned to it: (M,) bool; the module says how.

    Example:
        >>> matched([(0, 0, 10, 10), (2, 0, 10, 10)], [(1, 0, 10, 10)]).tolist()  # one box is one face only
        [True, False]
    """
    gain = np.zeros((len(marked), len(found)))
    for row, mark in enumerate(marked):
        for column, box in enumerate(found):
            common = overlap(mark, box)
            if common >= LEAST_OVERLAP and (_middle_in(mark, box) or _middle_in(box, mark)):
                gain[row, column] = 1.0 + common / (
                    1 + len(marked)
                )  # one pair more outweighs better overlaps
    rows, columns = linear_sum_assignment(gain, maximize=True)
    out = np.zeros(len(marked), bool)
    out[rows] = gain[rows, columns] > 0
    return out


def _middle_in(box: Box, other: Box) -> bool:
    x, y = box[0] + box[2] / 2, box[1] + box[3] / 2
    return other[0] <= x <= other[0] + other[2] and other[1] <= y <= other[1] + other[3]


def search(reader: PhotoReader, image: np.ndarray, marked: Sequence[MarkedFace]) -> PhotoFound:
    """Search a decoded photo, (H, W, 3) uint8 RGB, and compare the found faces with the marked ones."""
    started = time.process_time()
    faces = reader.image(image, "").faces
    seconds = time.process_time() - started
    found = matched([face.box for face in marked], [face.box for face in faces])
    return PhotoFound(found, len(faces) - int(found.sum()), seconds)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Search all photos, and return what the last line and the table say."""
    use_one_core()
    photos = read_boxes(options.boxes)
    empty = list_photos(options.no_face) if options.no_face else []
    if options.no_face and not empty:
        raise InputError(f"{options.no_face}: no photo in it; name a folder of photos")
    readers = {
        "new": naming_reader(PhotoReader()),
        "hog": PhotoReader(source=face_source("hog", second_opinion=True), min_face=MIN_FACE),
    }
    blank = np.full((240, 320, 3), 128, np.uint8)
    for reader in readers.values():  # models are loaded before the clock runs
        reader.load()
        reader.image(load_image(next(iter(photos))), "")
        reader.image(blank, "")
    outcomes: dict[str, list[PhotoFound]] = {name: [] for name in readers}
    for number, (path, marked) in enumerate(tqdm(photos.items(), "photos with faces", disable=None)):
        image = load_image(path)
        for name in sorted(readers, reverse=number % 2 == 1):
            outcomes[name].append(search(readers[name], image, marked))
    faces = [face for marked in photos.values() for face in marked]
    passed = [
        bool(readers["new"].image(load_image(path), "").faces)
        for path in tqdm(empty, "photos without a face", disable=None)
    ]
    return summary(faces, outcomes["new"], outcomes["hog"], passed or None)


def summary(
    faces: Sequence[MarkedFace],
    new: Sequence[PhotoFound],
    hog: Sequence[PhotoFound],
    passed: Sequence[bool] | None,
) -> dict[str, Any]:
    """Return the figures: the keys of the last line, and under `table` what only the table shows.

    Args:
        faces: the marked faces of all photos in turn.
        new, hog: what was found in each photo.
        passed: for each photo without a face, whether one was found; None where there are no such photos.
    """
    is_open = np.array([face.label == OPEN for face in faces])
    sides = np.array([face.side for face in faces])
    sizes = {
        f"{low} to {high} px" if np.isfinite(high) else f"{low} px and more": (sides >= low) & (sides < high)
        for low, high in zip(SIDES, (*SIDES[1:], np.inf), strict=True)
    }
    labels = {
        label: np.array([face.label == label for face in faces]) for label in sorted({f.label for f in faces})
    }
    everything = {"all": np.ones(len(faces), bool)} | labels | sizes
    groups = {name: chosen for name, chosen in everything.items() if chosen.any()}
    new_found, hog_found = (np.concatenate([photo.found for photo in way]) for way in (new, hog))
    photo_of = np.repeat(np.arange(len(new)), [len(photo.found) for photo in new])
    return {
        "n_faces": len(faces),
        "recall": float(new_found.mean()),
        "recall_open": float(new_found[is_open].mean()) if is_open.any() else None,
        "extra_per_photo": float(np.mean([photo.extra for photo in new])),
        "no_face_found": float(np.mean(passed)) if passed else None,
        "ms_per_photo": 1000 * float(np.mean([photo.seconds for photo in new])),
        "hog_recall": float(hog_found.mean()),
        "hog_ms_per_photo": 1000 * float(np.mean([photo.seconds for photo in hog])),
        "table": {
            "recall": {
                name: [
                    rate_with_interval(found[chosen], photo_of[chosen].tolist())
                    for found in (new_found, hog_found)
                ]
                for name, chosen in groups.items()
            },
            "counts": {name: int(chosen.sum()) for name, chosen in groups.items()},
            "hog_extra_per_photo": float(np.mean([photo.extra for photo in hog])),
            "n_photos": len(new),
            "no_face": (sum(passed), len(passed)) if passed else None,
        },
    }


def rate_with_interval(right: np.ndarray, units: Sequence[Hashable]) -> tuple[float, float, float]:
    """Return a rate and its 95 % interval (bootstrap).

    Args:
        right: (N,) bool.
        units: N names; what bears one name (a photo, a person) is drawn together.
    """
    weights = identity_weights(units, _RESAMPLES)
    total = weights.sum(axis=1)
    samples = (weights @ right)[total > 0] / total[total > 0]
    return float(right.mean()), *interval(samples, float(right.mean()), len(set(units)))


def print_table(result: Mapping[str, Any]) -> None:
    """Print what was measured, for people."""
    table = result["table"]
    print(f"{result['n_faces']} faces in {table['n_photos']} photos\n")
    print("| marked faces | number | found | by hog |\n|---|---|---|---|")
    for name, rates in table["recall"].items():
        cells = " | ".join(f"{rate:.1%} ({low:.1%} to {high:.1%})" for rate, low, high in rates)
        print(f"| {name} | {table['counts'][name]} | {cells} |")
    print(f"| extra boxes a photo | | {result['extra_per_photo']:.2f} | {table['hog_extra_per_photo']:.2f} |")
    print(f"| ms a photo | | {result['ms_per_photo']:.1f} | {result['hog_ms_per_photo']:.1f} |")
    if table["no_face"]:
        low, high = wilson(*table["no_face"])
        print(
            f"\nphotos without a face in which one is found: {table['no_face'][0]} of {table['no_face'][1]}, "
            f"{result['no_face_found']:.2%} ({low:.2%} to {high:.2%})"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.finding", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "--boxes", type=Path, required=True, metavar="DIR", help="photos, with the marked faces in boxes.csv"
    )
    parser.add_argument("--no-face", type=Path, metavar="DIR", help="photos without a person")
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    options = parser.parse_args(arguments)
    try:
        result = measure(options)
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    print_table(result)
    if options.json:
        print(json.dumps({name: value for name, value in result.items() if name != "table"}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
