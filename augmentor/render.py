"""Render a photo of a face at another pose and onto another shape.

    photo ── prepare_photo ── where every point of the head's grid lies in it, what it shows of it, its surroundings
    view  ── render_view ──── which point of the grid every pixel shows: a look-up, then the photo is sampled once

Source:
    Masi et al., ECCV 2016 (views, soft symmetry) and Zhu et al., CVPR 2016 (background). Differs: a photo's point is
    found through the head fitted to this photo, corrected so that its landmarks lie exactly where they were detected;
    and a view can take on the photo's own shape and expression. Figures: docs/rendering.md.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from augmentor.chip import chip_transform
from augmentor.detector_offsets import detector_offsets
from augmentor.pose import estimate_camera
from augmentor.prepared_photo import ATLAS_STEP, PreparedPhoto, prepare_photo, read
from augmentor.view import AS_PHOTO, BY_POSITION, OWN_PITCH, OWN_YAW, PROFILE_YAW, View, ViewKey, project

__all__ = ["PreparedPhoto", "RenderedView", "allowed", "prepare_photo", "render_view"]

PROFILE_LEAST_YAW = 10.0  # a photo turned beyond PROFILE_YAW is rendered to its own side, at least this far
# The undamped iteration diverges where a mouth opens by more than it is open in the view. Damped it ends within 0.1 px.
_ITERATIONS, _DAMPING = 5, np.float32(0.6)
_SHIFT_BLUR = 0.8  # half pixels; where the nose's edge passes before the cheek the two move differently
_EDGE_CELLS = 1.5  # grid cells between neighbouring pixels: more is an edge of the surface


@dataclass(frozen=True, eq=False)
class RenderedView:
    """A render and what is known about it.

    Args:
        image: (S, S, 3) uint8 RGB.
        visible: (S, S) bool; false pixels are not seen in the photo (mirrored or filled).
        landmarks_2d: (68, 2) float32 true landmarks, chip pixels.
        landmarks_visible: (68,) bool.
    """

    image: np.ndarray
    visible: np.ndarray
    landmarks_2d: np.ndarray
    landmarks_visible: np.ndarray


def allowed(photo_yaw: float, key: ViewKey) -> bool:
    """The near-view rule: whether a photo with this yaw may be rendered into this view.

    Not at (nearly) its own pose, which would repeat the photo. A photo turned beyond PROFILE_YAW only
    to its own side and not to the front: it shows too little of the other half.
    """
    if abs(key.yaw - photo_yaw) < OWN_YAW and abs(key.pitch) < OWN_PITCH:
        return False
    if abs(photo_yaw) > PROFILE_YAW:
        return bool(key.yaw * np.sign(photo_yaw) >= PROFILE_LEAST_YAW)
    return True


def render_view(photo: PreparedPhoto, view: View) -> RenderedView:
    """Render a prepared photo into a view.

    Deterministic: the same photo and view give the same bytes.
    """
    places, share, landmarks = view.places, view.face, view.landmarks_2d
    if view.key.expression == AS_PHOTO:
        places, share, landmarks = _as_photo(photo, view)
    grid_x, grid_y, around_x, around_y = _channels(places, 4)
    x, y, own = _channels(read(photo.surface, grid_x, grid_y), 3)
    if view.key.expression == BY_POSITION:
        x, y = _by_position(photo, view)
    image = read(photo.canvas, x, y)
    if (own[share > 0] < 0.99).any():
        image = cv2.blendLinear(
            image, read(photo.atlas, grid_x * ATLAS_STEP, grid_y * ATLAS_STEP), own, 1 - own
        )
    x, y = _channels(read(photo.background, around_x, around_y), 2)
    image = cv2.blendLinear(image, read(photo.canvas, x, y), share, 1 - share)
    return RenderedView(
        image=cv2.cvtColor(image, cv2.COLOR_RGBA2RGB),
        visible=(own > 0.5) | (share < 0.5),
        landmarks_2d=landmarks,
        landmarks_visible=view.landmarks_visible,
    )


def _by_position(photo: PreparedPhoto, view: View) -> list[np.ndarray]:
    """Where the view's points lie in the canvas, x and y: projected by the camera that fits its landmarks there."""
    points = view.vertices[view.landmarks68] + detector_offsets()
    camera = estimate_camera(photo.landmarks, points, photo.canvas.shape[:2])
    return _channels(camera.project(view.position), 2)


def _as_photo(photo: PreparedPhoto, view: View) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The view's places, face and landmarks for the photo's own shape and expression.

    Every surface point of the view moves in the picture; where a pixel's content comes from is found by fixed-point
    iteration, since the movement is smooth. It is done at half the resolution. Around the face the movement of its
    nearest point goes on, since `places` names that.
    """
    head = view.vertices + photo.offset
    landmarks = project(view.projection, head[view.landmarks68] + detector_offsets())
    chip_from_view = chip_transform(landmarks, view.size)
    points = project(np.vstack([chip_from_view, [0, 0, 1]]) @ view.projection, head)
    moved = np.zeros((*photo.surface.shape[:2], 4), np.float32)
    moved[..., :2] = (points - view.points).reshape(*photo.surface.shape[:2], 2)
    grid_x, grid_y = (channel[::2, ::2] for channel in _channels(view.places, 2))
    shift = cv2.GaussianBlur(read(moved, grid_x, grid_y), (0, 0), _SHIFT_BLUR)
    pixel_x, pixel_y = _pixels(len(shift))
    shift_x, shift_y = _channels(shift, 2)
    back_x, back_y = shift_x, shift_y  # what is seen at a pixel comes from this far back, whole pixels
    for _ in range(_ITERATIONS):
        shift_x, shift_y = _channels(read(shift, pixel_x - back_x / 2, pixel_y - back_y / 2), 2)
        back_x = back_x + _DAMPING * (shift_x - back_x)
        back_y = back_y + _DAMPING * (shift_y - back_y)
    size = (view.size, view.size)
    source = [p - cv2.resize(b, size) for p, b in zip(_pixels(view.size), (back_x, back_y), strict=True)]
    landmarks = landmarks @ chip_from_view[:, :2].T + chip_from_view[:, 2]
    return _warp_places(view.places, *source), read(view.face, *source), landmarks.astype(np.float32)


def _warp_places(places: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Places read at (x, y), without mixing what lies on both sides of an edge (nose and cheek)."""
    smooth = read(places, x, y)
    nearest = cv2.remap(places, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    apart = cv2.absdiff(smooth, nearest)
    torn = cv2.max(*_channels(apart, 2)) > _EDGE_CELLS
    return cv2.copyTo(nearest, torn.view(np.uint8), smooth)


def _channels(table: np.ndarray, count: int) -> list[np.ndarray]:
    """The first channels of (h, w, 4), each in an array of its own; several times faster than `cv2.split`."""
    return [cv2.extractChannel(table, channel) for channel in range(count)]


@lru_cache(maxsize=4)
def _pixels(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Every pixel's own x and y, each (S, S) float32."""
    x, y = np.meshgrid(np.arange(size, dtype=np.float32), np.arange(size, dtype=np.float32))
    return x, y
