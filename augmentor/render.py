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
from augmentor.detector_offsets import detector_offsets
from augmentor.head_model import HeadModel
from augmentor.pose import Camera, FaceFit, fit_face
from augmentor.registration import register
from augmentor.surface import flatten_ears, surface_normals, surface_vertices
from augmentor.texture import complete_atlas, own_weight, visibility
from augmentor.view import AS_PHOTO, OWN_PITCH, OWN_YAW, PROFILE_YAW, View, ViewKey, project

PROFILE_LEAST_YAW = 10.0  # a photo turned beyond PROFILE_YAW is rendered to its own side, at least this far
_ATLAS_STEP = 2  # atlas texels per grid cell
# The undamped iteration diverges where a mouth opens by more than it is open in the view. Damped it ends within 0.1 px.
_ITERATIONS, _DAMPING = 5, np.float32(0.6)
_SHIFT_BLUR = 0.8
_EDGE_CELLS = 1.5  # grid cells between neighbouring pixels: more is an edge of the surface


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
        fit: the head fitted to the photo.
    """

    canvas: np.ndarray
    surface: np.ndarray
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
        return bool(key.yaw * np.sign(photo_yaw) >= PROFILE_LEAST_YAW)
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
        fit=fit,
    )


def render_view(photo: PreparedPhoto, view: View) -> RenderedView:
    """Render a prepared photo into a view.

    Deterministic: the same photo and view give the same bytes.
    """
    places, share, landmarks = view.places, view.face, view.landmarks_2d
    if view.key.expression == AS_PHOTO:
        places, share, landmarks = _as_photo(photo, view)
    grid = np.ascontiguousarray(places[..., :2])
    surface = _look_up(photo.surface, grid)
    own = cv2.extractChannel(surface, 2)
    image = _look_up(photo.canvas, surface[..., :2])
    if (own[share > 0] < 0.99).any():
        image = cv2.blendLinear(image, _look_up(photo.atlas, grid * _ATLAS_STEP), own, 1 - own)
    around = _look_up(photo.canvas, _look_up(photo.background, places[..., 2:])[..., :2])
    return RenderedView(
        image=cv2.cvtColor(cv2.blendLinear(image, around, share, 1 - share), cv2.COLOR_RGBA2RGB),
        visible=(own > 0.5) | (share < 0.5),
        landmarks_2d=landmarks,
        landmarks_visible=view.landmarks_visible,
    )


def _look_up(table: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Read a picture or a table (h, w, 4) at places (S, S, 2), bilinearly; beyond its edge the edge goes on.

    Four channels, also where fewer are needed: OpenCV reads them in half the time of two or three.
    """
    place = np.ascontiguousarray(place)
    return cv2.remap(table, place, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _as_photo(photo: PreparedPhoto, view: View) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The view's places, face and landmarks for the photo's own shape and expression.

    Every surface point of the view moves in the picture; where a pixel's content comes from is found by fixed-point
    iteration, since the movement is smooth. It is done at half the resolution.
    """
    head = view.vertices + photo.offset
    points = project(view.projection, head)
    landmarks = project(view.projection, head[view.landmarks68] + detector_offsets())
    chip_from_view = chip_transform(landmarks, view.size)
    points, landmarks = (p @ chip_from_view[:, :2].T + chip_from_view[:, 2] for p in (points, landmarks))
    moved = np.zeros((*photo.surface.shape[:2], 4), np.float32)
    moved[..., :2] = (points.astype(np.float32) - view.points).reshape(*photo.surface.shape[:2], 2)
    shift = _continue_shift(_look_up(moved, view.places[::2, ::2, :2])[..., :2], view.face[::2, ::2])
    pixel = _pixels(len(shift))
    source = pixel - shift / 2
    for _ in range(_ITERATIONS):
        moved = cv2.remap(shift, source, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        source = (1 - _DAMPING) * source + _DAMPING * (pixel - moved / 2)
    moved = _pixels(view.size) - _enlarge(pixel - source, view.size)
    return _warp_places(view.places, moved), _look_up(view.face, moved), landmarks.astype(np.float32)


def _warp_places(places: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Places read at `source` (S, S, 2), without mixing what lies on both sides of an edge (nose and cheek)."""
    smooth = _look_up(places, source)
    nearest = cv2.remap(places, source, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    apart = cv2.absdiff(smooth, nearest)
    torn = cv2.max(cv2.extractChannel(apart, 0), cv2.extractChannel(apart, 1)) > _EDGE_CELLS
    return cv2.copyTo(nearest, torn.view(np.uint8), smooth)


def _enlarge(shift: np.ndarray, size: int) -> np.ndarray:
    """A movement known at every second pixel, in its pixels, at every pixel (S, S, 2)."""
    half_from_whole = np.array([[0.5, 0, 0], [0, 0.5, 0]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return 2 * cv2.warpAffine(
        shift, half_from_whole, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )


def _continue_shift(shift: np.ndarray, face: np.ndarray) -> np.ndarray:
    """Continue a movement (S, S, 2) of the face smoothly around it."""
    small = (face.shape[1] // 2, face.shape[0] // 2)
    weight = cv2.resize(face, small, interpolation=cv2.INTER_AREA)
    total = cv2.resize(shift * face[..., None], small, interpolation=cv2.INTER_AREA)
    weight, total = cv2.GaussianBlur(weight, (0, 0), 4), cv2.GaussianBlur(total, (0, 0), 4)
    around = cv2.resize(total / (weight + 1e-3)[..., None], face.shape[::-1], interpolation=cv2.INTER_LINEAR)
    # blurred a little: where the nose's edge passes before the cheek the two move differently
    return cv2.GaussianBlur(np.where(face[..., None] > 0, shift, around), (0, 0), _SHIFT_BLUR)


@lru_cache(maxsize=4)
def _pixels(size: int) -> np.ndarray:
    """Every pixel's own coordinates (S, S, 2) float32."""
    x, y = np.meshgrid(np.arange(size, dtype=np.float32), np.arange(size, dtype=np.float32))
    return np.stack([x, y], -1)


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
    size = _ATLAS_STEP * (columns - 1) + 1, _ATLAS_STEP * (rows - 1) + 1
    atlas_from_grid = np.array([[_ATLAS_STEP, 0, 0], [0, _ATLAS_STEP, 0]], np.float64)
    own, mirrored = (
        cv2.warpAffine(_four(p.reshape(rows, columns, 2), s.reshape(rows, columns, 1)), atlas_from_grid, size)
        for p, s in ((points, seen), (points[head.mirror], seen.ravel()[head.mirror]))
    )
    own_colour, mirrored_colour = (_look_up(canvas, part[..., :2])[..., :3] for part in (own, mirrored))
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
