"""Estimate head pose, camera, face shape and expression from 68 landmarks.

Convention:
    Camera frame: x image-right, y down, z away from the camera; millimetres. Model frame: the same axes, at the head.
    Degrees; R = Rz(roll) @ Ry(yaw) @ Rx(pitch); zero = frontal.
    +yaw: nose to image left; +pitch: nose down; +roll: clockwise as seen in the image.
    HeadPose(30, 0, 0) takes the nose's direction (0, 0, -1) to (-0.5, 0, -0.866).
    Near profile, pitch and roll turn the head about the same axis, so neither says alone how a head is held. Which
    poses are refused, and how a photo is laid on the head, depends on other angles:
    R = Rz(tilt) @ Rx(lean) @ Ry(turn).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from augmentor.errors import InputError, PhotoError
from augmentor.head.head_model import HeadModel

# Photos rarely record their focal length, and cropped ones cannot. The head is assumed to be as far away as in a
# portrait, unless the picture is so wide that this would give it the focal length of a fish-eye.
PORTRAIT_DISTANCE = (
    1500.0  # mm to the face: further than a phone at arm's length, nearer than a press photographer
)
MIN_FOCAL = 1.0  # relative to the longer side of the image
MAX_TURN, MAX_LEAN = 110.0, 65.0  # any tilt is possible: scans hang upside down
LEAST_VISIBLE = 16  # landmarks; a head is not fitted to fewer
# Largest root mean square reprojection error of a face, relative to the spread of its landmarks.
MAX_RESIDUAL_POINTS, MAX_RESIDUAL_FIT = 0.30, 0.16

CONTOUR = np.arange(17)
# How much contour landmarks count. Detectors put them somewhere along the outline instead of at one place of the skin,
# so they count in part across the outline and hardly along it.
_CONTOUR_ACROSS, _CONTOUR_ALONG = 0.25, 0.08
# Noise of the landmarks, in mm on the face; the fit weighs it against coefficients of one standard deviation. A
# residual beyond twice this counts linearly.
_NOISE_MM = 2.0
_HUBER = 2.0
_EXPRESSION_STD = 0.35
# 68 landmarks say little about the identity modes beyond these; the coefficients of the others stay 0.
_FITTED_IDENTITY_MODES = 40


@dataclass(frozen=True)
class HeadPose:
    """The rotation of a head in degrees, by the module's convention."""

    yaw: float
    pitch: float
    roll: float


@dataclass(frozen=True)
class HeadTurn:
    """The rotation of a head in degrees, by angles that stay meaningful in profile: Rz(tilt) @ Rx(lean) @ Ry(turn).

    Attributes:
        turn: how far the head is turned about its own vertical axis, -180..180; + turns the nose to the image's left.
        lean: how far its crown leans towards the camera, -90..90; a camera above the head sees a positive lean.
        tilt: how far its vertical axis is tilted in the picture; + is clockwise.
    """

    turn: float
    lean: float
    tilt: float


