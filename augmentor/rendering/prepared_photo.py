"""Prepare a photo for rendering: where every point of the head lies in it, which of them it shows, its surroundings.

This takes some milliseconds, once per photo.
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
from augmentor.views.texture import (
    COARSE_STEP,
    atlas_step,
    complete_atlas,
    favour_better_side,
    inside_outline,
    own_weight,
    visibility,
)

_JAW = "jawOpen"
# The outline of a fitted head may be off by this many mm within OUTLINE_NEAR mm of a landmark, and by OUTLINE_SLOPE for
# each further mm, up to OUTLINE_FAR.
OUTLINE_DOUBT, OUTLINE_SLOPE = 6.0, 0.2
OUTLINE_NEAR, OUTLINE_FAR = 10.0, 70.0
OUTLINE_TURNS = (8.0, 35.0)  # degrees at which this begins to matter, and from which it matters in full
# An eye keeps the photo's own colours if this much of it is visible on average; below the first number it is mirrored.
EYE_SHOWN = (0.6, 0.85)


@dataclass(frozen=True, eq=False)
class PreparedPhoto:
    """Everything that renders need from one photo.

    Args:
        texture: (h, w, 4) uint8. The upper part is the canvas: the photo around the face, reduced, and continued beyond
            its edge. The lower part, from row `atlas_row` on, is the atlas: the face's colours laid out like the head's
            grid, with hidden ones completed. They form one picture so that a render reads it once. Channels are RGB and
            how much of the colour the photo itself shows, 0..255.
        atlas_row: first row of the atlas in `texture`.
        size: side of the renders, pixels.
        surface: (R, C, 3) float32, for each vertex of the head's grid: its place (x, y) in the canvas, pixels, and how
            much of its colour comes from there, 0..1.
        background: (N, N, 4) float32, see `augmentor.views.background.background_table`; the last two are unused.
        offset: (R, C, 4) float32 mm, the head in the photo minus the mean neutral head; the last is 0.
        landmark_offset: (68, 3) float32 mm, the same for the landmarks, moved to where on the skin they are detected.
        detector_offsets: (68, 3) float64 mm, the head's `landmark_offsets`.
        landmarks: (68, 2) float32, the detected landmarks in the canvas, (x, y) pixels.
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
        """The photo's part of `texture`, (h, w, 4); it may be continued to the right."""
        return self.texture[: self.atlas_row]


def prepare_photo(
    image: np.ndarray,
    landmarks: np.ndarray,
    head: HeadModel,
    size: int = 150,
    *,
    visible: np.ndarray | None = None,
) -> PreparedPhoto:
    """Fit the head to a photo and work out which parts of the head it shows.

    Deterministic; does not modify `image`.

    Args:
        image: (H, W, 3) uint8 RGB.
        landmarks: (68, 2) float32 (x, y) pixels, dlib's order.
        head: the head model, the same as the views'.
        size: side of the renders, pixels; larger faces are reduced to at most MAX_ENLARGEMENT times that.
        visible: (68,) which landmarks the photo shows, if the face source knows; see `augmentor.head.pose.fit_face`.

    Raises:
        PhotoError: `bad_pose`, no head fits the landmarks.
    """
    fit = fit_face(landmarks, head, image.shape[:2], visible=visible)
    canvas = photo_canvas(image, landmarks, size)
    with_ears = head.vertices(fit.identity, fit.expression)
    vertices = flatten_ears(with_ears, head)
    exact = register(landmarks, vertices, fit, head, visible)
    shown = _visibility(exact, vertices, fit, head)
    shown = favour_better_side(shown, head.mirror, fit.camera.turn.turn)
    points = canvas.from_photo(_inside_outline(exact, fit, head)).astype(np.float32)
    own = own_weight(shown, head.mirror, _never_mirrored(head, shown))
    offset = _seen_shape(vertices, exact, _known_depth(fit, head), fit.camera) - _flat(head)[0]
    outline = exact + fit.camera.project(with_ears) - fit.camera.project(vertices)
    return PreparedPhoto(
        texture=_stacked(canvas.image, _atlas(canvas.image, points, shown, own, head, atlas_step(size))),
        atlas_row=len(canvas.image),
        size=size,
        surface=np.dstack([points.reshape(*head.grid_shape, 2), own]),
        background=_four(_background(outline, canvas, fit, head)),
        offset=_four(offset.reshape(*head.grid_shape, 3)),
        landmark_offset=(offset[head.landmarks68] + head.landmark_offsets).astype(np.float32),
        detector_offsets=head.landmark_offsets,
        landmarks=canvas.from_photo(landmarks).astype(np.float32),
        fit=fit,
    )


