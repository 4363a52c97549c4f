"""Tests of `augmentor.rendering.light`: the side that faces the light gets brighter, the background stays."""

from dataclasses import fields

import numpy as np
import pytest

from augmentor.rendering.light import light_direction, relight
from augmentor.views.view import View
from augmentor.views.view_key import ViewKey


def half_and_half() -> View:
    """Return a view whose left half is skin facing image-left and whose right half is background."""
    size = 8
    normal = np.zeros((4, 4, 3), np.float32)
    normal[:, :2] = (-1, 0, 0)
    surface = np.zeros((4, 4, 4), np.float32)
    surface[:, :2, 2] = 1
    empty = np.zeros(0, np.float32)
    key = ViewKey(0, "neutral", 0, 0, 0)
    others = {field.name: empty for field in fields(View)}
    return View(**others | {"key": key, "size": size, "normal": normal, "surface": surface})


def test_light_zero_is_the_photo_itself() -> None:
    image = np.full((8, 8, 3), 100, np.uint8)
    assert relight(image, half_and_half(), 0) is image


def test_skin_turned_to_the_light_gets_brighter_and_the_background_stays() -> None:
    image = np.full((8, 8, 3), 100, np.uint8)
    for light in range(1, 12):
        lit = relight(image, half_and_half(), light).astype(int)
        assert np.abs(lit[:, 5:] - 100).max() == 0
        assert np.sign(lit[0, 0, 0] - 100) == -np.sign(round(float(light_direction(light)[0]), 2))
        assert np.array_equal(lit, relight(image, half_and_half(), light))


def test_lights_differ_and_come_from_before_the_face() -> None:
    directions = np.array([light_direction(k) for k in range(1, 30)])
    assert np.allclose(np.linalg.norm(directions, axis=1), 1)
    assert (directions[:, 2] < 0).all()
    assert (
        np.linalg.norm(directions[:, None] - directions[None], axis=2)[~np.eye(29, dtype=bool)].min() > 0.05
    )


def test_negative_light_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        relight(np.zeros((8, 8, 3), np.uint8), half_and_half(), -1)
