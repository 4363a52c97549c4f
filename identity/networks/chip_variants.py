"""Variants of face chips: the middle, another size, the mirror image, and copies cropped a little differently."""

from typing import Any

import cv2
import numpy as np

JITTERS = 3  # copies of a photo that are averaged into a template


def middle(chips: Any, zoom: float) -> Any:
    """Return the middle of (N, S, S, 3) chips, an array or a Keras tensor.

    A margin of whole pixels is left out on each side, so that the edge of the middle is about S / `zoom`.
    """
    edge = chips.shape[1]
    margin = round(edge * (1 - 1 / zoom) / 2)
    return chips[:, margin : edge - margin, margin : edge - margin]


def resized(chips: np.ndarray, size: int) -> np.ndarray:
    """Return (N, S, S, 3) uint8 chips as (N, size, size, 3) uint8; they show the same at every size."""
    if chips.shape[1] == size:
        return chips
    out = [cv2.resize(chip, (size, size), interpolation=_way(chips.shape[1], size)) for chip in chips]
    return np.stack(out) if out else np.zeros((0, size, size, 3), np.uint8)


def resized_graph(chips: Any, size: int) -> Any:
    """Do what `resized` does for a Keras tensor (N, S, S, 3) of float32 0-255: resizing is linear along each edge."""
    from keras import ops

    edge = chips.shape[1]
    if edge == size:
        return chips
    weights = cv2.resize(np.eye(edge, dtype=np.float32), (edge, size), interpolation=_way(edge, size)).T
    rows = ops.matmul(ops.transpose(chips, (0, 1, 3, 2)), weights)  # (N, y, 3, x')
    columns = ops.matmul(ops.transpose(rows, (0, 2, 3, 1)), weights)  # (N, 3, x', y')
    return ops.clip(ops.round(ops.transpose(columns, (0, 3, 2, 1))), 0, 255)


def _way(edge: int, size: int) -> int:
    return cv2.INTER_AREA if edge > size else cv2.INTER_CUBIC


def mirrored(chips: np.ndarray) -> np.ndarray:
    """Return (N, H, W, 3) chips with left and right exchanged."""
    return np.ascontiguousarray(chips[:, :, ::-1])


def jittered(chips: np.ndarray, seed: int) -> np.ndarray:
    """Return chips that are turned, scaled and shifted a little, each differently, as if cropped less exactly.

    Chips are turned by up to 3 degrees, scaled by up to 4 % and shifted by up to 2 % of the edge. Pixels at the border
    are replicated.

    Args:
        chips: (N, S, S, 3) uint8.
        seed: of the changes.
    """
    rng = np.random.default_rng([seed, 3])
    size = chips.shape[1]
    out = np.empty_like(chips)
    for index, chip in enumerate(chips):
        angle, scale = rng.uniform(-3.0, 3.0), 1.0 + rng.uniform(-0.04, 0.04)
        jitter = cv2.getRotationMatrix2D(((size - 1) / 2, (size - 1) / 2), angle, scale)
        jitter[:, 2] += rng.uniform(-0.02, 0.02, 2) * size
        out[index] = cv2.warpAffine(
            chip, jitter, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
    return out
