"""Render a photo of a face at another pose and onto another shape.

    photo ── prepare_photo ── where every point of the head's grid lies in it, which of them it shows, its surroundings
    view  ── render_view ──── which point of the grid every pixel shows; the photo is then sampled once

Source:
    Masi et al., ECCV 2016 (views, soft symmetry) and Zhu et al., CVPR 2016 (background). Differs: points are located in
    a photo by the head fitted to this photo, corrected so that its landmarks lie exactly where they were detected; and
    a view can take on the photo's own shape and expression. Figures: docs/rendering.md.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from augmentor.head.expression import ExpressionChange, paint_mouth
from augmentor.head.pose import estimate_camera
from augmentor.rendering.own_shape import move_views
from augmentor.rendering.prepared_photo import PreparedPhoto, prepare_photo, read
from augmentor.views.view import View
from augmentor.views.view_key import AS_PHOTO, BY_POSITION

__all__ = ["PreparedPhoto", "RenderedView", "prepare_photo", "render_view", "render_views"]

RENDERER = 4  # changes whenever renders change; sets of two renderers must not be mixed
TOGETHER = 32  # views that are moved together; more would not fit in the processor's cache
_BARELY, _NEARLY = (
    0.25,
    0.75,
)  # a pixel that the face covers by a share between these shows both face and background


@dataclass(frozen=True, eq=False)
class RenderedView:
    """A render and what is known about it.

    Args:
        pixels: (S, S, 4) uint8: RGB, and how much of the colour the photo itself shows; the rest is mirrored or filled.
        landmarks_2d: (68, 2) float32 true landmarks in chip pixels (x, y).
        landmarks_visible: (68,) bool.
    """

    pixels: np.ndarray
    landmarks_2d: np.ndarray
    landmarks_visible: np.ndarray

    @property
    def image(self) -> np.ndarray:
        """The picture, (S, S, 3) uint8 RGB."""
        return cv2.cvtColor(self.pixels, cv2.COLOR_RGBA2RGB)

    @property
    def visible(self) -> np.ndarray:
        """The pixels (S, S) bool that the photo shows; false ones are mirrored or filled."""
        return self.pixels[..., 3] > 127


def render_view(photo: PreparedPhoto, view: View, change: ExpressionChange | None = None) -> RenderedView:
    """Render a prepared photo into a view. For several views, `render_views` is faster and explains the arguments."""
    return next(render_views(photo, [view], [change]))


def render_views(
    photo: PreparedPhoto, views: Sequence[View], changes: Sequence[ExpressionChange | None] = ()
) -> Iterator[RenderedView]:
    """Render a prepared photo into views, one after the other.

    Deterministic: the same photo, view and change give the same bytes, whatever the other views are.

    Args:
        photo: the prepared photo.
        views: the views to render into.
        changes: a change of the photo's expression for each view, None for no change; empty for no changes at all. Only
            views with the photo's own expression (`AS_PHOTO`) can be changed.

    Raises:
        ValueError: the photo was prepared for renders of another size, the views differ in padding, or a view cannot
            be changed.
    """
    changes = changes or [None] * len(views)
    for view, change in zip(views, changes, strict=True):
        if change and view.key.expression != AS_PHOTO:
            raise ValueError(f"the expression of {view.key.name} cannot be changed")
    for view in views:
        if photo.size != view.size:
            raise ValueError(f"a photo prepared for {photo.size} px cannot be rendered at {view.size} px")
        if view.padding != views[0].padding:
            raise ValueError("views with different padding cannot be rendered together")
    for start in range(0, len(views), TOGETHER):
        part = list(zip(views, changes, strict=True))[start : start + TOGETHER]
        own = [(view, change) for view, change in part if view.key.expression == AS_PHOTO]
        moved = move_views(photo, *zip(*own, strict=True)) if own else None
        number = 0
        for view, change in part:
            if moved is not None and view.key.expression == AS_PHOTO:
                surface = _read_back(view, moved.back[number])
                around, landmarks = moved.background[number], moved.landmarks_2d[number]
                number += 1
            else:
                surface, around, landmarks = view.surface, view.nodes.background, view.landmarks_2d
            pixels = _pixels_of(photo, view, surface, around)
            if change:
                pixels = paint_mouth(pixels, landmarks, change.unseen)
            yield RenderedView(pixels, landmarks, view.landmarks_visible)


def _pixels_of(photo: PreparedPhoto, view: View, surface: np.ndarray, around: np.ndarray) -> np.ndarray:
    """Return the render (S, S, 4).

    Args:
        photo: the prepared photo.
        view: the view to render into.
        surface: (h, h, 4) see `View`, moved by the photo's shape.
        around: (n, n, 4) the nodes' places in the background.
    """
    x, y, face = _channels(surface, 3)
    around_x, around_y = _channels(read(photo.background, *_channels(around, 2)), 2)
    y, around_y = cv2.add(y, photo.atlas_row), cv2.min(around_y, photo.atlas_row - 1)
    x, y, face, around_x, around_y = (
        cv2.resize(channel, (view.size, view.size)) for channel in (x, y, face, around_x, around_y)
    )
    if view.key.expression == BY_POSITION:
        return _read_positioned(photo, view, (x, y), (around_x, around_y), face)
    return _read_both(photo.texture, (x, y), (around_x, around_y), face)


def _read_both(
    texture: np.ndarray, inside: Sequence[np.ndarray], around: Sequence[np.ndarray], face: np.ndarray
) -> np.ndarray:
    """Read the texture (S, S, 4) at `inside` where there is face, and at `around` where there is none.

    Pixels that show some of both are averaged with their neighbours. Reading both colours there would look the same and
    take four times as long.
    """
    beyond = cv2.compare(face, 0.5, cv2.CMP_LT)
    pixels = read(texture, *(cv2.copyTo(a, beyond, i) for i, a in zip(inside, around, strict=True)))
    edge = cv2.inRange(face, _BARELY, _NEARLY)
    return cv2.copyTo(cv2.blur(pixels, (3, 3)), edge, pixels)


def _read_positioned(
    photo: PreparedPhoto,
    view: View,
    inside: Sequence[np.ndarray],
    around: Sequence[np.ndarray],
    face: np.ndarray,
) -> np.ndarray:
    """Read the photo at the positions that the view holds, as a camera projects them, and complete it from the atlas.

    The camera is the one that fits the view's landmarks to the photo's.
    """
    points = view.landmark_vertices + photo.detector_offsets
    camera = estimate_camera(photo.landmarks, points, photo.canvas.shape[:2])
    place = camera.project(view.position.reshape(-1, 3)).reshape(*view.position.shape[:2], 2)
    x, y = (cv2.resize(place[..., k].astype(np.float32), face.shape) for k in (0, 1))
    own = read(photo.texture, x, cv2.min(y, photo.atlas_row - 1))
    atlas, surroundings = read(photo.texture, *inside), read(photo.texture, *around)
    shown = cv2.extractChannel(atlas, 3)
    share = shown / np.float32(255)
    colours = cv2.blendLinear(own, atlas, share, 1 - share)
    return cv2.blendLinear(cv2.insertChannel(shown, colours, 3), surroundings, face, 1 - face)


def _read_back(view: View, back: np.ndarray) -> np.ndarray:
    """Read the surface (h, h, 4) of a view at each place minus `back` (n, n, 2), pixels."""
    count = len(view.surface)
    source = cv2.scaleAdd(cv2.resize(back, (count, count)), -count / view.size, _places(count))
    return cv2.remap(view.surface, source, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _channels(table: np.ndarray, count: int) -> list[np.ndarray]:
    """Return the first channels of (h, w, 4) as separate arrays, several times faster than `cv2.split`."""
    return [cv2.extractChannel(table, channel) for channel in range(count)]


@lru_cache(maxsize=8)
def _places(count: int) -> np.ndarray:
    """Return every place's own (x, y), (count, count, 2) float32."""
    line = np.arange(count, dtype=np.float32)
    return np.stack(np.meshgrid(line, line), -1)
