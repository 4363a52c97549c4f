"""Move the picture of a view by a photo's own shape and expression.

A view is rasterised once, with its own shape. A photo's shape moves every surface point in the picture. The movement is
projected at the view's nodes; fixed-point iteration then finds where the content of each node comes from, which works
because the movement is smooth. Around the face, the movement of the nearest point of the face continues.

All views of one photo are moved together, because the arrays are small and one call costs as much as ten of them. The
result does not depend on which views are moved together, not even in the last bit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from augmentor.faces.chip import chip_transforms
from augmentor.faces.five_points import five_of_68
from augmentor.head.expression import ExpressionChange
from augmentor.rendering.prepared_photo import PreparedPhoto
from augmentor.views.view import View

# Without damping, the iteration diverges where the photo's mouth opens further than the view's. With this damping, all
# but one node in a hundred end within 0.4 px.
_DAMPING = (1.0, 0.7, 0.7)
# Nodes of several views are read from one table, one view below the other. Places are rounded to this fraction of a
# node, so that they keep all of their bits wherever in the table their view lies.
_FRACTION = np.float32(2**-10)


@dataclass(frozen=True, eq=False)
class MovedViews:
    """K views of one size, moved by a photo's shape and expression.

    Args:
        back: (K, n, n, 2) float32, (x, y) pixels from where each node's content comes to the node.
        background: (K, n, n, 4) float32, the nodes' places in the background.
        landmarks_2d: (K, 68, 2) float32 true landmarks in chip pixels (x, y).
    """

    back: np.ndarray
    background: np.ndarray
    landmarks_2d: np.ndarray


def move_views(
    photo: PreparedPhoto, views: Sequence[View], changes: Sequence[ExpressionChange | None] = ()
) -> MovedViews:
    """Give views the photo's own shape and expression.

    Args:
        photo: the photo, prepared for renders of the views' size.
        views: at least one view; all have the same size and padding.
        changes: a change of the photo's expression for each view, None for no change; empty for no changes at all.
    """
    size, count = views[0].size, len(views[0].nodes.grid)
    projection = np.stack([view.projection for view in views])
    corners = np.stack([view.landmark_vertices for view in views]) + photo.landmark_offset
    for number, change in enumerate(changes):
        if change:
            corners[number] += change.landmark_offset
    in_camera = corners @ projection[:, :, :3].swapaxes(1, 2) + projection[:, None, :, 3]
    landmarks = in_camera[..., :2] / in_camera[..., 2:]
    points = five_of_68(landmarks) + np.stack([view.point_offsets for view in views])
    chip_from_view = chip_transforms(points, size, views[0].padding)
    linear, origin = chip_from_view[..., :2], chip_from_view[..., 2:]
    camera = np.concatenate([linear @ projection[:, :2] + origin * projection[:, 2:], projection[:, 2:]], 1)
    grid, vertices, seen, background = (
        np.concatenate([getattr(view.nodes, name) for view in views])
        for name in ("grid", "vertices", "points", "background")
    )
    head = vertices + cv2.remap(photo.offset, grid, None, cv2.INTER_LINEAR)
    for number, change in enumerate(changes):
        if change:
            rows = slice(number * count, (number + 1) * count)
            head[rows] += cv2.remap(change.offset, views[number].nodes.grid, None, cv2.INTER_LINEAR)
    in_camera = head.reshape(len(views), -1, 4) @ camera.swapaxes(1, 2).astype(np.float32)
    shift = (in_camera[..., :2] / in_camera[..., 2:]).reshape(seen.shape) - seen
    back = shift
    for damping in _DAMPING:
        there = _read(shift, back * (count / size))
        back = cv2.addWeighted(back, 1 - damping, there, damping, 0)
    background = _read(background, back * (count / size))
    return MovedViews(
        back.reshape(len(views), count, count, 2),
        background.reshape(len(views), count, count, 4),
        (landmarks @ linear.swapaxes(1, 2) + origin.swapaxes(1, 2)).astype(np.float32),
    )


def _read(table: np.ndarray, back: np.ndarray) -> np.ndarray:
    """Read a table of nodes, one view below the other (K n, n, C), at each node minus `back` (K n, n, 2), in nodes."""
    start, row = _places(*table.shape[:2])
    source = np.clip(start - back, 0, table.shape[1] - 1)
    source = np.rint(source / _FRACTION) * _FRACTION
    source[..., 1] += row
    return cv2.remap(table, source, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


@lru_cache(maxsize=64)
def _places(rows: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return each node's place (x, y) in its view, (rows, count, 2), and the view's first row, (rows, 1); float32."""
    x, y = np.meshgrid(np.arange(count), np.arange(rows))
    return np.stack([x, y % count], -1).astype(np.float32), (y[:, :1] // count * count).astype(np.float32)
