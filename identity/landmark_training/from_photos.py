"""Make examples from photos: the photos themselves, labelled by dlib's predictor, and renders of them at other poses.

dlib's predictor starts from a box, answers in whole pixels and follows its start. Its answers for several boxes and for
the mirror image are averaged; where they differ much, the face is not used.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from augmentor.errors import PhotoError
from augmentor.faces.chip import chip_transform
from augmentor.faces.face_search import Detection
from augmentor.faces.five_points import five_of_68, similarity
from augmentor.faces.landmark_net import MIRROR68
from augmentor.faces.landmark_source import DlibLandmarks
from augmentor.head.head_model import HeadModel
from augmentor.head.pose import HeadPose, pose_from_rotation, rotation_from_pose
from augmentor.head.surface import flatten_ears
from augmentor.rendering.effects import apply_effects, draw_effects, expression_of
from augmentor.rendering.render import PreparedPhoto, prepare_photo, render_views
from augmentor.views.head_view import make_view, shape_coefficients
from augmentor.views.view import View, project
from augmentor.views.view_key import AS_PHOTO, MAX_PITCH, MAX_ROLL, VIEW_SHAPES, ViewKey
from identity.landmark_training.examples import PHOTO, RENDER, UNKNOWN, Row, cut_example
from identity.landmark_training.true_landmarks import true_landmarks, visible_landmarks

RENDER_SIDE, RENDER_PADDING = 160, 1.1
MAX_YAW = 35.0  # of a photo whose landmarks dlib may say
MAX_SPREAD = 2.2  # mean standard deviation of dlib's answers, pixels of a chip of 150 px
MAX_DISAGREEMENT = 9.0  # largest distance between the five points and those of the landmarks, the same pixels
ON_RENDERS = ("expression", "light", "glasses", "mask", "brim", "hand", "grey")
ON_PHOTOS = ("glasses", "mask", "brim", "hand", "grey")

_UPRIGHT = 280  # pixels of a chip of 150 px that the predictor sees
# The box that dlib's frontal detector draws, in those pixels around the chip's middle: middle and side. Measured on
# 143 photos of `faces_unlabelled` that the detector finds.
DLIB_BOX = (74.8, 74.6, 131.3)
_BOXES = 5
FindPoints = Callable[[np.ndarray], np.ndarray | None]


def averaged_landmarks(
    image: np.ndarray, points: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """Return dlib's landmarks, averaged over boxes and the mirror image, and how much its answers differ.

    Args:
        image: (H, W, 3) uint8 RGB.
        points: (5, 2) the detector's five points.
        rng: moves the boxes.

    Returns:
        (68, 2) float64 (x, y) pixels of the photo, and the mean standard deviation in pixels of a chip of 150 px.
    """
    chip = chip_transform(points)
    shift = (_UPRIGHT - 150) / 2
    upright_from_image = np.column_stack([chip[:, :2], chip[:, 2] + shift])
    upright = cv2.warpAffine(
        image,
        upright_from_image,
        (_UPRIGHT, _UPRIGHT),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    flipped = np.ascontiguousarray(upright[:, ::-1])
    answers = []
    predictor = DlibLandmarks()
    for number in range(2 * _BOXES):
        middle = np.array(DLIB_BOX[:2]) + shift + rng.normal(0, 3.0, 2)
        side = DLIB_BOX[2] * np.exp(rng.normal(0, 0.05))
        mirrored = number % 2 == 1
        x = _UPRIGHT - 1 - middle[0] if mirrored else middle[0]
        box = Detection((x - side / 2, middle[1] - side / 2, side, side), 1.0)
        found = predictor(flipped if mirrored else upright, box).places.astype(float)
        if mirrored:
            found = found[MIRROR68] * [-1, 1] + [_UPRIGHT - 1, 0]
        answers.append(found)
    stack = np.stack(answers)
    spread = float(np.sqrt(stack.var(0).sum(1)).mean())
    inverse = cv2.invertAffineTransform(upright_from_image)
    return np.median(stack, 0) @ inverse[:, :2].T + inverse[:, 2], spread


def training_views(head: HeadModel, count: int, seed: int = 0) -> list[tuple[View, np.ndarray]]:
    """Return views from all sides and a little from above and below, and which landmarks (68,) bool each shows.

    Views from the side are hardly from above or below, because a `ViewKey` has at most 45 degrees of pitch.
    """
    rng = np.random.default_rng([seed, 68])
    keys = []
    for number in range(count):
        turn = -90 + 180 * (number + rng.uniform()) / count
        pose = seen_from(turn, float(np.clip(rng.normal(0, 14), -40, 40)))
        while abs(pose.pitch) > MAX_PITCH or abs(pose.roll) > MAX_ROLL:
            pose = seen_from(turn, float(rng.normal(0, 8)))
        angles = (round(angle, 1) for angle in (pose.yaw, pose.pitch, pose.roll))
        keys.append(ViewKey(int(rng.integers(VIEW_SHAPES)), AS_PHOTO, *angles))
    return views_of(head, keys)


def views_of(head: HeadModel, keys: list[ViewKey]) -> list[tuple[View, np.ndarray]]:
    """Return the views of these keys, with room around the face, and which landmarks (68,) bool each shows."""
    views = [make_view(head, key, RENDER_SIDE, RENDER_PADDING) for key in keys]
    return [(view, _visible(head, view)) for view in views]


def seen_from(turn: float, lean: float) -> HeadPose:
    """Return the pose of an upright head, turned by `turn` degrees, that leans towards the camera by `lean` degrees."""
    return pose_from_rotation(
        rotation_from_pose(HeadPose(0, lean, 0)) @ rotation_from_pose(HeadPose(turn, 0, 0))
    )


def turn_of(pose: HeadPose | ViewKey) -> float:
    """Return by how many degrees an upright head has turned sideways before it leaned and tilted."""
    rotation = rotation_from_pose(HeadPose(pose.yaw, pose.pitch, pose.roll))
    return float(np.degrees(np.arctan2(-rotation[2, 0], rotation[2, 2])))


def _visible(head: HeadModel, view: View) -> np.ndarray:
    """Return which landmarks (68,) a view shows, judged by the view's own shape."""
    vertices = _view_vertices(head, view)
    inner = view.landmark_vertices + head.landmark_offsets

    def to_pixels(points: np.ndarray) -> np.ndarray:
        return project(view.projection, points)

    def depth(points: np.ndarray) -> np.ndarray:
        return points @ view.projection[2, :3] + view.projection[2, 3]

    truth = true_landmarks(vertices, inner, to_pixels, head)
    return visible_landmarks(truth, vertices, to_pixels, depth, head)


