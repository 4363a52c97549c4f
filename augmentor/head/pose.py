"""Head pose and camera from 68 landmarks, and the face shape and expression that explain them.

Convention:
    Camera frame: x image-right, y down, z away from the camera; millimetres. Model frame: the same axes, at the head.
    Degrees; R = Rz(roll) @ Ry(yaw) @ Rx(pitch); zero = frontal.
    +yaw: nose to image left; +pitch: nose down; +roll: clockwise as seen in the image.
    HeadPose(30, 0, 0) takes the nose's direction (0, 0, -1) to (-0.5, 0, -0.866).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from augmentor.errors import InputError, PhotoError
from augmentor.head.head_model import HeadModel

# Photos rarely tell their focal length, and cropped ones cannot. The head is taken to be as far away as in a
# portrait, unless the picture is so wide that this would make a fish-eye of it.
PORTRAIT_DISTANCE = 1500.0  # mm, to the face: between a telephone held out and a press photographer
MIN_FOCAL = 1.0  # of the longer side
MAX_YAW, MAX_PITCH, MAX_ROLL = 100.0, 65.0, 100.0
# Root mean square reprojection error beyond which the points are no face, as a share of their spread.
MAX_RESIDUAL_POINTS, MAX_RESIDUAL_FIT = 0.30, 0.16

CONTOUR = np.arange(17)
# How far a landmark is trusted. Detectors put contour points somewhere along the outline rather than at a place of the
# skin: across the outline they count in part, along it hardly.
_CONTOUR_ACROSS, _CONTOUR_ALONG = 0.25, 0.08
# Landmark noise (mm on the face) against which coefficients of one standard deviation are weighed; beyond twice this,
# a residual counts linearly.
_NOISE_MM = 2.0
_HUBER = 2.0
_EXPRESSION_STD = 0.35
# 68 points tell little about identity modes beyond these; theirs stay 0.
_FITTED_IDENTITY_MODES = 40


@dataclass(frozen=True)
class HeadPose:
    """Head rotation in degrees, see the module's convention."""

    yaw: float
    pitch: float
    roll: float


@dataclass(frozen=True)
class Camera:
    """A pinhole camera that sees the head's model frame.

    Attributes:
        rotation: (3, 3) camera_from_model.
        translation: (3,) mm.
        focal: pixels.
        centre: (2,) principal point (x, y), pixels.
    """

    rotation: np.ndarray
    translation: np.ndarray
    focal: float
    centre: np.ndarray

    @property
    def pose(self) -> HeadPose:
        """The rotation as angles."""
        return pose_from_rotation(self.rotation)

    def project(self, points: np.ndarray) -> np.ndarray:
        """Model points (..., 3) mm to pixels (..., 2) float32."""
        seen = points @ self.rotation.T + self.translation
        return (seen[..., :2] * (self.focal / seen[..., 2:]) + self.centre).astype(np.float32)


@dataclass(frozen=True)
class FaceFit:
    """What 68 landmarks tell.

    Attributes:
        camera: of the photo, in the head's model frame.
        identity: (K,) float32, standard deviations.
        expression: (E,) float32, 0..1.
        landmarks_2d: (68, 2) float32 where the fitted head's landmark vertices project.
        residual_px: root mean square distance from the landmarks to what explains them, contour points counting less.
    """

    camera: Camera
    identity: np.ndarray
    expression: np.ndarray
    landmarks_2d: np.ndarray
    residual_px: float


def rotation_from_pose(pose: HeadPose) -> np.ndarray:
    """R = Rz(roll) @ Ry(yaw) @ Rx(pitch), (3, 3) float64."""
    (sy, sp, sr), (cy, cp, cr) = (f(np.radians([pose.yaw, pose.pitch, pose.roll])) for f in (np.sin, np.cos))
    return np.array(
        [
            [cr * cy, cr * sy * sp - sr * cp, cr * sy * cp + sr * sp],
            [sr * cy, sr * sy * sp + cr * cp, sr * sy * cp - cr * sp],
            [-sy, cy * sp, cy * cp],
        ]
    )


def pose_from_rotation(rotation: np.ndarray) -> HeadPose:
    """Angles of a rotation matrix: |yaw| <= 90; at yaw ±90, where pitch and roll are one, roll is 0."""
    cos_yaw = float(np.hypot(rotation[0, 0], rotation[1, 0]))
    yaw = np.arctan2(-rotation[2, 0], cos_yaw)
    if cos_yaw > 1e-7:
        pitch = np.arctan2(rotation[2, 1], rotation[2, 2])
        roll = np.arctan2(rotation[1, 0], rotation[0, 0])
    else:
        pitch, roll = np.arctan2(-rotation[1, 2], rotation[1, 1]), 0.0
    return HeadPose(*(float(np.degrees(angle)) for angle in (yaw, pitch, roll)))


