"""Tests of `augmentor.rendering.render` on photos drawn from the head model, for which the right render is known."""

import cv2
import numpy as np
import pytest

from augmentor.errors import PhotoError
from augmentor.faces.chip import cut_chip
from augmentor.faces.detector_offsets import detector_offsets
from augmentor.faces.five_points import five_of_68
from augmentor.faces.point_offsets import point_offsets
from augmentor.head.head_model import HeadModel, load_head_model
from augmentor.head.pose import Camera, HeadPose, rotation_from_pose
from augmentor.head.surface import flatten_ears, surface_normals, surface_triangles
from augmentor.rendering.render import PreparedPhoto, prepare_photo, render_view, render_views
from augmentor.views.head_view import make_view
from augmentor.views.raster import interpolate, rasterise
from augmentor.views.view_key import ViewKey

SIZE = 96


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head_model()


def skin(head: HeadModel, vertices: np.ndarray) -> np.ndarray:
    """Return a smooth, asymmetric pattern (V, 3): red grows from the subject's right to left, green downwards."""
    x, y = vertices[:, 0], vertices[:, 1]
    lit = 0.7 + 0.3 * np.clip(-surface_normals(vertices, head)[:, 2], 0, 1)
    dark = 1 - 0.5 * np.maximum(head.regions["eyes"], head.regions["lips"])
    colour = np.stack([120 + x * 0.8, 120 + y * 0.6, np.full(len(x), 110)], 1)
    return np.clip(colour * (lit * dark)[:, None], 0, 255)