@dataclass(frozen=True)
class Camera:
    """A pinhole camera that projects the head's model frame.

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
        """The rotation as angles, in degrees."""
        return pose_from_rotation(self.rotation)

    @property
    def turn(self) -> HeadTurn:
        """The rotation as turn, lean and tilt, in degrees."""
        return turn_from_rotation(self.rotation)

    def project(self, points: np.ndarray) -> np.ndarray:
        """Project model points (..., 3) mm to (x, y) pixels (..., 2) float32."""
        in_camera = points @ self.rotation.T + self.translation
        return (in_camera[..., :2] * (self.focal / in_camera[..., 2:]) + self.centre).astype(np.float32)


@dataclass(frozen=True)
class FaceFit:
    """The camera, shape and expression that explain the landmarks of a face.

    Attributes:
        camera: the photo's camera, in the head's model frame.
        identity: (K,) float32, standard deviations.
        expression: (E,) float32, 0..1.
        landmarks_2d: (68, 2) float32 projections of the fitted head's landmark vertices, (x, y) pixels.
        residual_px: root mean square distance between the landmarks and the fit, with contour landmarks counting less.
    """

    camera: Camera
    identity: np.ndarray
    expression: np.ndarray
    landmarks_2d: np.ndarray
    residual_px: float


def rotation_from_pose(pose: HeadPose) -> np.ndarray:
    """Return the rotation matrix Rz(roll) @ Ry(yaw) @ Rx(pitch), (3, 3) float64.

    Example:
        >>> (rotation_from_pose(HeadPose(yaw=30, pitch=0, roll=0)) @ [0, 0, -1]).round(3).tolist()
        [-0.5, 0.0, -0.866]
    """
    (sy, sp, sr), (cy, cp, cr) = (f(np.radians([pose.yaw, pose.pitch, pose.roll])) for f in (np.sin, np.cos))
    return np.array(
        [
            [cr * cy, cr * sy * sp - sr * cp, cr * sy * cp + sr * sp],
            [sr * cy, sr * sy * sp + cr * cp, sr * sy * cp - cr * sp],
            [-sy, cy * sp, cy * cp],
        ]
    )


def rotation_from_turn(turn: HeadTurn) -> np.ndarray:
    """Return the rotation matrix Rz(tilt) @ Rx(lean) @ Ry(turn), (3, 3) float64."""
    parts = (HeadPose(0, 0, turn.tilt), HeadPose(0, turn.lean, 0), HeadPose(turn.turn, 0, 0))
    tilt, lean, about = (rotation_from_pose(part) for part in parts)
    return tilt @ lean @ about


def pose_from_rotation(rotation: np.ndarray) -> HeadPose:
    """Return the angles of a rotation matrix (3, 3), with |pitch| <= 90.

    A head that is turned a little beyond profile has |yaw| > 90. At yaw ±90, where pitch and roll cannot be told apart,
    roll is 0.
    """
    cos_yaw = float(np.hypot(rotation[0, 0], rotation[1, 0]))
    if cos_yaw <= 1e-7:
        pitch = float(np.degrees(np.arctan2(-rotation[1, 2], rotation[1, 1])))
        return HeadPose(float(np.copysign(90.0, -rotation[2, 0])), pitch, 0.0)
    if rotation[2, 2] < 0:  # the same rotation by the other three angles: 180 - yaw, pitch + 180, roll + 180
        cos_yaw = -cos_yaw
    sign = np.sign(cos_yaw)
    yaw = np.arctan2(-rotation[2, 0], cos_yaw)
    pitch = np.arctan2(sign * rotation[2, 1], sign * rotation[2, 2])
    roll = np.arctan2(sign * rotation[1, 0], sign * rotation[0, 0])
    return HeadPose(*(float(np.degrees(angle)) for angle in (yaw, pitch, roll)))


def turn_from_rotation(rotation: np.ndarray) -> HeadTurn:
    """Return turn, lean and tilt of a rotation matrix (3, 3).

    Example:
        >>> above = rotation_from_pose(HeadPose(0, 30, 0)) @ rotation_from_pose(HeadPose(90, 0, 0))
        >>> found = turn_from_rotation(above)  # a profile, photographed from 30 degrees above
        >>> round(found.turn), round(found.lean), round(found.tilt)
        (90, 30, 0)
    """
    angles = (
        np.arctan2(-rotation[2, 0], rotation[2, 2]),
        np.arcsin(np.clip(rotation[2, 1], -1, 1)),
        np.arctan2(-rotation[0, 1], rotation[1, 1]),
    )
    return HeadTurn(*(float(np.degrees(angle)) for angle in angles))


def estimate_camera(
    landmarks: np.ndarray,
    points: np.ndarray,
    image_size: tuple[int, int],
    *,
    focal: float | None = None,
    visible: np.ndarray | None = None,
) -> Camera:
    """Estimate the camera that projects 68 model points to the landmarks.

    A scaled orthographic camera is found first and then refined to a pinhole camera (Levenberg-Marquardt). Contour
    landmarks count less.

    Args:
        landmarks: (68, 2) in (x, y) pixels, dlib's order.
        points: (68, 3) mm, model frame.
        image_size: (height, width) in pixels.
        focal: focal length in pixels if it is known; None assumes that the head is PORTRAIT_DISTANCE away.
        visible: see `fit_face`.

    Raises:
        InputError: an array has the wrong shape.
        PhotoError: `bad_pose`, because the points are not a face, or no face in a photo is turned so far.
    """
    landmarks, shares = _checked(landmarks), _checked_shares(visible)
    if points.shape != (68, 3):
        raise InputError(f"expected (68, 3) model points, got {points.shape}")
    points = points.astype(float)
    camera = _first_camera(landmarks, points, shares, image_size, focal)
    camera = _refine(camera, landmarks, points, _weights(camera, points, shares), iterations=8)
    _check(camera, landmarks, points, _weights(camera, points, shares), MAX_RESIDUAL_POINTS)
    return camera


def fit_face(
    landmarks: np.ndarray,
    head: HeadModel,
    image_size: tuple[int, int],
    *,
    visible: np.ndarray | None = None,
    detected: bool = True,
    rounds: int = 2,
) -> FaceFit:
    """Fit camera, face shape and expression to 68 landmarks.

    Each round chooses again which points of the head form its outline, and then takes one Gauss-Newton step for camera
    and coefficients together: robust least squares with a normal prior, and expression weights kept within 0..1.

    Args:
        landmarks: (68, 2) in (x, y) pixels, dlib's order.
        head: the head model.
        image_size: (height, width) in pixels.
        visible: (68,) bool, or how much each landmark counts, 0..1; a landmark with 0 does not change the result. None
            if the face source does not know: all count.
        detected: true if a face source detected the landmarks, so that the head's `landmark_offsets` apply; false if
            they are projections of the model's landmarks.
        rounds: number of rounds; a third one hardly changes the result.

    Raises:
        InputError: an array has the wrong shape.
        PhotoError: `bad_pose`.

    Source:
        Outline points: Zhu et al., "Face Alignment Across Large Poses", CVPR 2016, section 4.1 (landmark marching);
        differs: candidates are the grid's own rows.
    """
    landmarks, shares = _checked(landmarks), _checked_shares(visible)
    tables = _fitting_tables(head, detected)
    mean = tables.mean[tables.landmarks]
    camera = _first_camera(landmarks, mean, shares, image_size, None)
    camera = _refine(camera, landmarks, mean, _weights(camera, mean, shares), iterations=1)
    _check(camera, landmarks, mean, _weights(camera, mean, shares), MAX_RESIDUAL_POINTS)
    coefficients = np.zeros(len(tables.prior))
    for _ in range(rounds):
        chosen = _outline(camera, tables.mean + tables.modes @ coefficients, tables)
        camera, coefficients = _step(camera, coefficients, landmarks, tables, chosen, shares)
    points = tables.mean[chosen] + tables.modes[chosen] @ coefficients
    residual = _check(camera, landmarks, points, _weights(camera, points, shares), MAX_RESIDUAL_FIT)
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
    """The few vertices of the head that fitting needs: the landmarks, then the candidates for the outline.

    Attributes:
        mean: (N, 3) float64 mm.
        modes: (N, 3, F + E) float64 mm; F identity modes are fitted.
        prior: (F + E,) standard deviations of the coefficients.
        identity_count: F.
        landmarks: (68,) indices into `mean`.
        outline: (17, M) indices into `mean`, the candidates for each contour landmark.
    """

    mean: np.ndarray
    modes: np.ndarray
    prior: np.ndarray
    identity_count: int
    landmarks: np.ndarray
    outline: np.ndarray


# Candidates run from a contour landmark along its row, up to this share of the way to the middle; nose and lips follow.
_OUTLINE_REACH = 0.7
_OUTLINE_CANDIDATES = 12


@lru_cache(maxsize=8)
def _fitting_tables(head: HeadModel, detected: bool) -> _FittingTables:
    """Return the tables of a head model, computed once; shifted to where dlib detects landmarks, if `detected`."""
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
    """Return the landmarks as float64 after checking them.

    Raises:
        InputError: the shape is not (68, 2).
        PhotoError: `bad_pose`, the landmarks do not spread over an area.
    """
    landmarks = np.asarray(landmarks, float)
    if landmarks.shape != (68, 2):
        raise InputError(f"expected (68, 2) landmarks, got {landmarks.shape}")
    if not np.isfinite(landmarks).all() or landmarks.std(axis=0).min() < 1e-3:
        raise PhotoError("bad_pose", detail="the landmarks coincide")
    return landmarks


def _checked_shares(visible: np.ndarray | None) -> np.ndarray:
    """Return how much each landmark counts, (68,) float64.

    Raises:
        InputError: the shape is not (68,), or a share is outside 0..1.
        PhotoError: `bad_pose`, too few landmarks are visible.
    """
    if visible is None:
        return np.ones(68)
    shares = np.asarray(visible, float)
    if shares.shape != (68,) or not ((shares >= 0) & (shares <= 1)).all():
        raise InputError(f"expected the visibility of 68 landmarks, 0..1, got {shares.shape}")
    if (shares > 0).sum() < LEAST_VISIBLE:
        raise PhotoError("bad_pose", detail=f"only {(shares > 0).sum()} landmarks are visible")
    return shares


# Rotations to start from, as turn and lean; any tilt follows in closed form.
_STARTS = np.array(
    [
        rotation_from_turn(HeadTurn(turn, lean, 0))
        for turn in range(-105, 106, 15)
        for lean in (-40, -20, 0, 20, 40)
    ]
)


def _first_camera(
    landmarks: np.ndarray,
    points: np.ndarray,
    shares: np.ndarray,
    image_size: tuple[int, int],
    focal: float | None,
) -> Camera:
    """Return the best scaled orthographic camera, as a pinhole camera.

    The affine camera in closed form is exact for a face seen from the front. The half of a face that a profile shows is
    too flat for it: there one of a fixed set of rotations, each with its best tilt, scale and shift, fits better.
    """
    total = shares.sum()
    centroid, middle = shares @ points / total, shares @ landmarks / total
    model, image = points - centroid, landmarks - middle
    affine = np.linalg.lstsq(model * shares[:, None], image * shares[:, None], rcond=None)[0].T  # (2, 3)
    u, _, vt = np.linalg.svd(affine, full_matrices=False)
    top = u @ vt
    closed = np.stack([top[0], top[1], np.cross(top[0], top[1])])
    rotations = np.concatenate([closed[None], _STARTS])
    # A tilt and a scale of the picture plane are one complex number, found by least squares.
    projected = rotations[:, 0] @ model.T + 1j * (rotations[:, 1] @ model.T)  # (N, 68)
    wanted = image[:, 0] + 1j * image[:, 1]
    size = np.maximum(np.abs(projected) ** 2 @ shares, 1e-9)
    factor = projected.conj() @ (shares * wanted) / size
    best = int(np.argmax(np.abs(factor) ** 2 * size))  # what it explains of the landmarks' spread
    scale = max(float(np.abs(factor[best])), 1e-9)  # pixels per mm
    along, across = factor[best].real / scale, factor[best].imag / scale
    tilt = np.array([[along, -across, 0], [across, along, 0], [0, 0, 1]])
    rotation = tilt @ rotations[best]
    if focal is None:
        focal = max(scale * PORTRAIT_DISTANCE, MIN_FOCAL * max(image_size))
    centre = np.array([image_size[1], image_size[0]], float) / 2
    depth = focal / scale
    translation = np.array([*((middle - centre) / scale), depth]) - rotation @ centroid
    return Camera(rotation=rotation, translation=translation, focal=float(focal), centre=centre)


def _weights(camera: Camera, points: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return weights (68, 2, 2) for pixel residuals: 1 for inner landmarks, less across the contour, least along it.

    Each is multiplied by the landmark's share (68,).
    """
    weights = np.tile(np.eye(2), (68, 1, 1))
    outline = camera.project(points[CONTOUR]).astype(float)
    tangent = np.gradient(outline, axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    along = tangent[:, :, None] * tangent[:, None, :]
    weights[CONTOUR] = _CONTOUR_ACROSS * (np.eye(2) - along) + _CONTOUR_ALONG * along
    return weights * shares[:, None, None]


def _refine(
    camera: Camera, landmarks: np.ndarray, points: np.ndarray, weights: np.ndarray, *, iterations: int
) -> Camera:
    """Refine rotation and translation by Levenberg-Marquardt; large residuals count linearly (Huber)."""
    rotation, translation = camera.rotation, camera.translation
    damping, cost = 1e-4, np.inf
    best = (rotation, translation)
    for _ in range(iterations + 1):
        turned = points @ rotation.T
        in_camera = turned + translation
        if in_camera[:, 2].min() <= 1.0:
            break
        residual, jacobian = _linearise(camera, in_camera, landmarks, weights)
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
    camera: Camera, in_camera: np.ndarray, landmarks: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return weighted residuals (N, 2) and their derivatives (N, 2, 3) by points (N, 3) in the camera frame."""
    scale = camera.focal / in_camera[:, 2]
    projected = in_camera[:, :2] * scale[:, None]
    derivative = np.zeros((len(in_camera), 2, 3))
    derivative[:, 0, 0] = derivative[:, 1, 1] = scale
    derivative[:, :, 2] = -projected / in_camera[:, 2:]
    residual = landmarks - projected - camera.centre
    return (weights @ residual[:, :, None])[:, :, 0], weights @ derivative


def _turn(vector: np.ndarray) -> np.ndarray:
    """Return the rotation matrix of a rotation vector (3,) in radians."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def _outline(camera: Camera, shape: np.ndarray, tables: _FittingTables) -> np.ndarray:
    """Return indices (68,) into the tables; each contour landmark gets the candidate furthest out on its side."""
    chosen = tables.landmarks.copy()
    sideways = camera.project(shape[tables.outline]).astype(float) @ sideways_axis(camera.rotation)  # (17, M)
    for side, landmarks in ((-1, slice(0, 8)), (1, slice(9, 17))):
        furthest = np.argmax(side * sideways[landmarks], axis=1)
        chosen[landmarks] = tables.outline[landmarks][np.arange(8), furthest]
    return chosen


def sideways_axis(rotation: np.ndarray) -> np.ndarray:
    """Return the direction (2,) in the picture that leads from the face's right outline to its left one, unit length.

    It is perpendicular to the head's vertical axis, and thus the same on both sides of profile.
    """
    axis = np.array([rotation[1, 1], -rotation[0, 1]])
    return axis / max(float(np.linalg.norm(axis)), 1e-9)


def _step(
    camera: Camera,
    coefficients: np.ndarray,
    landmarks: np.ndarray,
    tables: _FittingTables,
    chosen: np.ndarray,
    shares: np.ndarray,
) -> tuple[Camera, np.ndarray]:
    """Take one Gauss-Newton step for rotation, translation and coefficients (F + E,) together."""
    modes = tables.modes[chosen]
    points = tables.mean[chosen] + modes @ coefficients
    turned = points @ camera.rotation.T
    residual, jacobian = _linearise(
        camera, turned + camera.translation, landmarks, _weights(camera, points, shares)
    )
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
    # Expression weights that would leave 0..1 are set to the bound, and the others are solved for again.
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
    """Return derivatives (N, 2, 6) by a small turn and shift of the head: d(point) = turn × turned + shift."""
    x, y, z = turned.T[:, :, None]
    jx, jy, jz = jacobian.transpose(2, 0, 1)
    return np.concatenate(
        [np.stack([y * jz - z * jy, z * jx - x * jz, x * jy - y * jx], axis=2), jacobian], axis=2
    )


def _check(
    camera: Camera, landmarks: np.ndarray, points: np.ndarray, weights: np.ndarray, allowed: float
) -> float:
    """Return the weighted residual in pixels.

    Raises:
        PhotoError: `bad_pose`, the residual is too large or the head is turned too far.
    """
    off = (weights @ (landmarks - camera.project(points))[:, :, None])[:, :, 0]
    residual = float(np.sqrt((off**2).sum() / (weights**2).sum() * 2))
    seen = landmarks[(weights != 0).any(axis=(1, 2))]
    spread = float(np.sqrt(((seen - seen.mean(axis=0)) ** 2).sum(axis=1).mean()))
    turn = camera.turn
    if not residual <= allowed * spread:
        raise PhotoError("bad_pose", detail=f"no head fits the landmarks (off by {residual / spread:.0%})")
    if abs(turn.turn) > MAX_TURN or abs(turn.lean) > MAX_LEAN:
        raise PhotoError("bad_pose", detail=f"turned by {turn.turn:.0f}, leaning by {turn.lean:.0f} degrees")
    return residual