def estimate_camera(
    landmarks: np.ndarray, points: np.ndarray, image_size: tuple[int, int], *, focal: float | None = None
) -> Camera:
    """Camera that sees 68 model points where the landmarks are.

    A scaled orthographic camera in closed form, then Levenberg-Marquardt on the pinhole camera; contour points count
    less.

    Args:
        landmarks: (68, 2) pixels, dlib's order.
        points: (68, 3) mm, model frame.
        image_size: (height, width).
        focal: pixels, where it is known; else the head is put at PORTRAIT_DISTANCE.

    Raises:
        InputError: wrong shapes.
        PhotoError: `bad_pose`, the points are no face or its rotation is not one of a face in a photo.
    """
    landmarks = _checked(landmarks)
    if points.shape != (68, 3):
        raise InputError(f"expected (68, 3) model points, got {points.shape}")
    points = points.astype(float)
    camera = _orthographic_camera(landmarks, points, image_size, focal)
    camera = _refine(camera, landmarks, points, _weights(camera, points), iterations=8)
    _check(camera, landmarks, points, _weights(camera, points), MAX_RESIDUAL_POINTS)
    return camera


def fit_face(
    landmarks: np.ndarray,
    head: HeadModel,
    image_size: tuple[int, int],
    *,
    detected: bool = True,
    rounds: int = 2,
) -> FaceFit:
    """Camera, face shape and expression that explain 68 landmarks.

    Each round re-picks the points of the head that form its outline, then takes one Gauss-Newton step for camera and
    coefficients together: robust least squares with a normal prior, expressions kept within 0..1.

    Args:
        landmarks: (68, 2) pixels, dlib's order.
        head: the head model.
        image_size: (height, width).
        detected: whether a face source detected the landmarks, so that the head's `landmark_offsets` apply; false for
            true projections of the model's landmarks.
        rounds: how often; a third one hardly moves anything.

    Raises:
        InputError: wrong shape.
        PhotoError: `bad_pose`.

    Source:
        Outline points: after Zhu et al., "Face Alignment Across Large Poses", CVPR 2016, section 4.1 (landmark
        marching); differs: candidates are the grid's own rows.
    """
    landmarks = _checked(landmarks)
    tables = _fitting_tables(head, detected)
    mean = tables.mean[tables.landmarks]
    camera = _orthographic_camera(landmarks, mean, image_size, None)
    camera = _refine(camera, landmarks, mean, _weights(camera, mean), iterations=1)
    _check(camera, landmarks, mean, _weights(camera, mean), MAX_RESIDUAL_POINTS)
    coefficients = np.zeros(len(tables.prior))
    for _ in range(rounds):
        chosen = _outline(camera, tables.mean + tables.modes @ coefficients, tables)
        camera, coefficients = _step(camera, coefficients, landmarks, tables, chosen)
    points = tables.mean[chosen] + tables.modes[chosen] @ coefficients
    residual = _check(camera, landmarks, points, _weights(camera, points), MAX_RESIDUAL_FIT)
    identity = np.zeros(len(head.identity_modes), np.float32)
    identity[: tables.identity_count] = coefficients[: tables.identity_count]
    expression = coefficients[tables.identity_count :].astype(np.float32)
    return FaceFit(
        camera=camera,
        identity=identity,
        expression=expression,
        landmarks_2d=camera.project(head.landmarks(identity, expression)),
        residual_px=residual,
    )


@dataclass(frozen=True)
class _FittingTables:
    """The few vertices of the head that fitting looks at: the landmarks, then the candidates for the outline.

    Attributes:
        mean: (N, 3); modes: (N, 3, F + E), float64 mm; F identity modes are fitted.
        prior: (F + E,) standard deviations of the coefficients; identity_count: F.
        landmarks: (68,) places in `mean`; outline: (17, M) candidates for each contour landmark.
    """

    mean: np.ndarray
    modes: np.ndarray
    prior: np.ndarray
    identity_count: int
    landmarks: np.ndarray
    outline: np.ndarray


# From a contour landmark along its row to this share of the way to the middle: further on are nose and lips.
_OUTLINE_REACH = 0.7
_OUTLINE_CANDIDATES = 12


