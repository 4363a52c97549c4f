"""Renders for templates have the wanted yaws, as nearly as the photo allows."""

from types import SimpleNamespace

import numpy as np
import pytest

from augmentor.faces.landmark_source import Landmarks
from augmentor.views.view_key import ViewKey
from identity.chips import renders_of_photo
from identity.chips.renders_of_photo import WantedRenders, make_renders
from tests.stand_in_faces import StandInFaces

IMAGE = np.zeros((8, 8, 3), np.uint8)


def yaws_of_renders(
    monkeypatch: pytest.MonkeyPatch, photo_yaw: float, wanted: tuple[float, ...]
) -> list[int]:
    """Yaws of the views that a photo is rendered into; a stand-in render shows its yaw, plus 100, as its colour."""
    camera = SimpleNamespace(pose=SimpleNamespace(yaw=photo_yaw))
    prepared = SimpleNamespace(fit=SimpleNamespace(camera=camera))

    def shown(_prepared: object, keys: list[ViewKey]) -> list[SimpleNamespace]:
        return [SimpleNamespace(image=np.full((1, 1, 3), key.yaw + 100, np.uint8)) for key in keys]

    monkeypatch.setattr(renders_of_photo, "prepare_photo", lambda *_arguments, **_named: prepared)
    monkeypatch.setattr(renders_of_photo, "make_view", lambda _head, key, _size: key)
    monkeypatch.setattr(renders_of_photo, "render_views", shown)
    landmarks = Landmarks(np.ones((68, 2), np.float32), np.ones(68, bool))
    one = WantedRenders(0, landmarks, 1, 0, StandInFaces(), wanted)
    return [int(image[0, 0, 0]) - 100 for image in make_renders(IMAGE, "photo", one)]


def test_a_frontal_photo_is_rendered_at_the_wanted_yaws(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = (45.0, -75.0, 15.0, -60.0)
    found = yaws_of_renders(monkeypatch, 0.0, wanted)
    assert np.abs(np.subtract(found, wanted)).max() <= 4


def test_a_photo_in_profile_is_rendered_on_its_own_side_as_often_as_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = yaws_of_renders(monkeypatch, 88.0, (-60.0, 60.0) * 40)
    assert len(found) == 80 and min(found) > 30
