"""Examples for training the landmark net: a crop around a face, its landmarks, and the detector's five points.

Crops are wider than what the net sees (`augmentor.faces.landmark_net`), so that training can move, turn and scale
them as a detector's errors would.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from augmentor.errors import InputError
from augmentor.faces.chip import chip_landmarks, chip_transform, warp_chip
from augmentor.faces.five_points import five_of_68
from augmentor.faces.landmark_net import CENTRE

CANVAS = 128  # side of the stored crops, pixels
CANVAS_UNITS = 340.0  # the same in pixels of dlib's chip of 150 px
PHOTO, RENDER, MADE_UP = 0, 1, 2
UNKNOWN = 255  # in `visible`


@dataclass(frozen=True, eq=False)
class Examples:
    """N examples.

    Attributes:
        images: (N, 128, 128, 3) uint8 RGB.
        landmarks: (N, 68, 2) float32 (x, y) pixels of the crop.
        visible: (N, 68) uint8: 0 hidden by the head, 1 not hidden, UNKNOWN.
        points: (N, 5, 2) float32, the detector's five points in the crop.
        pose: (N, 2) float32, yaw and pitch in degrees.
        kind: (N,) uint8: PHOTO, RENDER or MADE_UP.
        person: (N,) int32, the photo or the person that the example comes from.
    """

    images: np.ndarray
    landmarks: np.ndarray
    visible: np.ndarray
    points: np.ndarray
    pose: np.ndarray
    kind: np.ndarray
    person: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def part(self, chosen: np.ndarray) -> "Examples":
        """Return the chosen examples; `chosen` are row numbers or a mask (N,)."""
        return Examples(*(value[chosen] for value in vars(self).values()))

    def write(self, path: Path) -> None:
        """Write the examples to an .npz file.

        Raises:
            OSError: the file cannot be written.
        """
        with path.open("wb") as file:
            np.savez(file, **vars(self))


Row = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, tuple[float, float], int, int]


def examples_of(rows: list[Row]) -> Examples:
    """Return examples from rows: image, landmarks, visible, points, (yaw, pitch), kind and person of each."""
    images, landmarks, visible, points, pose, kind, person = zip(*rows, strict=True)
    return Examples(
        np.stack(images),
        np.stack(landmarks).astype(np.float32),
        np.stack(visible).astype(np.uint8),
        np.stack(points).astype(np.float32),
        np.array(pose, np.float32),
        np.array(kind, np.uint8),
        np.array(person, np.int32),
    )


def joined(parts: list[Examples]) -> Examples:
    """Return several sets of examples as one."""
    return Examples(
        *(np.concatenate(column) for column in zip(*(vars(p).values() for p in parts), strict=True))
    )


def read_examples(path: Path) -> Examples:
    """Read a file that `Examples.write` wrote.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            return Examples(**{name: stored[name] for name in Examples.__dataclass_fields__})
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: no examples for landmarks ({error})") from error


def cut_example(
    image: np.ndarray, landmarks: np.ndarray, points: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut a crop out of a picture.

    Args:
        image: (H, W, 3) uint8 RGB.
        landmarks: (68, 2) (x, y) pixels.
        points: (5, 2) the detector's five points, or None if it found no face; then those of the landmarks count.

    Returns:
        The crop (128, 128, 3), the landmarks (68, 2) and the five points (5, 2) in it.
    """
    five = five_of_68(landmarks) if points is None else points
    chip = chip_transform(five)
    scale = CANVAS / CANVAS_UNITS
    canvas_from_image = scale * chip
    canvas_from_image[:, 2] += (CANVAS - 1) / 2 - scale * CENTRE
    crop = warp_chip(image, canvas_from_image, CANVAS)
    return crop, chip_landmarks(landmarks, canvas_from_image), chip_landmarks(five, canvas_from_image)