@lru_cache(maxsize=8)
def _fitting_tables(head: HeadModel, detected: bool) -> _FittingTables:
    """Gather those vertices once per head model; as the detector sees them, if `detected`."""
    cols = head.grid_shape[1]
    row, column = np.divmod(head.landmarks68[CONTOUR], cols)
    inwards = np.linspace(0, _OUTLINE_REACH, _OUTLINE_CANDIDATES)
    along = np.round(column[:, None] + (cols // 2 - column[:, None]) * inwards).astype(int)
    vertices = np.concatenate([head.landmarks68, (row[:, None] * cols + along).ravel()])
    identity_count = min(len(head.identity_modes), _FITTED_IDENTITY_MODES)
    modes = np.concatenate(
        [head.identity_modes[:identity_count, vertices], head.expression_modes[:, vertices]]
    )
    prior = np.where(np.arange(len(modes)) < identity_count, 1.0, _EXPRESSION_STD)
    mean = head.mean[vertices].astype(float)
    if detected:
        mean[:68] += head.landmark_offsets
    return _FittingTables(
        mean=mean,
        modes=np.ascontiguousarray(modes.transpose(1, 2, 0), dtype=float),
        prior=prior,
        identity_count=identity_count,
        landmarks=np.arange(68),
        outline=68 + np.arange(along.size).reshape(along.shape),
    )


def _checked(landmarks: np.ndarray) -> np.ndarray:
    """Landmarks as float64, or an error."""
    landmarks = np.asarray(landmarks, float)
    if landmarks.shape != (68, 2):
        raise InputError(f"expected (68, 2) landmarks, got {landmarks.shape}")
    if not np.isfinite(landmarks).all() or landmarks.std(axis=0).min() < 1e-3:
        raise PhotoError("bad_pose", detail="the landmarks fall together")
    return landmarks


def _orthographic_camera(
    landmarks: np.ndarray, points: np.ndarray, image_size: tuple[int, int], focal: float | None
) -> Camera:
    """The scaled orthographic camera that fits best, as a pinhole camera."""
    centroid, middle = points.mean(axis=0), landmarks.mean(axis=0)
    affine = np.linalg.lstsq(points - centroid, landmarks - middle, rcond=None)[0].T  # (2, 3)
    u, size, vt = np.linalg.svd(affine, full_matrices=False)
    top = u @ vt
    rotation = np.stack([top[0], top[1], np.cross(top[0], top[1])])
    scale = max(float(size.mean()), 1e-9)  # pixels per mm
    if focal is None:
        focal = max(scale * PORTRAIT_DISTANCE, MIN_FOCAL * max(image_size))
    centre = np.array([image_size[1], image_size[0]], float) / 2
    depth = focal / scale
    translation = np.array([*((middle - centre) / scale), depth]) - rotation @ centroid
    return Camera(rotation=rotation, translation=translation, focal=float(focal), centre=centre)


def _weights(camera: Camera, points: np.ndarray) -> np.ndarray:
    """(68, 2, 2) factors on the pixel residuals: whole for inner landmarks, less for contour ones, least along it."""
    weights = np.tile(np.eye(2), (68, 1, 1))
    outline = camera.project(points[CONTOUR]).astype(float)
    tangent = np.gradient(outline, axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    along = tangent[:, :, None] * tangent[:, None, :]
    weights[CONTOUR] = _CONTOUR_ACROSS * (np.eye(2) - along) + _CONTOUR_ALONG * along
    return weights


def _refine(
    camera: Camera, landmarks: np.ndarray, points: np.ndarray, weights: np.ndarray, *, iterations: int
) -> Camera:
    """Levenberg-Marquardt on rotation and translation, large residuals counting linearly (Huber)."""
    rotation, translation = camera.rotation, camera.translation
    damping, cost = 1e-4, np.inf
    best = (rotation, translation)
    for _ in range(iterations + 1):
        turned = points @ rotation.T
        seen = turned + translation
        if seen[:, 2].min() <= 1.0:
            break
        residual, jacobian = _linearise(camera, seen, landmarks, weights)
        scale = 2 * _NOISE_MM * camera.focal / float(translation[2])
        length = np.linalg.norm(residual, axis=1)
        robust = np.sqrt(scale / np.maximum(length, scale))
        now = float(np.minimum(length**2, 2 * scale * length - scale**2).sum())
        if now > cost:
            damping *= 10
            rotation, translation = best
            turned = points @ rotation.T
            residual, jacobian = _linearise(camera, turned + translation, landmarks, weights)
        else:
            best, cost, damping = (rotation, translation), now, damping * 0.3
        moved = _by_motion(turned, jacobian)
        a = (moved * robust[:, None, None]).reshape(-1, 6)
        normal = a.T @ a
        normal[np.diag_indices(6)] *= 1 + damping
        step = np.linalg.solve(normal, a.T @ (residual * robust[:, None]).ravel())
        rotation = _turn(step[:3]) @ rotation
        translation = translation + step[3:]
    return replace(camera, rotation=best[0], translation=best[1])


def _linearise(
    camera: Camera, seen: np.ndarray, landmarks: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Weighted residuals (N, 2) and their derivative (N, 2, 3) by the points in the camera frame."""
    scale = camera.focal / seen[:, 2]
    projected = seen[:, :2] * scale[:, None]
    derivative = np.zeros((len(seen), 2, 3))
    derivative[:, 0, 0] = derivative[:, 1, 1] = scale
    derivative[:, :, 2] = -projected / seen[:, 2:]
    residual = landmarks - projected - camera.centre
    return (weights @ residual[:, :, None])[:, :, 0], weights @ derivative


def _turn(vector: np.ndarray) -> np.ndarray:
    """Rotation matrix of a rotation vector (radians)."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def _outline(camera: Camera, shape: np.ndarray, tables: _FittingTables) -> np.ndarray:
    """(68,) places in the tables: of the candidates for a contour landmark the one furthest out to its side."""
    chosen = tables.landmarks.copy()
    across = camera.rotation[:2, 0] / max(float(np.linalg.norm(camera.rotation[:2, 0])), 1e-9)
    sideways = camera.project(shape[tables.outline]).astype(float) @ across  # (17, M)
    for side, landmarks in ((-1, slice(0, 8)), (1, slice(9, 17))):
        furthest = np.argmax(side * sideways[landmarks], axis=1)
        chosen[landmarks] = tables.outline[landmarks][np.arange(8), furthest]
    return chosen


def _step(
    camera: Camera,
    coefficients: np.ndarray,
    landmarks: np.ndarray,
    tables: _FittingTables,
    chosen: np.ndarray,
) -> tuple[Camera, np.ndarray]:
    """One Gauss-Newton step for rotation, translation and coefficients (F + E,) at once."""
    modes = tables.modes[chosen]
    points = tables.mean[chosen] + modes @ coefficients
    turned = points @ camera.rotation.T
    residual, jacobian = _linearise(camera, turned + camera.translation, landmarks, _weights(camera, points))
    noise = _NOISE_MM * camera.focal / float(camera.translation[2])
    length = np.linalg.norm(residual, axis=1) / noise
    robust = np.sqrt(_HUBER / np.maximum(length, _HUBER)) / noise
    jacobian *= robust[:, None, None]
    moved = np.concatenate(
        [_by_motion(turned, jacobian), jacobian @ camera.rotation @ modes], axis=2
    ).reshape(136, -1)
    normal = moved.T @ moved
    right = moved.T @ (residual * robust[:, None]).ravel()
    stiffness = 1 / tables.prior**2
    normal[np.arange(6, len(right)), np.arange(6, len(right))] += stiffness
    right[6:] -= stiffness * coefficients
    step = np.linalg.solve(normal, right)
    # Expressions that would leave 0..1 go to their bound, and the rest is solved for again.
    is_expression = np.arange(len(coefficients)) >= tables.identity_count
    low, high = np.where(is_expression, 0, -np.inf), np.where(is_expression, 1, np.inf)
    wanted = coefficients + step[6:]
    held = np.concatenate([np.zeros(6, bool), (wanted < low) | (wanted > high)])
    step[6:] = np.clip(wanted, low, high) - coefficients
    if held.any():
        free = ~held
        step[free] = np.linalg.solve(
            normal[np.ix_(free, free)], right[free] - normal[np.ix_(free, held)] @ step[held]
        )
    moved_camera = replace(
        camera, rotation=_turn(step[:3]) @ camera.rotation, translation=camera.translation + step[3:6]
    )
    return moved_camera, np.clip(coefficients + step[6:], low, high)


def _by_motion(turned: np.ndarray, jacobian: np.ndarray) -> np.ndarray:
    """Derivative (N, 2, 6) by a small turn and shift of the head: d(seen) = turn × turned + shift."""
    x, y, z = turned.T[:, :, None]
    jx, jy, jz = jacobian.transpose(2, 0, 1)
    return np.concatenate(
        [np.stack([y * jz - z * jy, z * jx - x * jz, x * jy - y * jx], axis=2), jacobian], axis=2
    )


def _check(
    camera: Camera, landmarks: np.ndarray, points: np.ndarray, weights: np.ndarray, allowed: float
) -> float:
    """The weighted residual in pixels, or bad_pose."""
    off = (weights @ (landmarks - camera.project(points))[:, :, None])[:, :, 0]
    residual = float(np.sqrt((off**2).sum() / (weights**2).sum() * 2))
    spread = float(np.sqrt(((landmarks - landmarks.mean(axis=0)) ** 2).sum(axis=1).mean()))
    pose = camera.pose
    if not residual <= allowed * spread:
        raise PhotoError("bad_pose", detail=f"no head fits the landmarks (off by {residual / spread:.0%})")
    if abs(pose.yaw) > MAX_YAW or abs(pose.pitch) > MAX_PITCH or abs(pose.roll) > MAX_ROLL:
        raise PhotoError(
            "bad_pose", detail=f"yaw {pose.yaw:.0f}, pitch {pose.pitch:.0f}, roll {pose.roll:.0f} degrees"
        )
    return residual
