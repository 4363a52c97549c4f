"""A photo made ready to be rendered: where every point of the head lies in it, what it shows of it, its surroundings.

It costs some milliseconds, once per photo.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from augmentor.background import background_table, outline_of
from augmentor.canvas import Canvas, photo_canvas
from augmentor.head_model import HeadModel
from augmentor.pose import Camera, FaceFit, fit_face
from augmentor.registration import register
from augmentor.surface import flatten_ears, surface_normals, surface_vertices
from augmentor.texture import complete_atlas, own_weight, visibility

ATLAS_STEP = 2  # atlas texels per grid cell


@dataclass(frozen=True, eq=False)
class PreparedPhoto:
    """All that renders need of one photo.

    Args:
        canvas: (h, w, 4) uint8 RGBA, the photo around the face, reduced, continued beyond its edge.
        surface: (R, C, 4) float32, for each vertex of the head's grid: where it lies in the canvas (x, y), pixels, and
            how much of its colour comes from there, 0..1, the rest from `atlas`; the last is unused.
        atlas: (2 R - 1, 2 C - 1, 4) uint8 RGBA, completed texture laid out like the grid.
        background: (N, N, 4) float32, see `augmentor.background.background_table`; the last two are unused.
        offset: (V, 3) float32 mm, how the head as the photo shows it differs from the mean neutral one.
        landmarks: (68, 2) float32, the detected landmarks in the canvas, pixels.
        fit: the head fitted to the photo.
    """

    canvas: np.ndarray
    surface: np.ndarray
    atlas: np.ndarray
    background: np.ndarray
    offset: np.ndarray
    landmarks: np.ndarray
    fit: FaceFit


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
    with_ears = head.vertices(fit.identity, fit.expression)
    vertices = flatten_ears(with_ears, head)
    exact = register(landmarks, vertices, fit, head)
    points = canvas.from_photo(exact).astype(np.float32)
    seen = _visibility(points, vertices, fit, head)
    own = own_weight(seen, head.mirror, _never_mirrored(head, seen))
    return PreparedPhoto(
        canvas=canvas.image,
        surface=_four(points.reshape(*head.grid_shape, 2), own[..., None]),
        atlas=_atlas(canvas.image, points, seen, head),
        background=_four(_background(with_ears, canvas, fit, head)),
        offset=_seen_shape(vertices, exact, fit.camera) - flatten_ears(head.mean, head),
        landmarks=canvas.from_photo(landmarks).astype(np.float32),
        fit=fit,
    )


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
        surface_vertices(head).reshape(shape),
        fit.camera.pose.yaw,
    )


def _never_mirrored(head: HeadModel, seen: np.ndarray) -> np.ndarray:
    """(R, C) 1 at eyes that the photo shows at all: a mirrored eye looks elsewhere than its fellow."""
    eyes = cv2.dilate(head.regions["eyes"].reshape(head.grid_shape), np.ones((3, 3), np.uint8))
    return cv2.GaussianBlur(np.clip(eyes * 1.5, 0, 1), (0, 0), 0.8) * np.clip(seen * 10, 0, 1)


def _seen_shape(vertices: np.ndarray, exact: np.ndarray, camera: Camera) -> np.ndarray:
    """The vertices (V, 3) moved across the line of sight to where the photo shows them.

    Without it a render at the photo's own pose would be pulled towards the model, and people towards each other.
    """
    seen = vertices @ camera.rotation.T + camera.translation
    seen[:, :2] = (exact - camera.centre) * (seen[:, 2:] / camera.focal)
    return ((seen - camera.translation) @ camera.rotation).astype(np.float32)


def _atlas(canvas: np.ndarray, points: np.ndarray, seen: np.ndarray, head: HeadModel) -> np.ndarray:
    """The completed texture (2 R - 1, 2 C - 1, 4)."""
    rows, columns = head.grid_shape
    size = ATLAS_STEP * (columns - 1) + 1, ATLAS_STEP * (rows - 1) + 1
    atlas_from_grid = np.array([[ATLAS_STEP, 0, 0], [0, ATLAS_STEP, 0]], np.float64)
    own, mirrored = (
        cv2.warpAffine(_four(p.reshape(rows, columns, 2), s.reshape(rows, columns, 1)), atlas_from_grid, size)
        for p, s in ((points, seen), (points[head.mirror], seen.ravel()[head.mirror]))
    )
    own_colour, mirrored_colour = (
        read(canvas, part[..., 0], part[..., 1])[..., :3] for part in (own, mirrored)
    )
    completed = complete_atlas(own_colour, mirrored_colour, own[..., 2], mirrored[..., 2])
    return cv2.cvtColor(completed, cv2.COLOR_RGB2RGBA)


def _four(*parts: np.ndarray) -> np.ndarray:
    """Parts (h, w, c) side by side in four channels (h, w, 4) float32, zeros behind them."""
    out = np.zeros((*parts[0].shape[:2], 4), np.float32)
    joined = np.concatenate(parts, 2)
    out[..., : joined.shape[2]] = joined
    return out


def _background(with_ears: np.ndarray, canvas: Canvas, fit: FaceFit, head: HeadModel) -> np.ndarray:
    """The table of what lies around the head, its ears counting as head."""
    chosen = with_ears[surface_vertices(head)]
    scale = fit.camera.focal / float(fit.camera.translation[2]) * canvas.scale
    points = canvas.from_photo(fit.camera.project(chosen))
    return background_table(outline_of(points, fit.camera.pose.roll, float(scale)))


def read(table: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Read a picture or a table (h, w, C) bilinearly at places x, y (S, S) float32; beyond its edge the edge goes on.

    Tables have four channels or one, also where two or three were enough: OpenCV reads those in half the time.
    """
    return cv2.remap(table, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