def photo(head: HeadModel, yaw: float, *, height: int = 260) -> tuple[np.ndarray, np.ndarray]:
    """Return a photo of the mean head in front of blue and orange stripes, and the landmarks that dlib would detect."""
    rotation = rotation_from_pose(HeadPose(yaw, 0.0, 0.0))
    focal, centre = height * 3.6, np.array([height / 2, height / 2])
    camera = Camera(rotation=rotation, translation=np.array([0, 0, 1200.0]), focal=focal, centre=centre)
    vertices = flatten_ears(head.vertices(), head)
    depth = (vertices @ rotation.T)[:, 2] + 1200
    triangles = surface_triangles(head)
    triangle_map, weights = rasterise(camera.project(vertices), depth, triangles, (height, height))
    face = interpolate(triangle_map, weights, triangles, skin(head, vertices))
    stripes = np.where(np.arange(height)[None, :, None] // 20 % 2, [200, 120, 20], [20, 60, 200])
    image = np.where(triangle_map[..., None] >= 0, face, np.broadcast_to(stripes, face.shape)).astype(
        np.uint8
    )
    points = head.landmarks()
    points[17:] += detector_offsets()[17:].astype(np.float32)
    return image, camera.project(points)


def seen_points(landmarks: np.ndarray, yaw: float) -> np.ndarray:
    """Return the five points that the detector would see in such a photo."""
    return five_of_68(landmarks) + point_offsets(yaw, 0.0, 0.0) * (260 * 3.6 / 1200)


@pytest.fixture(scope="module")
def frontal(head: HeadModel) -> tuple[np.ndarray, np.ndarray]:
    return photo(head, 0.0)


@pytest.fixture(scope="module")
def prepared(head: HeadModel, frontal: tuple[np.ndarray, np.ndarray]) -> PreparedPhoto:
    return prepare_photo(*frontal, head, SIZE)


@pytest.mark.parametrize("yaw", [0.0, 20.0])
def test_render_at_the_photos_own_pose_reproduces_its_chip(head: HeadModel, yaw: float) -> None:
    image, landmarks = photo(head, yaw)
    ready = prepare_photo(image, landmarks, head, SIZE)
    pose = ready.fit.camera.pose
    view = make_view(head, ViewKey(0, "as_photo", pose.yaw, pose.pitch, pose.roll), SIZE)
    rendered = render_view(ready, view)
    difference = np.abs(rendered.image.astype(int) - cut_chip(image, seen_points(landmarks, yaw), SIZE)).mean(
        -1
    )
    inner = cv2.erode((cv2.resize(view.face, (SIZE, SIZE)) > 0.99).astype(np.uint8), np.ones((7, 7))) > 0
    assert difference[inner & rendered.visible].mean() < 1
    assert difference.mean() < 12  # the stripes follow the outline from a greater distance


def test_turned_render_shows_what_a_turned_head_shows(head: HeadModel, prepared: PreparedPhoto) -> None:
    turned, landmarks = photo(head, 20.0)
    truth = cut_chip(turned, seen_points(landmarks, 20.0), SIZE).astype(int)
    view = make_view(head, ViewKey(0, "as_photo", 20.0, 0.0, 0.0), SIZE)
    rendered = render_view(prepared, view)
    inner = cv2.erode((cv2.resize(view.face, (SIZE, SIZE)) > 0.99).astype(np.uint8), np.ones((9, 9))) > 0
    error = np.abs(rendered.image.astype(int) - truth)[inner & rendered.visible].mean()
    frontal, straight = photo(head, 0.0)
    unturned = np.abs(cut_chip(frontal, seen_points(straight, 0.0), SIZE).astype(int) - truth)[inner].mean()
    assert error < 6 and error < 0.6 * unturned


def test_same_photo_and_view_give_the_same_bytes(
    head: HeadModel, frontal: tuple[np.ndarray, np.ndarray]
) -> None:
    before = frontal[0].copy()
    view = make_view(head, ViewKey(4, "as_photo", -30.0, 8.0, 0.0), SIZE)
    one, two = (render_view(prepare_photo(*frontal, head, SIZE), view) for _ in range(2))
    np.testing.assert_array_equal(one.image, two.image)
    np.testing.assert_array_equal(frontal[0], before)


def test_renders_do_not_depend_on_the_views_beside_them(head: HeadModel, prepared: PreparedPhoto) -> None:
    keys = [
        ViewKey(s, "as_photo", y, p, 0.0) for s, y, p in ((0, 20.0, 0.0), (1, -33.0, 9.0), (5, 61.0, -12.0))
    ]
    keys.insert(1, ViewKey(3, "neutral", 10.0, 0.0, 0.0))
    views = [make_view(head, key, SIZE) for key in keys]
    together = list(render_views(prepared, views * 12))  # more than are moved together
    for number, rendered in enumerate(together):
        alone = render_view(prepared, views[number % len(views)])
        np.testing.assert_array_equal(rendered.image, alone.image)
        np.testing.assert_array_equal(rendered.landmarks_2d, alone.landmarks_2d)


def test_more_padding_shows_more_around_the_same_face(head: HeadModel, prepared: PreparedPhoto) -> None:
    key = ViewKey(0, "as_photo", 30.0, 0.0, 0.0)
    chip, wide = (render_view(prepared, make_view(head, key, SIZE, padding)) for padding in (0.25, 0.6))
    middle = (SIZE - 1) / 2
    np.testing.assert_allclose(  # 1 + 2 * padding face sizes fit in
        (wide.landmarks_2d - middle) * (1 + 2 * 0.6), (chip.landmarks_2d - middle) * (1 + 2 * 0.25), atol=1.0
    )
    with pytest.raises(ValueError, match="padding"):
        list(render_views(prepared, [make_view(head, key, SIZE, padding) for padding in (0.25, 0.6)]))


def test_photo_prepared_for_another_size_is_refused(head: HeadModel, prepared: PreparedPhoto) -> None:
    with pytest.raises(ValueError, match="prepared for 96 px"):
        render_view(prepared, make_view(head, ViewKey(0, "neutral", 0.0, 0.0, 0.0), 64))


def test_render_has_the_promised_shapes(head: HeadModel, prepared: PreparedPhoto) -> None:
    rendered = render_view(prepared, make_view(head, ViewKey(2, "as_photo", 40.0, -10.0, 3.0), SIZE))
    assert rendered.image.shape == (SIZE, SIZE, 3) and rendered.image.dtype == np.uint8
    assert rendered.visible.shape == (SIZE, SIZE) and rendered.visible.dtype == bool
    assert rendered.landmarks_2d.shape == (68, 2) and rendered.landmarks_2d.dtype == np.float32
    assert rendered.landmarks_visible.shape == (68,) and rendered.landmarks_visible.dtype == bool


def test_views_from_shared_memory_may_be_read_only(head: HeadModel, prepared: PreparedPhoto) -> None:
    view = make_view(head, ViewKey(0, "as_photo", 20.0, 0.0, 0.0), SIZE)
    for value in [*vars(view).values(), *vars(view.nodes).values(), *vars(prepared).values()]:
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
    assert render_view(prepared, view).image.any()


def test_hidden_cheek_is_taken_from_the_other_side(head: HeadModel) -> None:
    image, landmarks = photo(head, 38.0)
    rendered = render_view(
        prepare_photo(image, landmarks, head, SIZE),
        make_view(head, ViewKey(0, "as_photo", 0.0, 0.0, 0.0), SIZE),
    )
    left, right = rendered.image[55:75, 12:20], rendered.image[55:75, -20:-12]
    assert not rendered.visible[55:75, 12:20].all(), "the cheek on the image's left is hidden in the photo"
    for cheek in (left, right):  # skin, neither blue nor orange stripes
        red, green, blue = cheek.reshape(-1, 3).mean(0)
        assert 60 < red < 200 and 60 < green < 170 and 60 < blue < 140


def test_nothing_is_black_beyond_the_edge_of_the_photo(head: HeadModel) -> None:
    image, landmarks = photo(head, 0.0)
    left, top = np.floor(landmarks[17:].min(0)).astype(int) - 8
    right, bottom = np.ceil(landmarks[17:].max(0)).astype(int) + 8
    tight = np.maximum(image[top:bottom, left:right], 40)
    ready = prepare_photo(tight, landmarks - np.array([left, top], np.float32), head, SIZE)
    for yaw in (-40.0, 0.0, 40.0):
        assert (
            render_view(ready, make_view(head, ViewKey(0, "as_photo", yaw, 0.0, 0.0), SIZE)).image.min() > 20
        )


def test_large_photo_is_reduced_to_at_most_twice_the_render(head: HeadModel) -> None:
    large = prepare_photo(*photo(head, 0.0, height=600), head, SIZE)
    assert max(large.canvas.shape) < 2 * 2.3 * SIZE


def test_points_that_are_no_face_are_refused(head: HeadModel) -> None:
    points = np.random.default_rng(0).uniform(0, 200, (68, 2)).astype(np.float32)
    with pytest.raises(PhotoError) as caught:
        prepare_photo(np.zeros((200, 200, 3), np.uint8), points, head, SIZE)
    assert caught.value.reason == "bad_pose"