def _visibility(exact: np.ndarray, vertices: np.ndarray, fit: FaceFit, head: HeadModel) -> np.ndarray:
    """Return how well the photo shows each vertex, (R, C)."""
    in_camera = vertices @ fit.camera.rotation.T + fit.camera.translation
    normals = surface_normals(vertices, head) @ fit.camera.rotation.T
    facing = -(normals * in_camera).sum(1) / np.linalg.norm(in_camera, axis=1)
    shape = head.grid_shape
    return visibility(
        exact.reshape(*shape, 2),
        in_camera[:, 2].reshape(shape),
        facing.reshape(shape),
        surface_vertices(head).reshape(shape),
        fit.camera.turn.turn,
    )


def _inside_outline(exact: np.ndarray, fit: FaceFit, head: HeadModel) -> np.ndarray:
    """Return where in the photo the vertices read their colours, (V, 2): within the outline, if the head is turned.

    A frontal photo has a well visible point for everything near its outline, or shows it nowhere.
    """
    turned = float(np.interp(abs(fit.camera.turn.turn), OUTLINE_TURNS, (0, 1)))
    if turned == 0:
        return exact
    pixels = fit.camera.focal / float(fit.camera.translation[2])
    grid = exact.reshape(*head.grid_shape, 2)
    return inside_outline(grid, turned * pixels * _outline_doubt(head)).reshape(-1, 2)


@lru_cache(maxsize=4)
def _outline_doubt(head: HeadModel) -> np.ndarray:
    """Return by how many mm the outline of a fitted head may be off at each vertex, (R, C)."""
    inner = head.mean[head.landmarks68[17:]]
    distance = np.linalg.norm(head.mean[:, None] - inner, axis=2).min(1)
    beyond = np.clip(distance - OUTLINE_NEAR, 0, OUTLINE_FAR - OUTLINE_NEAR)
    return (OUTLINE_DOUBT + OUTLINE_SLOPE * beyond).reshape(head.grid_shape).astype(np.float32)


def _never_mirrored(head: HeadModel, shown: np.ndarray) -> np.ndarray:
    """Return (R, C), 1 at eyes that the photo shows, because a mirrored eye would gaze in another direction.

    An eye is kept or mirrored as a whole: half an eye is none, and beside a hidden half lies the background.
    """
    eyes = cv2.dilate(head.regions["eyes"].reshape(head.grid_shape), np.ones((3, 3), np.uint8))
    kept = cv2.GaussianBlur(np.clip(eyes * 1.5, 0, 1), (0, 0), 0.8)
    middle = head.grid_shape[1] // 2
    for side in (slice(None, middle), slice(middle + 1, None)):
        average = float((eyes[:, side] * shown[:, side]).sum() / eyes[:, side].sum())
        kept[:, side] *= np.interp(average, EYE_SHOWN, (0, 1))
    return kept * np.clip(shown * 10, 0, 1)


def _known_depth(fit: FaceFit, head: HeadModel) -> np.ndarray:
    """Return the vertices (V, 3) whose depth can be trusted: the mean head's, with the jaw opened as in the photo.

    68 points from one side hardly say how far a nose protrudes; in a render from the side, the depth of the fitted
    shape would be noise.
    """
    mean, opened = _flat(head)
    weight = fit.expression[head.expression_names.index(_JAW)] if _JAW in head.expression_names else 0.0
    return mean + np.float32(weight) * opened


