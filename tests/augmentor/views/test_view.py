"""Tests of `augmentor.views.view`: poses, places and landmarks of rasterised views."""

import numpy as np
import pytest

from augmentor.errors import InputError
from augmentor.faces.chip import chip_transform
from augmentor.faces.five_points import five_of_68
from augmentor.head.head_model import HeadModel, load_head_model
from augmentor.head.surface import flatten_ears
from augmentor.views.head_view import make_view
from augmentor.views.view import View, pixel_places, project
from augmentor.views.view_key import (
    FRONTWARDS,
    PROFILE_YAW,
    ViewKey,
    allowed,
    paper_view_keys,
    spread_view_keys,
)


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head_model()


@pytest.fixture(scope="module")
def turned(head: HeadModel) -> View:
    return make_view(head, ViewKey(0, "neutral", 35.0, 0.0, 0.0), 96)


def test_positive_yaw_turns_the_nose_to_the_image_left_and_hides_that_cheek(turned: View) -> None:
    nose_tip, nose_bridge = turned.landmarks_2d[30], turned.landmarks_2d[27]
    assert nose_tip[0] < nose_bridge[0] - 3
    assert not turned.landmarks_visible[1:5].any()  # jaw on the image's left
    assert turned.landmarks_visible[[11, 12, 30, 33, 45, 54]].all()


def test_positive_pitch_lowers_the_nose(head: HeadModel) -> None:
    down, up = (make_view(head, ViewKey(0, "neutral", 0.0, p, 0.0), 64).landmarks_2d for p in (20.0, -20.0))
    assert down[30, 1] - down[27, 1] > up[30, 1] - up[27, 1] + 2


def test_view_is_placed_by_the_points_that_would_be_detected(turned: View) -> None:
    points = five_of_68(turned.landmarks_2d) + turned.point_offsets
    np.testing.assert_allclose(chip_transform(points, 96), np.eye(2, 3), atol=0.02)


def test_position_map_projects_onto_its_own_pixels(turned: View) -> None:
    inside = turned.face > 0.99
    pixels = project(turned.projection, turned.position[inside])
    y, x = (pixel_places(turned.size, len(inside))[k] for k in np.nonzero(inside))
    assert np.abs(pixels - np.stack([x, y], 1)).mean() < 0.1


def test_grid_places_name_the_point_that_is_shown(head: HeadModel, turned: View) -> None:
    inside = turned.face > 0.99
    column, row = np.rint(turned.grid[inside]).astype(int).T
    node = flatten_ears(head.vertices(), head)[row * head.grid_shape[1] + column]
    assert (
        np.median(np.linalg.norm(node - turned.position[inside], axis=1)) < 3
    )  # mm; nodes lie 3 to 8 mm apart


def test_normals_face_the_camera(turned: View) -> None:
    towards = -turned.normal[turned.face > 0.99].astype(np.float32) @ turned.projection[2, :3].astype(
        np.float32
    )
    assert (towards > -0.05).mean() > 0.98 and towards.mean() > 0.5


def test_same_key_gives_the_same_small_view(head: HeadModel) -> None:
    one, two = (make_view(head, ViewKey(3, "as_photo", -20.0, 5.0, 2.0)) for _ in range(2))
    for part, other in ((one, two), (one.nodes, two.nodes)):
        for name, value in vars(part).items():
            if isinstance(value, np.ndarray):
                np.testing.assert_array_equal(value, getattr(other, name), err_msg=name)
    assert 150 * one.nbytes < 150e6 / 3


def test_beside_the_nose_a_pixel_counts_as_partly_covered(turned: View) -> None:
    step = np.abs(np.diff(turned.grid, axis=1)).max(2) > 4
    step &= np.minimum(turned.face[:, 1:], turned.face[:, :-1]) > 0.5
    assert step.any() and turned.face[:, 1:][step].max() < 0.75


def test_shapes_differ_and_the_first_is_the_mean(head: HeadModel) -> None:
    views = [make_view(head, ViewKey(s, "neutral", 0.0, 0.0, 0.0), 48) for s in (0, 1, 2)]
    assert np.abs(views[1].landmark_vertices - views[0].landmark_vertices).max() > 2
    assert np.abs(views[1].landmark_vertices - views[2].landmark_vertices).max() > 2


@pytest.mark.parametrize(
    "key",
    [(10, "neutral", 0, 0, 0), (0, "glum", 0, 0, 0), (0, "neutral", 91, 0, 0), (0, "neutral", np.nan, 0, 0)],
)
def test_impossible_key_is_refused(key: tuple[int, str, float, float, float]) -> None:
    with pytest.raises(InputError):
        ViewKey(*key)


def test_default_views_are_many_distinct_seeded_and_spread() -> None:
    keys = spread_view_keys(0)
    assert keys == spread_view_keys(0) != spread_view_keys(1)
    assert len(keys) >= 160
    assert len({(k.shape, k.yaw, k.pitch) for k in keys}) == len({k.name for k in keys}) == len(keys)
    assert {k.shape for k in keys} == set(range(10))
    yaws = np.array([k.yaw for k in keys])
    assert yaws.min() <= -85 and yaws.max() >= 85 and np.abs(yaws).max() <= 90
    assert abs((yaws > 0).sum() - (yaws < 0).sum()) < 20
    assert (np.abs(yaws) <= 25).mean() > 0.5


def test_the_paper_has_ten_shapes_at_nine_yaws() -> None:
    keys = paper_view_keys()
    assert len(keys) == len({key.name for key in keys}) == 90
    assert {key.shape for key in keys} == set(range(10))
    assert {abs(key.yaw) for key in keys} == {0, 22, 40, 55, 75} and {key.pitch for key in keys} == {0}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_one_photo_at_any_yaw_has_enough_views(seed: int) -> None:
    keys = spread_view_keys(seed)
    for yaw in range(-60, 61, 5):
        assert sum(allowed(float(yaw), key) for key in keys) >= 130, yaw


def test_near_view_rule() -> None:
    def to(yaw: float, pitch: float = 0.0) -> ViewKey:
        return ViewKey(0, "as_photo", yaw, pitch, 0.0)

    assert not allowed(20.0, to(21.0)), "its own pose"
    assert allowed(20.0, to(21.0, 15.0)) and allowed(20.0, to(30.0))
    assert not allowed(60.0, to(0.0)) and not allowed(60.0, to(-60.0)), "too far towards the front"
    assert allowed(60.0, to(90.0)) and allowed(-60.0, to(FRONTWARDS - 60)), (
        "outwards, and a little to the front"
    )
    assert (
        allowed(90.0, to(60.0)) and not allowed(90.0, to(90 - FRONTWARDS - 1)) and not allowed(90.0, to(88.0))
    )
    assert allowed(105.0, to(90 - FRONTWARDS)), "as far as a profile"
    assert allowed(PROFILE_YAW - 1, to(0.0))
