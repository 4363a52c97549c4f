"""Read the rendered-view models of Masi et al. 2016 (`model3D_aug_*.mat`) as ready views.

Such a file holds one face shape at one pose as a picture of 3-D points. It has no modes and no places on a grid, so the
head model is fitted to its landmarks, and each pixel gets the grid place of the surface point nearest to its own. The
grid place tells what a photo hides. The visible part is rendered as in the paper: a camera fitted to the photo's
landmarks and the model's projects the points (`BY_POSITION`).

Source:
    Masi et al., "Do We Really Need to Collect Millions of Faces for Effective Face Recognition?", ECCV 2016, and the
    file format of its published code: `refU` (H, W, 3) points in mm, `facemask` 1-based column-major pixels of the
    face, `threedee` the 68 landmarks except those listed (1-based) in `indbad`, `ref_XY` their places in the picture.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import scipy.io
from scipy.spatial import cKDTree

from augmentor.errors import InputError
from augmentor.faces.chip import CHIP_PADDING, chip_transform
from augmentor.faces.five_points import five_of_68
from augmentor.faces.point_offsets import point_offsets
from augmentor.head.head_model import HeadModel
from augmentor.head.pose import pose_from_rotation, turn_from_rotation
from augmentor.head.registration import displacement_basis
from augmentor.head.surface import flatten_ears, surface_vertices
from augmentor.views.background import outline_of
from augmentor.views.view import View, assemble_view, map_side, project
from augmentor.views.view_key import BY_POSITION, VIEW_SHAPES, ViewKey

_ROUNDS = 6
_LANDMARK_NOISE = 2.0  # mm; the fit weighs it against identity coefficients of one standard deviation
_GRID_BLUR = 1.5  # pixels; without it the nearest surface point would jump from triangle to triangle
_FINE = 4  # points per grid cell and direction of the surface that is searched for the nearest point


@dataclass(frozen=True, eq=False)
class MatModel:
    """The content of a file, in this project's conventions (0-based, row-major).

    Args:
        position: (H, W, 3) float64 mm; x right, y down, z away.
        face: (H, W) bool.
        points: (68, 3) float64 mm, nan where the file lacks the landmark.
        pixels: (68, 2) float64, the same landmarks in (x, y) pixels of the picture.
        shape: number of the published shape, from the file's name; 1 if the name has none.
    """

    position: np.ndarray
    face: np.ndarray
    points: np.ndarray
    pixels: np.ndarray
    shape: int


def load_mat_views(directory: str | Path, head: HeadModel, size: int = 150) -> list[View]:
    """Load every `.mat` model in a folder as a view, ordered by file name.

    Args:
        directory: the folder with the files, as in `views:DIR`.
        head: the head model that photos will be prepared with.
        size: side of the renders, pixels.

    Raises:
        InputError: there is no such folder, it has no `.mat` file, a file is not such a model, or two files are the
            same view.
    """
    files = sorted(Path(directory).glob("*.mat"))
    if not files:
        raise InputError(
            f"{directory}: no .mat view models in this folder; --head-model views:DIR names the folder that has them"
        )
    views = [mat_view(read_mat_model(file), head, size) for file in files]
    names: dict[str, Path] = {}
    for view, file in zip(views, files, strict=True):
        if view.key.name in names:
            raise InputError(
                f"{file}: the same shape and pose as {names[view.key.name].name}; remove one of them"
            )
        names[view.key.name] = file
    return views


def read_mat_model(file: Path) -> MatModel:
    """Read one file.

    Raises:
        InputError: the file cannot be read, or is not such a model.
    """
    try:
        model = scipy.io.loadmat(file, squeeze_me=False)["model3D"][0, 0]
        position = np.asarray(model["refU"], np.float64)
        missing = np.asarray(model["indbad"]).ravel().astype(int) - 1
        present = np.setdiff1d(np.arange(68), missing)
        points, pixels = np.full((68, 3), np.nan), np.full((68, 2), np.nan)
        points[present] = model["threedee"]
        pixels[present] = np.asarray(model["ref_XY"], np.float64) - 1
        height, width, _ = position.shape
        face = np.zeros(height * width, bool)
        face[np.asarray(model["facemask"]).ravel().astype(int) - 1] = True
        face = face.reshape((height, width), order="F")
    except (OSError, ValueError, KeyError, IndexError, TypeError, NotImplementedError) as error:
        raise InputError(f"{file}: not a rendered-view model of Masi et al. ({error})") from error
    number = re.search(r"_(\d+)\.mat$", file.name)
    return MatModel(position, face, points, pixels, int(number[1]) if number else 1)


def mat_view(model: MatModel, head: HeadModel, size: int = 150) -> View:
    """Turn a model into a view of `head`.

    Raises:
        InputError: no camera projects the model's points to its pixels.
    """
    model_from_head, vertices, landmarks = _lay_over(model, head)
    projection = _projection(model) @ model_from_head
    rotation, scale = _camera(projection)
    pose = pose_from_rotation(rotation)
    offsets = point_offsets(pose.yaw, pose.pitch, pose.roll) * scale
    chip_from_picture = chip_transform(five_of_68(project(projection, landmarks)) + offsets, size)
    projection = np.vstack([chip_from_picture, [0, 0, 1]]) @ projection
    side = map_side(size)
    map_from_chip = np.array(
        [[side / size, 0, side / size / 2 - 0.5], [0, side / size, side / size / 2 - 0.5]]
    )
    map_from_picture = map_from_chip @ np.vstack([chip_from_picture, [0, 0, 1]])
    position, face = _resample(model, model_from_head, map_from_picture, side)
    points = project(projection, vertices)
    rotation, scale = _camera(projection)
    key = ViewKey(
        shape=(model.shape - 1) % VIEW_SHAPES,
        expression=BY_POSITION,
        yaw=float(round(pose.yaw)),
        pitch=float(round(pose.pitch)),
        roll=float(round(pose.roll)),
    )
    normal = _normals(position, rotation)
    tilt = turn_from_rotation(rotation).tilt
    outline = outline_of(points[surface_vertices(head)], tilt, scale)
    return assemble_view(
        key,
        size,
        CHIP_PADDING,
        position=position,
        normal=normal,
        grid=_places(position, face, vertices, head),
        face=face,
        projection=projection,
        outline=outline,
        head=head,
        vertices=vertices,
        points=points,
        landmarks_2d=project(projection, landmarks),
        landmarks_visible=np.isfinite(model.points).all(1),
        point_offsets=offsets @ chip_from_picture[:, :2].T,
    )


def _projection(model: MatModel) -> np.ndarray:
    """Return the camera (3, 4) that took the picture, from its pixels and their points (direct linear transform)."""
    y, x = np.nonzero(model.face)
    points = np.concatenate([model.position[model.face], np.ones((len(x), 1))], 1)
    middle, spread = points[:, :3].mean(0), points[:, :3].std()
    centred = np.eye(4)
    centred[:3, :3], centred[:3, 3] = np.eye(3) / spread, -middle / spread
    homogeneous = points @ centred.T
    half = np.array(model.face.shape[::-1]) / 2
    u, v = (x - half[0]) / half[0], (y - half[1]) / half[1]
    zero = np.zeros_like(homogeneous)
    rows = np.concatenate(
        [
            np.concatenate([homogeneous, zero, -u[:, None] * homogeneous], 1),
            np.concatenate([zero, homogeneous, -v[:, None] * homogeneous], 1),
        ]
    )
    _, _, vectors = np.linalg.svd(rows.T @ rows)
    pixels_from_unit = np.array([[half[0], 0, half[0]], [0, half[1], half[1]], [0, 0, 1]])
    projection = pixels_from_unit @ vectors[-1].reshape(3, 4) @ centred
    projection *= np.sign(projection[2, :3] @ middle + projection[2, 3]) / np.linalg.norm(projection[2, :3])
    off = np.linalg.norm(project(projection, points[:, :3]) - np.stack([x, y], 1), axis=1)
    if not np.median(off) < 1:
        raise InputError(
            f"a view model's points are {np.median(off):.1f} px off its pixels: not a rendered view"
        )
    return projection


def _camera(projection: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the rotation (camera from model) of a (3, 4) projection, and its pixels per mm at the model's origin."""
    _, rotation, *_ = cv2.decomposeProjectionMatrix(projection)
    if rotation[2] @ projection[2, :3] < 0 or np.linalg.det(rotation) < 0:
        rotation = -rotation
    depth = projection[2, 3] / np.linalg.norm(projection[2, :3])
    return rotation, float(np.sqrt(np.linalg.norm(np.cross(projection[0, :3], projection[1, :3]))) / depth)


