"""Tests of `augmentor.rendering.effects`: which effects are drawn, their names, and what each does to a picture."""

import cv2
import numpy as np
import pytest

from augmentor.errors import InputError
from augmentor.head.head_model import load_head_model
from augmentor.rendering.effects import EFFECTS, EXPRESSION, Effect, apply_effects, draw_effects, effect_names
from augmentor.rendering.light import shade, soft_light
from augmentor.views.head_view import make_view
from augmentor.views.view import View
from augmentor.views.view_key import ViewKey

SIZE = 96


@pytest.fixture(scope="module")
def view() -> View:
    return make_view(load_head_model(), ViewKey(0, "neutral", 15.0, 0.0, 0.0), SIZE)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """Return a coloured picture with detail, (96, 96, 3) uint8."""
    rng = np.random.default_rng(3)
    smooth = cv2.GaussianBlur(rng.uniform(0, 255, (SIZE, SIZE, 3)).astype(np.float32), (0, 0), 2.0)
    return np.clip((smooth - 127) * 6 + [170, 130, 110], 0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", [name for name in EFFECTS if name != EXPRESSION])
@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_every_effect_changes_the_picture_and_always_the_same_way(
    view: View, picture: np.ndarray, name: str, strength: float
) -> None:
    before = picture.copy()
    for number in (0, 1, 2, 40000):
        effects = [Effect(name, strength, number)]
        one, two = (apply_effects(picture, view, view.landmarks_2d, effects) for _ in range(2))
        assert one.shape == picture.shape and one.dtype == np.uint8
        np.testing.assert_array_equal(one, two)
        if not (name == "brim" and strength == 0):  # a small hat sits above the chip
            assert (one != picture).mean() > 0.005
    np.testing.assert_array_equal(picture, before)


def detail(picture: np.ndarray) -> float:
    return float(np.abs(cv2.Laplacian(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.CV_32F)).mean())


@pytest.mark.parametrize("name", ["blur", "low_resolution"])
def test_stronger_effects_leave_less_detail(view: View, picture: np.ndarray, name: str) -> None:
    for number in (0, 7):
        details = [
            detail(apply_effects(picture, view, view.landmarks_2d, [Effect(name, strength, number)]))
            for strength in (0.0, 0.5, 1.0)
        ]
        assert detail(picture) > details[0] > details[1] > details[2]


def test_grey_has_no_colour_and_noise_no_tint(view: View, picture: np.ndarray) -> None:
    grey = apply_effects(picture, view, view.landmarks_2d, [Effect("grey", 0.5, 1)])
    assert (grey[..., 0] == grey[..., 1]).all() and (grey[..., 1] == grey[..., 2]).all()
    flat = np.full((SIZE, SIZE, 3), 120, np.uint8)
    noisy = apply_effects(flat, view, view.landmarks_2d, [Effect("noise", 1.0, 5)]).astype(float)
    assert np.abs(noisy.mean((0, 1)) - 120).max() < 1
    assert 8 < noisy.std() < 20


def test_a_mask_hides_the_mouth_and_glasses_frame_the_eyes(view: View, picture: np.ndarray) -> None:
    x, y = view.landmarks_2d[62].round().astype(int)
    masked = apply_effects(picture, view, view.landmarks_2d, [Effect("mask", 0.5, 1)])
    assert masked[y - 2 : y + 3, x - 2 : x + 3].std(axis=(0, 1)).max() < 25, "cloth, with at most a fold"
    np.testing.assert_array_equal(masked[:20], picture[:20])
    dark = apply_effects(picture, view, view.landmarks_2d, [Effect("glasses", 0.5, 3)])
    for eye in (view.landmarks_2d[36:42].mean(0), view.landmarks_2d[42:48].mean(0)):
        column, row = eye.round().astype(int)
        assert dark[row, column].mean() < 0.6 * picture[row, column].mean()


def test_constant_light_changes_nothing_and_first_order_light_is_the_cosine(view: View) -> None:
    flat = np.full((SIZE, SIZE, 3), 100, np.uint8)
    np.testing.assert_array_equal(shade(flat, view, np.array([1.0, *[0] * 8])), flat)
    lit = shade(flat, view, np.array([1.0, -0.5, *[0] * 7])).astype(float)  # from the image's left
    row, column = len(view.face) // 2, len(view.face) // 2
    x = float(view.normal[row, column].astype(float) @ rotation_x(view))
    expected = 100 * (1 - 0.5 * x) ** (1 / 2.2)
    assert abs(lit[2 * row : 2 * row + 2, 2 * column : 2 * column + 2].mean() - expected) < 2


def rotation_x(view: View) -> np.ndarray:
    """Return the image's x axis in the model frame, from the view's camera."""
    depth, across = view.projection[2, :3], view.projection[0, :3]
    axis = across - (across @ depth) / (depth @ depth) * depth
    return axis / np.linalg.norm(axis)


def test_drawn_light_keeps_the_brightness_of_a_face(view: View) -> None:
    flat = np.full((SIZE, SIZE, 3), 120, np.uint8)
    face = cv2.resize(view.face, (SIZE, SIZE)) > 0.9
    levels = [shade(flat, view, soft_light(1.0, number))[face].mean() for number in range(60)]
    assert 95 < np.mean(levels) < 145
    assert min(levels) > 70 and max(levels) < 190


def test_effects_are_drawn_each_by_itself_as_often_as_told() -> None:
    lots = [(0, "a person", number) for number in range(4000)]
    everything = [draw_effects(tuple(EFFECTS), *lot) for lot in lots]
    for name, (share, _) in EFFECTS.items():
        alone = [draw_effects((name,), *lot) for lot in lots]
        assert alone == [tuple(e for e in effects if e.name == name) for effects in everything]
        assert abs(np.mean([bool(effects) for effects in alone]) - share) < 0.04
    assert draw_effects((), 1) == ()
    assert str(Effect("blur", 0.5, 17)) == "blur:0.50:17"


def test_names_from_the_command_line() -> None:
    assert effect_names("none") == () and effect_names("all") == tuple(EFFECTS)
    assert effect_names("jpeg, light") == ("light", "jpeg")
    with pytest.raises(InputError, match="--effects fog"):
        effect_names("fog")