@lru_cache(maxsize=4)
def _flat(head: HeadModel) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean head (V, 3) with flattened ears, and the displacement (V, 3) of opening the jaw."""
    mean = flatten_ears(head.mean, head)
    if _JAW not in head.expression_names:
        return mean, np.zeros_like(mean)
    return mean, flatten_ears(head.vertices(None, head.expression_weights({_JAW: 1.0})), head) - mean


def _seen_shape(vertices: np.ndarray, exact: np.ndarray, deep: np.ndarray, camera: Camera) -> np.ndarray:
    """Move vertices across the line of sight to where the photo shows them, and take their depth from other vertices.

    Without the movement, a render at the photo's own pose would be pulled towards the model, and different people
    towards each other.

    Args:
        vertices: (V, 3) mm.
        exact: (V, 2), their true places in the photo, (x, y) pixels.
        deep: (V, 3) mm, the vertices that supply the depth.
        camera: the photo's camera.

    Returns:
        (V, 3) float32 mm.
    """
    depth = vertices @ camera.rotation[2] + camera.translation[2]
    across = (exact - camera.centre) * (depth / camera.focal)[:, None] - camera.translation[:2]
    moved = np.column_stack([across, deep @ camera.rotation[2]])
    return (moved @ camera.rotation).astype(np.float32)


def _atlas(
    canvas: np.ndarray, points: np.ndarray, shown: np.ndarray, own: np.ndarray, head: HeadModel, step: int
) -> np.ndarray:
    """Return the face's colours on its grid, `step` texels per cell: (step (R - 1) + 1, step (C - 1) + 1, 4).

    Colours are the photo's own where `own` (R, C) is 1, and completed ones where it is 0. The completed colours are
    computed at COARSE_STEP texels per cell, because they have no fine detail.
    """
    rows, columns = head.grid_shape
    own_points, other_points = (_four(p.reshape(rows, columns, 2)) for p in (points, points[head.mirror]))
    both = [_stretched(table, COARSE_STEP) for table in (own_points, other_points)]
    colours = [read(canvas, part[..., 0], part[..., 1])[..., :3] for part in both]
    other_shown = shown.ravel()[head.mirror].reshape(rows, columns)
    visible = [_stretched(part, COARSE_STEP) for part in (shown, other_shown)]
    completed = complete_atlas(colours[0], colours[1], visible[0], visible[1])
    place = _stretched(own_points, step)
    photo = read(canvas, *(cv2.extractChannel(place, channel) for channel in (0, 1)))
    share = _stretched(own, step)
    filled = _stretched(cv2.cvtColor(completed, cv2.COLOR_RGB2RGBA), step / COARSE_STEP)
    atlas = cv2.blendLinear(photo, filled, share, 1 - share)
    return cv2.insertChannel(cv2.convertScaleAbs(share, alpha=255), atlas, 3)


def _stretched(table: np.ndarray, step: float) -> np.ndarray:
    """Enlarge a table (h, w[, C]) bilinearly to `step` entries per step of the table; its corners stay its corners."""
    size = round(step * (table.shape[1] - 1)) + 1, round(step * (table.shape[0] - 1)) + 1
    return cv2.warpAffine(
        table, np.array([[step, 0, 0], [0, step, 0]], np.float64), size, borderMode=cv2.BORDER_REPLICATE
    )


def _stacked(canvas: np.ndarray, atlas: np.ndarray) -> np.ndarray:
    """Return the atlas below the canvas; the narrower of the two is continued to the right."""
    width = max(canvas.shape[1], atlas.shape[1])
    parts = (canvas, atlas)
    return np.concatenate(
        [cv2.copyMakeBorder(p, 0, 0, 0, width - p.shape[1], cv2.BORDER_REPLICATE) for p in parts]
    )


def _four(*parts: np.ndarray) -> np.ndarray:
    """Return parts (h, w, c) side by side in four channels (h, w, 4) float32, followed by zeros."""
    out = np.zeros((*parts[0].shape[:2], 4), np.float32)
    joined = np.concatenate(parts, 2)
    out[..., : joined.shape[2]] = joined
    return out


def _background(points: np.ndarray, canvas: Canvas, fit: FaceFit, head: HeadModel) -> np.ndarray:
    """Return the background table of the head from its vertices with ears (V, 2), in pixels of the photo."""
    scale = fit.camera.focal / float(fit.camera.translation[2]) * canvas.scale
    chosen = canvas.from_photo(points[surface_vertices(head)])
    return background_table(outline_of(chosen, fit.camera.turn.tilt, float(scale)))


def read(table: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Read a picture or a table bilinearly; beyond its edge, the edge continues.

    Args:
        table: (h, w, C). Four channels or one are read in half the time of two or three, so tables have four.
        x: (S, S) float32 columns.
        y: (S, S) float32 rows.

    Returns:
        (S, S, C).
    """
    return cv2.remap(table, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
