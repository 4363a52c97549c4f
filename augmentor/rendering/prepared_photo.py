"""A photo made ready to be rendered: where every point of the head lies in it, what it shows of it, its surroundings.

It costs some milliseconds, once per photo.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from augmentor.head.head_model import HeadModel
from augmentor.head.pose import Camera, FaceFit, fit_face
from augmentor.head.registration import register
from augmentor.head.surface import flatten_ears, surface_normals, surface_vertices
from augmentor.rendering.canvas import Canvas, photo_canvas
from augmentor.views.background import background_table, outline_of
from augmentor.views.texture import COARSE_STEP, atlas_step, complete_atlas, own_weight, visibility

_JAW = "jawOpen"


@dataclass(frozen=True, eq=False)
class PreparedPhoto:
    """All that renders need of one photo.

    Args:
        texture: (h, w, 4) uint8. Above, the canvas: the photo around the face, reduced, continued beyond its edge.
            Below, from row `atlas_row` on, the atlas: the face's colours laid out like the head's grid, those that the
            photo hides completed. One picture, so that a render reads it once. RGB, and fourth how much of the colour
            the photo itself shows, 0..255.
        atlas_row: see `texture`.
        size: side of the renders, pixels.
        surface: (R, C, 3) float32, for each vertex of the head's grid: where it lies in the canvas (x, y), pixels, and
            how much of its colour comes from there, 0..1.
        background: (N, N, 4) float32, see `augmentor.views.background.background_table`; the last two are unused.
        offset: (R, C, 4) float32 mm, how the head as the photo shows it differs from the mean neutral one; the last
            is 0.
        landmark_offset: (68, 3) float32, the same of the landmarks, with where on the skin they are detected.
        detector_offsets: (68, 3) float64 mm, the head's `landmark_offsets`.
        landmarks: (68, 2) float32, the detected landmarks in the canvas, pixels.
        fit: the head fitted to the photo.
    """

    texture: np.ndarray
    atlas_row: int
    size: int
    surface: np.ndarray
    background: np.ndarray
    offset: np.ndarray
    landmark_offset: np.ndarray
    detector_offsets: np.ndarray
    landmarks: np.ndarray
    fit: FaceFit

    @property
    def canvas(self) -> np.ndarray:
        """(h, w, 4) the photo's part of `texture`; it may go on to the right."""
        return self.texture[: self.atlas_row]


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
    offset = _seen_shape(vertices, exact, _known_depth(fit, head), fit.camera) - _flat(head)[0]
    return PreparedPhoto(
        texture=_stacked(canvas.image, _atlas(canvas.image, points, seen, own, head, atlas_step(size))),
        atlas_row=len(canvas.image),
        size=size,
        surface=np.dstack([points.reshape(*head.grid_shape, 2), own]),
        background=_four(_background(with_ears, canvas, fit, head)),
        offset=_four(offset.reshape(*head.grid_shape, 3)),
        landmark_offset=(offset[head.landmarks68] + head.landmark_offsets).astype(np.float32),
        detector_offsets=head.landmark_offsets,
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


def _known_depth(fit: FaceFit, head: HeadModel) -> np.ndarray:
    """The vertices (V, 3) whose depth a photo can be believed: the mean head's, its jaw opened as in the photo.

    68 points seen from one side hardly tell how far a nose stands out; the depth that the fit gives to a shape is
    noise to a render from the side.
    """
    mean, opened = _flat(head)
    weight = fit.expression[head.expression_names.index(_JAW)] if _JAW in head.expression_names else 0.0
    return mean + np.float32(weight) * opened


@lru_cache(maxsize=4)
def _flat(head: HeadModel) -> tuple[np.ndarray, np.ndarray]:
    """The mean head (V, 3), its ears flattened, and what opening the jaw adds to it."""
    mean = flatten_ears(head.mean, head)
    if _JAW not in head.expression_names:
        return mean, np.zeros_like(mean)
    return mean, flatten_ears(head.vertices(None, head.expression_weights({_JAW: 1.0})), head) - mean


def _seen_shape(vertices: np.ndarray, exact: np.ndarray, deep: np.ndarray, camera: Camera) -> np.ndarray:
    """The vertices (V, 3) moved across the line of sight to where the photo shows them, as deep as others are.

    Without the movement a render at the photo's own pose would be pulled towards the model, and people towards each
    other.

    Args:
        vertices: (V, 3) mm.
        exact: (V, 2) photo pixels, where they are.
        deep: (V, 3) mm, vertices that tell the depth.
        camera: of the photo.
    """
    depth = vertices @ camera.rotation[2] + camera.translation[2]
    across = (exact - camera.centre) * (depth / camera.focal)[:, None] - camera.translation[:2]
    seen = np.column_stack([across, deep @ camera.rotation[2]])
    return (seen @ camera.rotation).astype(np.float32)


def _atlas(
    canvas: np.ndarray, points: np.ndarray, seen: np.ndarray, own: np.ndarray, head: HeadModel, step: int
) -> np.ndarray:
    """The face's colours on its grid, `step` texels per cell: (step (R - 1) + 1, step (C - 1) + 1, 4).

    The photo's own where `own` (R, C) is 1, completed ones where it is 0. What is completed is worked out at
    COARSE_STEP texels per cell: it holds no detail that would be missed.
    """
    rows, columns = head.grid_shape
    own_points, other_points = (_four(p.reshape(rows, columns, 2)) for p in (points, points[head.mirror]))
    both = [_stretched(table, COARSE_STEP) for table in (own_points, other_points)]
    colours = [read(canvas, part[..., 0], part[..., 1])[..., :3] for part in both]
    other_seen = seen.ravel()[head.mirror].reshape(rows, columns)
    shown = [_stretched(part, COARSE_STEP) for part in (seen, other_seen)]
    completed = complete_atlas(colours[0], colours[1], shown[0], shown[1])
    place = _stretched(own_points, step)
    photo = read(canvas, *(cv2.extractChannel(place, channel) for channel in (0, 1)))
    share = _stretched(own, step)
    filled = _stretched(cv2.cvtColor(completed, cv2.COLOR_RGB2RGBA), step / COARSE_STEP)
    atlas = cv2.blendLinear(photo, filled, share, 1 - share)
    return cv2.insertChannel(cv2.convertScaleAbs(share, alpha=255), atlas, 3)


def _stretched(table: np.ndarray, step: float) -> np.ndarray:
    """A table (h, w[, C]) with `step` entries from one to the next, read bilinearly; its ends stay its ends."""
    size = round(step * (table.shape[1] - 1)) + 1, round(step * (table.shape[0] - 1)) + 1
    return cv2.warpAffine(
        table, np.array([[step, 0, 0], [0, step, 0]], np.float64), size, borderMode=cv2.BORDER_REPLICATE
    )


def _stacked(canvas: np.ndarray, atlas: np.ndarray) -> np.ndarray:
    """The atlas below the canvas; the narrower of the two goes on to the right."""
    width = max(canvas.shape[1], atlas.shape[1])
    parts = (canvas, atlas)
    return np.concatenate(
        [cv2.copyMakeBorder(p, 0, 0, 0, width - p.shape[1], cv2.BORDER_REPLICATE) for p in parts]
    )


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
