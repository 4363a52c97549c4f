"""The 68 landmarks of a face at any pose, from its five points: a small net of this project's own.

A detector's five points place a crop, so a tilted head comes upright. The net sees the crop and its mirror image, and
gives the landmarks and which of them the head itself hides. How it was trained, what its landmarks mean on turned
faces, and what it reaches: docs/decisions/0033-landmarks.md.

Convention:
    Landmarks are in dlib's order. Inner ones and the chin are places of the skin, also where they are hidden. The other
    contour landmarks lie on the outline of the face, as `augmentor.head.pose.fit_face` expects: on the near side of a
    turned face at a fixed place before the ear, on the far side along the edge of the cheek.
"""

import functools
import hashlib
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from augmentor.errors import InputError
from augmentor.faces.chip import CHIP_SIZE, warp_chip
from augmentor.faces.detector_offsets import detector_offsets
from augmentor.faces.face_search import Detection
from augmentor.faces.five_points import MEAN_FACE, similarity
from augmentor.faces.landmark_source import Landmarks

FILE = Path(__file__).parent.parent / "data" / "landmarks68.tflite"
SHA256 = "7ac5c0cb9ca2801e7811a73f1b49c44bb68256c81c6441980094cf377da4550b"
VERSION = "net1"  # changes when the net gives other landmarks

SIDE = 80  # of the crop, pixels
WINDOW = 216.0  # side of the crop, in pixels of dlib's chip of 150 px
CENTRE = np.array(
    [(CHIP_SIZE - 1) / 2, (CHIP_SIZE - 1) / 2 + 8]
)  # the crop's middle in such a chip; chins are below
# The landmark on the other side of the face.
MIRROR68 = np.concatenate(
    [
        *(np.arange(16, -1, -1), np.arange(26, 16, -1), np.arange(27, 31), np.arange(35, 30, -1)),
        *([45, 44, 43, 42, 47, 46], [39, 38, 37, 36, 41, 40]),
        *([54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55], [64, 63, 62, 61, 60, 67, 66, 65]),
    ]
)


def crop_transform(points: np.ndarray) -> np.ndarray:
    """Return the similarity that brings five points to their usual places in the net's crop.

    Args:
        points: (5, 2) (x, y) pixels.

    Returns:
        crop_from_image, (2, 3) float64.

    Raises:
        ValueError: `points` is not (5, 2) finite numbers, or the points coincide.
    """
    return similarity(points, (MEAN_FACE - CENTRE) * (SIDE / WINDOW) + (SIDE - 1) / 2)


@dataclass(frozen=True)
class NetLandmarks:
    """The net alone as a `augmentor.faces.landmark_source.LandmarkSource`, for whoever needs no more than a pose.

    It loads its file at the first call.
    """

    @property
    def version(self) -> str:
        """The net's version, as `LandmarkSource.version` asks for."""
        return VERSION

    @property
    def offsets(self) -> np.ndarray:
        """(68, 3) float64 mm: dlib's, because the net was trained to put its landmarks where dlib does."""
        return detector_offsets()

    def check_models(self) -> None:
        """Check that the file is there and undamaged.

        Raises:
            InputError: it is not.
        """
        check_net()

    def __call__(self, image: np.ndarray, detection: Detection) -> Landmarks:
        """Predict the landmarks of a face.

        Args:
            image: (H, W, 3) uint8 RGB.
            detection: the face, with its five points.

        Raises:
            ValueError: the detection has no points.
            InputError: the net's file is missing or damaged.
        """
        if detection.points is None:
            raise ValueError("the landmark net needs the five points of a face")
        return find_landmarks(image, detection.points)


def find_landmarks(image: np.ndarray, points: np.ndarray) -> Landmarks:
    """Return the landmarks of a face and which of them the head does not hide.

    Args:
        image: (H, W, 3) uint8 RGB.
        points: (5, 2) (x, y) pixels, see `augmentor.faces.five_points`.

    Raises:
        ValueError: an argument has the wrong shape or type, or the points coincide.
        InputError: the net's file is missing or damaged.
    """
    crop_from_image = crop_transform(points)
    places, odds = run_net(warp_chip(image, crop_from_image, SIDE))
    inverse = cv2.invertAffineTransform(crop_from_image)
    landmarks = places @ inverse[:, :2].T + inverse[:, 2]
    return Landmarks(landmarks.astype(np.float32), odds > 0)


def scaled(pixels: np.ndarray) -> np.ndarray:
    """Return RGB 0..255 of any shape as the net wants it, float32.

    Not a layer of the net, because OpenCV before 4.12 cannot read single numbers in its file.
    """
    return pixels.astype(np.float32) / 64 - 2


def run_net(crop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Run the net on a crop and its mirror image.

    Args:
        crop: (80, 80, 3) uint8 RGB.

    Returns:
        Landmarks (68, 2) float64 in pixels of the crop, and log-odds (68,) of being visible; means of both pictures.
    """
    pair = scaled(np.stack([crop, crop[:, ::-1]])).transpose(0, 3, 1, 2)
    net, lock = _net()
    with lock:  # a net holds its input and its output, so threads take turns
        net.setInput(np.ascontiguousarray(pair))
        upright, mirrored = net.forward().reshape(2, -1).astype(np.float64)
    relative, other = (out[:136].reshape(68, 2) for out in (upright, mirrored))
    relative = (relative + other[MIRROR68] * [-1, 1]) / 2
    return relative * SIDE + (SIDE - 1) / 2, (upright[136:] + mirrored[136:][MIRROR68]) / 2


@functools.cache
def _net() -> tuple[Any, threading.Lock]:
    """Return the net and the lock of its users, loaded once per process."""
    return cv2.dnn.readNetFromTFLite(np.frombuffer(_content(), np.uint8)), threading.Lock()


def check_net() -> None:
    """Check that the net's file is there and undamaged.

    Raises:
        InputError: it is not.
    """
    _content()


def _content() -> bytes:
    """Return the content of the net's file.

    Raises:
        InputError: it is missing or damaged.
    """
    try:
        content = FILE.read_bytes()
    except OSError as error:
        raise InputError(
            f"{FILE}: cannot be read ({error.strerror or error}); reinstall the package"
        ) from error
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise InputError(f"{FILE}: damaged, its SHA-256 is not the published one; reinstall the package")
    return content
