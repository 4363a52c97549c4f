"""Make a view of the head model: rasterise its surface at one shape, expression and pose.

Source:
    Masi et al., ECCV 2016. Differs: any shape that the model's modes can form, and any pose.
"""

import cv2
import numpy as np

from augmentor.faces.chip import CHIP_PADDING, chip_transform
from augmentor.faces.five_points import five_of_68
from augmentor.faces.point_offsets import point_offsets
from augmentor.head.head_model import HeadModel
from augmentor.head.pose import HeadPose, rotation_from_pose, turn_from_rotation
from augmentor.head.surface import flatten_ears, surface_normals, surface_triangles, surface_vertices
from augmentor.views.background import outline_of
from augmentor.views.raster import interpolate, rasterise
from augmentor.views.view import View, assemble_view, map_side, project
from augmentor.views.view_key import EXPRESSIONS, ViewKey

SHAPE_STD = 0.6  # relative to the population's; stronger draws make the face look like another person
# mm from the camera to the head; with little perspective, renders keep most of a likeness (decision 0015)
VIEW_DISTANCE = 6000.0
_SUPERSAMPLE = 2


def make_view(head: HeadModel, key: ViewKey, size: int = 150, padding: float = CHIP_PADDING) -> View:
    """Rasterise the head at `key`, aligned like every chip, by the five points that would be detected on it.

    Deterministic.

    Args:
        head: the head model.
        key: shape, expression and pose.
        size: side of the picture, pixels.
        padding: margin around the face, as a fraction of its size. Chips have little; a face detector needs more.

    Raises:
        InputError: the head model has no mode that the key's expression needs.
    """
    shape = shape_coefficients(head, key.shape)
    with_ears = head.vertices(shape, head.expression_weights(EXPRESSIONS[key.expression]))
    vertices = flatten_ears(with_ears, head)
    rotation = rotation_from_pose(HeadPose(yaw=key.yaw, pitch=key.pitch, roll=key.roll))
    landmarks = vertices[head.landmarks68] + head.landmark_offsets
    offsets = point_offsets(key.yaw, key.pitch, key.roll)
    projection, chip_from_mm = _chip_projection(landmarks, rotation, offsets, size, padding)
    points, depth = project(projection, vertices), vertices @ projection[2, :3] + projection[2, 3]
    normals = surface_normals(vertices, head)
    patch = surface_triangles(head)
    columns = head.grid_shape[1]
    place = np.stack([np.arange(len(vertices)) % columns, np.arange(len(vertices)) // columns], 1)
    side = _SUPERSAMPLE * map_side(size)
    fine_points = (points + 0.5) * (side / size) - 0.5
    triangle, weights = rasterise(fine_points, depth, patch, (side, side))
    values = np.concatenate([depth[:, None], place, vertices, normals], 1)
    fine = interpolate(triangle, weights, patch, values)
    pixel, face = _halve(fine, triangle >= 0)
    normal = pixel[..., 6:] / np.maximum(np.linalg.norm(pixel[..., 6:], axis=-1, keepdims=True), 1e-6)
    scale = float(np.linalg.norm(projection[0, :3]) / VIEW_DISTANCE)
    tilt = turn_from_rotation(rotation).tilt
    outline = outline_of(project(projection, with_ears[surface_vertices(head)]), tilt, scale)
    return assemble_view(
        key,
        size,
        padding,
        position=pixel[..., 3:6],
        normal=normal,
        grid=pixel[..., 1:3],
        face=face,
        projection=projection,
        outline=outline,
        head=head,
        vertices=flatten_ears(head.vertices(shape), head),
        points=points,
        landmarks_2d=project(projection, landmarks),
        landmarks_visible=_landmarks_visible(head, fine_points, depth, normals @ rotation.T, fine[..., 0]),
        point_offsets=offsets @ chip_from_mm.T,
    )


def shape_coefficients(head: HeadModel, shape: int) -> np.ndarray:
    """Return the identity coefficients (K,) of a view shape: zeros for the mean head, else a fixed random draw."""
    modes = len(head.identity_modes)
    if shape == 0:
        return np.zeros(modes, np.float32)
    return (SHAPE_STD * np.random.default_rng([20161008, shape]).standard_normal(modes)).astype(np.float32)


def _chip_projection(
    landmarks: np.ndarray, rotation: np.ndarray, offsets: np.ndarray, size: int, padding: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the camera (3, 4) that projects a head at `rotation` into the chip that its own points define.

    Args:
        landmarks: (68, 3) mm, model frame.
        rotation: (3, 3) camera_from_model.
        offsets: (5, 2) mm in the image, from the points of the landmarks to those that would be detected.
        size: side of the chip, pixels.
        padding: margin around the mean face.

    Returns:
        The camera, and the (2, 2) matrix that turns mm in the image into chip pixels.
    """
    camera = np.concatenate([rotation, [[0], [0], [VIEW_DISTANCE]]], 1)
    camera[:2] *= VIEW_DISTANCE  # one pixel per mm, before the chip's own scale
    chip_from_image = np.eye(3)
    chip_from_image[:2] = chip_transform(five_of_68(project(camera, landmarks)) + offsets, size, padding)
    return chip_from_image @ camera, chip_from_image[:2, :2]


def _halve(fine: np.ndarray, covered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Reduce values (2h, 2h, C) to (h, h, C), and the coverage to (h, h).

    Channel 0 is the depth, channels 1 and 2 are the place on the grid. Where the four samples differ much, one surface
    hides another; then only the samples of the front surface are averaged.
    """
    places = [(fine[y::2, x::2], covered[y::2, x::2]) for y in (0, 1) for x in (0, 1)]
    front, nearest = np.zeros_like(places[0][0]), np.full(places[0][1].shape, np.inf, np.float32)
    for values, here in places:
        nearer = here & (values[..., 0] < nearest)
        front[nearer], nearest[nearer] = values[nearer], values[nearer, 0]
    total, count = np.zeros_like(front), np.zeros_like(nearest)
    for values, here in places:
        near = np.abs(values[..., 1:3] - front[..., 1:3])
        same = here & (near[..., 0] < 3) & (near[..., 1] < 3)
        total += values * same[..., None]
        count += same
    coverage = sum(here.astype(np.float32) for _, here in places) / np.float32(4)
    face = cv2.GaussianBlur(coverage, (3, 3), 0.5) * (coverage > 0)
    return total / np.maximum(count, 1)[..., None], face


def _landmarks_visible(
    head: HeadModel, points: np.ndarray, depth: np.ndarray, normals: np.ndarray, fine_depth: np.ndarray
) -> np.ndarray:
    """Return (68,) bool: the surface faces the camera there, and nothing lies more than 4 mm in front of it."""
    ids = head.landmarks68
    spot = np.rint(points[ids]).astype(int)
    inside = ((spot >= 0) & (spot < len(fine_depth))).all(1)
    spot = np.clip(spot, 0, len(fine_depth) - 1)
    front = fine_depth[spot[:, 1], spot[:, 0]]
    hidden = inside & (front > 0) & (depth[ids] > front + 4.0)
    return (normals[ids, 2] < 0.1) & ~hidden