def _lay_over(model: MatModel, head: HeadModel) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit the head to the model's landmarks.

    Returns:
        model_from_head (4, 4), a similarity; vertices (V, 3) and landmarks (68, 3) of the head in its own frame.
    """
    known = np.isfinite(model.points).all(1)
    offsets = head.landmark_offsets
    modes = head.landmark_identity_modes[:, known].reshape(len(head.identity_modes), -1).astype(np.float64)
    identity = np.zeros(len(modes))
    for _ in range(_ROUNDS):
        landmarks = head.landmarks(identity) + offsets
        model_from_head = _similarity(landmarks[known], model.points[known])
        target = _transform(np.linalg.inv(model_from_head), model.points[known])
        missing = (target - (head.landmarks() + offsets)[known]).ravel()
        system = modes @ modes.T + _LANDMARK_NOISE**2 * np.eye(len(modes))
        identity = np.linalg.solve(system, modes @ missing)
    basis = displacement_basis(head, tuple(head.landmarks68[:17].tolist()))[known]
    residual = target - (head.landmarks(identity) + offsets)[known]
    # Contour landmarks lie anywhere along the outline, so they bind less.
    slack = np.where(np.arange(68) < 17, 0.5, 0.05)[known]
    weights = np.linalg.solve(basis[:, head.landmarks68[known]].T + np.diag(slack), residual)
    vertices = head.vertices(identity) + (basis.T @ weights).astype(np.float32)
    return model_from_head, flatten_ears(vertices, head), vertices[head.landmarks68] + offsets


def _similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the similarity (4, 4) that best maps points (N, 3) to others (Umeyama, PAMI 1991)."""
    a, b = source - source.mean(0), target - target.mean(0)
    u, size, vt = np.linalg.svd(b.T @ a)
    sign = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    rotation = u * sign @ vt
    scale = (size * sign).sum() / (a**2).sum()
    out = np.eye(4)
    out[:3, :3] = scale * rotation
    out[:3, 3] = target.mean(0) - scale * rotation @ source.mean(0)
    return out


