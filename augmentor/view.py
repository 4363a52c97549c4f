"""Views: what every pixel of a picture of the head at some pose shows, computed once and used for every photo.

A view is a shape, an expression, a pose and a size. Rasterising it gives, per output pixel, the point of the head's
surface that is seen there: its place on the head model's grid and in millimetres. Rendering a photo into the view
is then a look-up (`augmentor.render`).

Source:
    Masi et al., "Do We Really Need to Collect Millions of Faces for Effective Face Recognition?", ECCV 2016: rendered
    views as look-up tables of 3-D points. Differs: the table also names the point's place on the model's grid, so a
    photo's own fitted shape, not the view's, says where the point lies in the photo.

Nothing here reads a file; views are plain arrays that travel through shared memory.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from augmentor.background import background_coordinates, outline_of
from augmentor.chip import chip_transform
from augmentor.detector_offsets import detector_offsets
from augmentor.errors import InputError
from augmentor.head_model import HeadModel
from augmentor.pose import HeadPose, rotation_from_pose
from augmentor.raster import interpolate, rasterise
from augmentor.surface import flatten_ears, surface_normals, surface_triangles, surface_vertices

VIEW_SHAPES = 10
SHAPE_STD = 0.6  # of the population's: stronger draws turn the face into somebody else's
AS_PHOTO = "as_photo"  # the photo's own expression and shape, laid over the view's
BY_POSITION = "by_position"  # the photo as it is, seen through a camera fitted to the view's shape
# What a view is rasterised with. A view that is to take on the photo's expression has its mouth ajar: what is not
# rasterised cannot appear.
EXPRESSIONS: dict[str, dict[str, float]] = {"neutral": {}, BY_POSITION: {}, AS_PHOTO: {"jawOpen": 0.3}}
VIEW_DISTANCE = 1200.0  # mm from the camera to the head, an ordinary portrait
MAX_YAW, MAX_PITCH, MAX_ROLL = 90.0, 45.0, 45.0
PROFILE_YAW = 40.0  # a photo turned further than this does not show enough to be seen from the front
OWN_YAW, OWN_PITCH = 4.0, 8.0  # closer than this a render would only repeat the photo
_SUPERSAMPLE = 2


@dataclass(frozen=True, order=True)
class ViewKey:
    """Which view: shape and expression of the head, and its pose.

    Args:
        shape: 0 is the mean head, 1 to VIEW_SHAPES - 1 are fixed seeded draws from the identity modes.
        expression: a name in EXPRESSIONS.
        yaw: degrees, + turns the nose to the image's left.
        pitch: degrees, + is down.
        roll: degrees, + is clockwise.

    Raises:
        InputError: an angle or a shape out of range, or an unknown expression.
    """

    shape: int
    expression: str
    yaw: float
    pitch: float
    roll: float

    def __post_init__(self) -> None:
        if not 0 <= self.shape < VIEW_SHAPES:
            raise InputError(f"view shape {self.shape} is not within 0..{VIEW_SHAPES - 1}")
        if self.expression not in EXPRESSIONS:
            raise InputError(f"unknown view expression {self.expression!r}; known: {', '.join(EXPRESSIONS)}")
        for name, limit in (("yaw", MAX_YAW), ("pitch", MAX_PITCH), ("roll", MAX_ROLL)):
            if not abs(getattr(self, name)) <= limit:
                raise InputError(f"view {name} {getattr(self, name)} is beyond {limit} degrees")

    @property
    def name(self) -> str:
        """Short, unique among default views, safe in file names: `s3_neutral_y+30_p-10_r+2`."""
        angles = "_".join(f"{k}{v:+g}" for k, v in (("y", self.yaw), ("p", self.pitch), ("r", self.roll)))
        return f"s{self.shape}_{self.expression}_{angles}"


@dataclass(frozen=True, eq=False)
class View:
    """What every pixel shows of the head seen at `key`; arrays only, about 0.9 MB at 150 px.

    Convention:
        Model frame and mm; grid coordinates (column, row); pixel centres have integer coordinates.

    Args:
        key: what was asked for.
        size: side of the picture, pixels.
        position: (S, S, 3) float32 model frame, zero where `face` is.
        normal: (S, S, 3) float16 unit, outward, model frame, zero where `face` is.
        places: (S, S, 4) float32. First the pixel's place on the head model's grid, (column, row), where `face` is 0
            that of the nearest pixel where it is not; then its place in the background, see
            `augmentor.background.background_coordinates`. One array, since looking up four values costs as much as
            one.
        face: (S, S) float32 0..1, how much of the pixel the face covers.
        projection: (3, 4) float64; chip pixels (x, y, 1) ~ projection @ (model point, 1).
        vertices: (V, 3) float32, the view's shape with a neutral face.
        points: (V, 2) float32, chip pixels of the vertices as they were rasterised.
        landmarks68: (68,) int32 vertex numbers of the landmarks.
        landmarks_2d: (68, 2) float32 true landmarks in chip pixels, also those out of sight, at the places of the skin
            where dlib sees them (`augmentor.detector_offsets`).
        landmarks_visible: (68,) bool.
    """

    key: ViewKey
    size: int
    position: np.ndarray
    normal: np.ndarray
    places: np.ndarray
    face: np.ndarray
    projection: np.ndarray
    vertices: np.ndarray
    points: np.ndarray
    landmarks68: np.ndarray
    landmarks_2d: np.ndarray
    landmarks_visible: np.ndarray

    @property
    def grid(self) -> np.ndarray:
        """(S, S, 2) place on the head model's grid."""
        return self.places[..., :2]

    @property
    def background(self) -> np.ndarray:
        """(S, S, 2) place around the face."""
        return self.places[..., 2:]