def _view_vertices(head: HeadModel, view: View) -> np.ndarray:
    return flatten_ears(head.vertices(shape_coefficients(head, view.key.shape)), head)


@dataclass(frozen=True, eq=False)
class PhotoExamples:
    """Makes the examples of one photo after the other.

    Attributes:
        head: the head model.
        views: the views to choose from, with the landmarks they show, ordered by their turn.
        find_points: returns the detector's five points (5, 2) of the one face in a picture, or None.
        renders: renders of each photo.
        seed: seed of all choices.
        effects: whether some examples get other expressions, light, and things in front of the face.
    """

    head: HeadModel
    views: list[tuple[View, np.ndarray]]
    find_points: FindPoints
    renders: int
    seed: int
    effects: bool = True

    def of(self, image: np.ndarray, points: np.ndarray, person: int) -> Iterator[Row]:
        """Yield the rows of the photo and of its renders (`identity.landmark_training.examples`); none if unusable.

        Args:
            image: (H, W, 3) uint8 RGB.
            points: (5, 2) the detector's five points in it.
            person: number of the photo.
        """
        rng = np.random.default_rng([self.seed, person])
        landmarks, spread = averaged_landmarks(image, points, rng)
        chip = chip_transform(points)
        off = np.abs((five_of_68(landmarks) - points) @ chip[:, :2].T).max()
        if spread > MAX_SPREAD or off > MAX_DISAGREEMENT:
            return
        try:
            prepared = prepare_photo(image, landmarks.astype(np.float32), self.head, RENDER_SIDE)
        except PhotoError:
            return
        pose = prepared.fit.camera.pose
        if abs(pose.yaw) > MAX_YAW:
            return
        yield self._photo(image, landmarks, points, person, (pose.yaw, pose.pitch))
        step = len(self.views) / self.renders
        start = rng.uniform(0, step)
        chosen = [self.views[int(start + step * k) % len(self.views)] for k in range(self.renders)]
        yield from self._renders(prepared, chosen, person)

    def _photo(
        self,
        image: np.ndarray,
        landmarks: np.ndarray,
        points: np.ndarray,
        person: int,
        pose: tuple[float, float],
    ) -> Row:
        drawn = draw_effects(ON_PHOTOS if self.effects else (), self.seed, person, "photo")
        view = self.views[0][0]  # effects without light do not look at it
        changed = apply_effects(image, view, landmarks.astype(np.float32), drawn)
        return (*self._cut(changed, landmarks, np.full(68, UNKNOWN, np.uint8), points), pose, PHOTO, person)

    def _renders(
        self, photo: PreparedPhoto, chosen: list[tuple[View, np.ndarray]], person: int
    ) -> Iterator[Row]:
        names = ON_RENDERS if self.effects else ()
        effects = [draw_effects(names, self.seed, person, view.key.name) for view, _ in chosen]
        changes = [expression_of(drawn, photo, self.head) for drawn in effects]
        views = [view for view, _ in chosen]
        rendered = render_views(photo, views, changes)
        for (view, visible), change, drawn, render in zip(chosen, changes, effects, rendered, strict=True):
            vertices = _view_vertices(self.head, view) + photo.offset[..., :3].reshape(-1, 3)
            inner = view.landmark_vertices + photo.landmark_offset
            if change is not None:
                vertices = vertices + change.offset[..., :3].reshape(-1, 3)
                inner = inner + change.landmark_offset
            chip = similarity(project(view.projection, inner), render.landmarks_2d)

            def to_pixels(points: np.ndarray, view: View = view, chip: np.ndarray = chip) -> np.ndarray:
                return project(view.projection, points) @ chip[:, :2].T + chip[:, 2]

            truth = true_landmarks(vertices, inner, to_pixels, self.head)
            image = apply_effects(render.image, view, render.landmarks_2d, drawn)
            row = self._cut(image, truth.landmarks_2d, visible.astype(np.uint8), self.find_points(image))
            yield (*row, (turn_of(view.key), view.key.pitch), RENDER, person)

    def _cut(
        self, image: np.ndarray, landmarks: np.ndarray, visible: np.ndarray, points: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        crop, moved, five = cut_example(image, landmarks, points)
        return crop, moved, visible, five