def _transform(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Transform points (..., 3) by a (4, 4) similarity."""
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def _resample(
    model: MatModel, model_from_head: np.ndarray, map_from_picture: np.ndarray, side: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the position map (h, h, 3) in the head's frame and the face mask (h, h), both float32."""
    mask = model.face.astype(np.float32)
    points = _transform(np.linalg.inv(model_from_head), model.position)
    weighted = np.concatenate([points * mask[..., None], mask[..., None]], 2).astype(np.float32)
    warped = cv2.warpAffine(weighted, map_from_picture, (side, side), flags=cv2.INTER_LINEAR)
    face = np.where(warped[..., 3] > 1e-3, warped[..., 3], 0)
    return warped[..., :3] / np.maximum(face, 1e-3)[..., None], face


def _normals(position: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Return the unit normals (S, S, 3) of a position map, towards the camera."""
    smooth = cv2.GaussianBlur(position, (0, 0), 1.0)
    normal = np.cross(np.gradient(smooth, axis=0), np.gradient(smooth, axis=1))
    normal /= np.maximum(np.linalg.norm(normal, axis=2, keepdims=True), 1e-9)
    return normal * -np.sign(normal @ rotation[2])[..., None]


def _places(position: np.ndarray, face: np.ndarray, vertices: np.ndarray, head: HeadModel) -> np.ndarray:
    """Return the grid place (S, S, 2) of the surface point nearest to each pixel of the face."""
    rows, columns = head.grid_shape
    fine = (_FINE * (columns - 1) + 1, _FINE * (rows - 1) + 1)
    surface = np.concatenate([vertices, surface_vertices(head)[:, None]], 1).astype(np.float32)
    stretch = np.array([[_FINE, 0, 0], [0, _FINE, 0]], np.float64)
    dense = cv2.warpAffine(surface.reshape(rows, columns, 4), stretch, fine)
    row, column = np.nonzero(dense[..., 3] > 0.99)
    _, nearest = cKDTree(dense[row, column, :3]).query(position[face > 0])
    known = np.zeros((*face.shape, 3), np.float32)
    known[face > 0] = np.stack([column[nearest] / _FINE, row[nearest] / _FINE, np.ones(len(nearest))], 1)
    smooth = cv2.GaussianBlur(known, (0, 0), _GRID_BLUR)
    return smooth[..., :2] / np.maximum(smooth[..., 2:], 1e-6)