def make_view(head: HeadModel, key: ViewKey, size: int = 150) -> View:
    """Rasterise the head at `key`, placed like every chip by the true projected landmarks.

    Deterministic.

    Raises:
        InputError: the head model has no mode that the key's expression needs.
    """
    shape = shape_coefficients(head, key.shape)
    with_ears = head.vertices(shape, head.expression_weights(EXPRESSIONS[key.expression]))
    vertices = flatten_ears(with_ears, head)
    rotation = rotation_from_pose(HeadPose(yaw=key.yaw, pitch=key.pitch, roll=key.roll))
    landmarks = vertices[head.landmarks68] + detector_offsets()
    projection = _chip_projection(landmarks, rotation, size)
    points, depth = project(projection, vertices), vertices @ projection[2, :3] + projection[2, 3]
    normals = surface_normals(vertices, head)
    patch = surface_triangles(head)
    columns = head.grid_shape[1]
    place = np.stack([np.arange(len(vertices)) % columns, np.arange(len(vertices)) // columns], 1)
    triangle, weights = rasterise(points * 2 + 0.5, depth, patch, (2 * size, 2 * size))
    values = np.concatenate([depth[:, None], place, vertices, normals], 1)
    fine = interpolate(triangle, weights, patch, values)
    pixel, face = _halve(fine, triangle >= 0)
    normal = pixel[..., 6:] / np.maximum(np.linalg.norm(pixel[..., 6:], axis=-1, keepdims=True), 1e-6)
    scale = float(np.linalg.norm(projection[0, :3]) / VIEW_DISTANCE)
    outline = outline_of(project(projection, with_ears[surface_vertices(head)]), key.roll, scale)
    return View(
        key=key,
        size=size,
        position=np.ascontiguousarray(pixel[..., 3:6]),
        normal=normal.astype(np.float16),
        places=np.concatenate(
            [_continue_grid(pixel[..., 1:3], face), background_coordinates(outline, size)], 2
        ),
        face=face,
        projection=projection,
        vertices=flatten_ears(head.vertices(shape), head),
        points=points.astype(np.float32),
        landmarks68=head.landmarks68,
        landmarks_2d=project(projection, landmarks).astype(np.float32),
        landmarks_visible=_landmarks_visible(head, points, depth, normals @ rotation.T, fine[..., 0]),
    )


def shape_coefficients(head: HeadModel, shape: int) -> np.ndarray:
    """Identity coefficients (K,) of a view shape: zero for the mean head, else a fixed draw with SHAPE_STD."""
    modes = len(head.identity_modes)
    if shape == 0:
        return np.zeros(modes, np.float32)
    return (SHAPE_STD * np.random.default_rng([20161008, shape]).standard_normal(modes)).astype(np.float32)


def project(projection: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Pixels (N, 2) of model points (N, 3) under a (3, 4) projection."""
    seen = points @ projection[:, :3].T.astype(points.dtype) + projection[:, 3].astype(points.dtype)
    return seen[:, :2] / seen[:, 2:]


def _chip_projection(landmarks: np.ndarray, rotation: np.ndarray, size: int) -> np.ndarray:
    """The camera that puts a head at `rotation` into the chip that its own landmarks define."""
    camera = np.concatenate([rotation, [[0], [0], [VIEW_DISTANCE]]], 1)
    camera[:2] *= VIEW_DISTANCE  # one pixel per mm before the chip's own scale
    chip_from_image = np.eye(3)
    chip_from_image[:2] = chip_transform(project(camera, landmarks), size)
    return chip_from_image @ camera


def _halve(fine: np.ndarray, covered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bring values (2S, 2S, C), depth first and grid place next, to (S, S, C), with the coverage (S, S).

    Where the four places differ much, one surface hides another: the front one is taken, not a mixture.
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


def _continue_grid(grid: np.ndarray, face: np.ndarray) -> np.ndarray:
    """Grid places beyond the face's edge: those of the nearest pixel of the face."""
    _, label = cv2.distanceTransformWithLabels(
        (face == 0).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    nearest = np.zeros((label.max() + 1, 2), np.float32)
    nearest[label[face > 0]] = grid[face > 0]
    return nearest[label]


def _landmarks_visible(
    head: HeadModel, points: np.ndarray, depth: np.ndarray, normals: np.ndarray, fine_depth: np.ndarray
) -> np.ndarray:
    """(68,) bool: the landmark's surface faces the camera and nothing lies more than 4 mm in front of it."""
    ids = head.landmarks68
    spot = np.rint(points[ids] * 2 + 0.5).astype(int)
    inside = ((spot >= 0) & (spot < len(fine_depth))).all(1)
    spot = np.clip(spot, 0, len(fine_depth) - 1)
    front = fine_depth[spot[:, 1], spot[:, 0]]
    hidden = inside & (front > 0) & (depth[ids] > front + 4.0)
    return (normals[ids, 2] < 0.1) & ~hidden


def default_view_keys(seed: int = 0) -> list[ViewKey]:
    """The views a photo may be rendered into: 308, mirror-symmetric in number, denser towards the front.

    Yaw is jittered around 0, 12, 20, 30, 40, 55 and 70 degrees, pitch stratified over -20..20, roll small;
    shapes take turns.
    All angles are whole degrees, all keys differ by more than roll (which the chip's alignment undoes).

    Args:
        seed: of the jitter.
    """
    rng = np.random.default_rng([seed, 300])
    keys: dict[tuple[int, int, int], ViewKey] = {}
    for centre, spread, count in _YAW_BANDS:
        for sign in (1, -1) if centre else (1,):
            pitches = rng.permutation(np.linspace(-20, 20, count))
            for number in range(count):
                while True:
                    yaw = sign * (centre + int(rng.integers(-spread, spread + 1)))
                    pitch = int(np.clip(np.rint(pitches[number] + rng.integers(-2, 3)), -20, 20))
                    shape = number % VIEW_SHAPES
                    if (shape, yaw, pitch) not in keys:
                        break
                roll = float(rng.integers(-6, 7))
                keys[shape, yaw, pitch] = ViewKey(shape, AS_PHOTO, float(yaw), float(pitch), roll)
    return list(keys.values())


# centre and spread (degrees), how many
_YAW_BANDS = ((0, 6, 36), (12, 2, 34), (20, 4, 34), (30, 4, 26), (40, 5, 18), (55, 6, 16), (70, 5, 8))
