"""Render a photo of a face at another pose and onto another shape.

    photo ── prepare_photo ── where every point of the head's grid lies in it, what it shows of it, its surroundings
    view  ── render_view ──── which point of the grid every pixel shows: a look-up, then the photo is sampled once

Preparing costs some milliseconds, once per photo; a render into a view of `augmentor.view.make_view` about one.

Source:
    Masi et al., ECCV 2016 (views, soft symmetry) and Zhu et al., CVPR 2016 (background). Differs: a photo's point is
    found through the head fitted to this photo, corrected so that its landmarks lie exactly where they were detected.
    Figures: docs/rendering.md.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from augmentor.background import background_table, outline_of
from augmentor.canvas import Canvas, photo_canvas
from augmentor.chip import chip_transform
from augmentor.head_model import HeadModel
from augmentor.pose import FaceFit, fit_face
from augmentor.registration import register
from augmentor.texture import complete_atlas, own_weight, visibility
from augmentor.view import (
    AS_PHOTO,
    OWN_PITCH,
    OWN_YAW,
    PROFILE_YAW,
    View,
    ViewKey,
    face_vertices,
    project,
    surface_normals,
)

PROFILE_LEAST_YAW = 10.0  # a photo turned beyond PROFILE_YAW is rendered to its own side, at least this far
_ATLAS_STEP = 2  # atlas texels per grid cell


@dataclass(frozen=True, eq=False)
class PreparedPhoto:
    """All that renders need of one photo.

    Args:
        canvas: (h, w, 3) uint8, the photo around the face, reduced, continued beyond its edge.
        surface: (R, C, 2) float32, where each vertex of the head's grid lies in the canvas, pixels.
        own: (R, C) float32 0..1, how much of its colour comes from the photo; the rest from `atlas`.
        atlas: (2 R - 1, 2 C - 1, 3) uint8, completed texture laid out like the grid.
        background: (rings, directions + 1, 2) float32, see `augmentor.background.background_table`.
        offset: (V, 3) float32 mm, how the fitted head differs from the mean neutral one.
        fit: the head fitted to the photo.
    """

    canvas: np.ndarray
    surface: np.ndarray
    own: np.ndarray
    atlas: np.ndarray
    background: np.ndarray
    offset: np.ndarray
    fit: FaceFit


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
        return key.yaw * np.sign(photo_yaw) >= PROFILE_LEAST_YAW
    return True


def prepare_photo(
    image: np.ndarray, landmarks: np.ndarray, head: HeadModel, size: int = 150
) -> PreparedPhoto:
    """Fit the head to a photo and find what it shows.

    Deterministic; does not modify `image`.

    Args:
        image: (H, W, 3) uint8 RGB.
        landmarks: (68, 2) float32 (x, y) pixels, dlib's order.
        head: the head model, the same as the views'.
        size: side of the renders, pixels; the face is reduced to at most twice that.

    Raises:
        PhotoError: bad_pose, no head fits the landmarks.
    """
    fit = fit_face(landmarks, head, image.shape[:2])
    canvas = photo_canvas(image, landmarks, size)
    vertices = head.vertices(fit.identity, fit.expression)
    points = canvas.from_photo(register(landmarks, vertices, fit, head)).astype(np.float32)
    seen = _visibility(points, vertices, fit, head)
    own = own_weight(seen, head.mirror, _never_mirrored(head, seen))
    surface = points.reshape(*head.grid_shape, 2)
    return PreparedPhoto(
        canvas=canvas.image,
        surface=surface,
        own=own,
        atlas=_atlas(canvas.image, surface, seen, head),
        background=_background(points, vertices, canvas, fit, head),
        offset=vertices - head.mean,
        fit=fit,
    )


def render_view(photo: PreparedPhoto, view: View) -> RenderedView:
    """Render a prepared photo into a view.

    Deterministic: the same photo and view give the same bytes.
    """
    if view.key.expression == AS_PHOTO:
        grid, background, share, landmarks = _as_photo(photo, view)
    else:
        grid, background, share, landmarks = view.grid, view.background, view.face, view.landmarks_2d
    own = cv2.remap(photo.own, grid, None, cv2.INTER_LINEAR)
    face = _sample(photo.canvas, photo.surface, grid)
    if (own[share > 0] < 0.99).any():
        atlas = cv2.remap(photo.atlas, grid * _ATLAS_STEP, None, cv2.INTER_LINEAR)
        face = cv2.blendLinear(face, atlas, own, 1 - own)
    around = _sample(photo.canvas, photo.background, background)
    return RenderedView(
        image=cv2.blendLinear(face, around, share, 1 - share),
        visible=(own > 0.5) | (share < 0.5),
        landmarks_2d=landmarks,
        landmarks_visible=view.landmarks_visible,
    )


def _as_photo(photo: PreparedPhoto, view: View) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The view's grid, background and face tables and landmarks for the photo's own shape and expression.

    Every surface point of the view moves in the picture; where a pixel's content comes from is found by fixed-point
    iteration, since the movement is small and smooth.
    """
    points, _ = project(view.projection, view.vertices + photo.offset)
    chip_from_view = chip_transform(points[view.landmarks68].astype(np.float32), view.size)
    points = (points @ chip_from_view[:, :2].T + chip_from_view[:, 2]).astype(np.float32)
    moved = (points - view.points).reshape(photo.surface.shape)
    shift = _continue_shift(cv2.remap(moved, view.grid, None, cv2.INTER_LINEAR), view.face)
    pixel = _pixels(view.size)
    source = pixel - shift
    for _ in range(2):
        source = pixel - cv2.remap(shift, source, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    grid = cv2.remap(view.grid, source, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    background = cv2.remap(view.background, source, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    share = cv2.remap(view.face, source, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return grid, background, share, points[view.landmarks68]


def _continue_shift(shift: np.ndarray, face: np.ndarray) -> np.ndarray:
    """Continue a movement (S, S, 2) of the face smoothly around it."""
    small = (face.shape[1] // 4, face.shape[0] // 4)
    weight = cv2.resize(face, small, interpolation=cv2.INTER_AREA)
    total = cv2.resize(shift * face[..., None], small, interpolation=cv2.INTER_AREA)
    weight, total = cv2.GaussianBlur(weight, (0, 0), 4), cv2.GaussianBlur(total, (0, 0), 4)
    around = cv2.resize(total / (weight + 1e-3)[..., None], face.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.where(face[..., None] > 0, shift, around)


@lru_cache(maxsize=4)
def _pixels(size: int) -> np.ndarray:
    """Every pixel's own coordinates (S, S, 2) float32."""
    x, y = np.meshgrid(np.arange(size, dtype=np.float32), np.arange(size, dtype=np.float32))
    return np.stack([x, y], -1)


def _sample(canvas: np.ndarray, table: np.ndarray, place: np.ndarray) -> np.ndarray:
    """The canvas where a small table (h, w, 2) of canvas coordinates, read at `place`, points."""
    where = cv2.remap(table, place, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return cv2.remap(canvas, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _visibility(points: np.ndarray, vertices: np.ndarray, fit: FaceFit, head: HeadModel) -> np.ndarray:
    """How well the photo shows each vertex (R, C)."""
    seen = vertices @ fit.camera.rotation.T + fit.camera.translation
    normals = surface_normals(vertices, head) @ fit.camera.rotation.T
    facing = -(normals * seen).sum(1) / np.linalg.norm(seen, axis=1)
    shape = head.grid_shape
    return visibility(
        points.reshape(*shape, 2),
        seen[:, 2].reshape(shape),
        facing.reshape(shape),
        face_vertices(head).reshape(shape),
    )


def _never_mirrored(head: HeadModel, seen: np.ndarray) -> np.ndarray:
    """(R, C) 1 at eyes that the photo shows at all: a mirrored eye looks elsewhere than its fellow."""
    eyes = cv2.dilate(head.regions["eyes"].reshape(head.grid_shape), np.ones((3, 3), np.uint8))
    return np.clip(eyes * 1.5, 0, 1) * np.clip(seen * 10, 0, 1)


def _atlas(canvas: np.ndarray, surface: np.ndarray, seen: np.ndarray, head: HeadModel) -> np.ndarray:
    """The completed texture."""
    rows, columns = (_ATLAS_STEP * (n - 1) + 1 for n in head.grid_shape)
    x, y = np.meshgrid(np.arange(columns, dtype=np.float32), np.arange(rows, dtype=np.float32))
    place = np.stack([x, y], -1) / np.float32(_ATLAS_STEP)
    own = _sample(canvas, surface, place)
    flipped = head.mirror.reshape(head.grid_shape)
    mirrored = _sample(canvas, surface.reshape(-1, 2)[flipped], place)
    weights = [cv2.remap(w, place, None, cv2.INTER_LINEAR) for w in (seen, seen.ravel()[flipped])]
    return complete_atlas(own, weights[0], mirrored, weights[1])


def _background(
    points: np.ndarray, vertices: np.ndarray, canvas: Canvas, fit: FaceFit, head: HeadModel
) -> np.ndarray:
    """The table of what lies around the face."""
    depth = (vertices @ fit.camera.rotation.T + fit.camera.translation)[face_vertices(head), 2].mean()
    scale = fit.camera.focal / depth * canvas.scale
    return background_table(outline_of(points[face_vertices(head)], fit.camera.pose.roll, float(scale)))
