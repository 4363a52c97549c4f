from pathlib import Path

import pytest

from augmentor.errors import InputError
from augmentor.head.head_model import load_head_model
from augmentor.views.view import View
from augmentor.views.view_key import spread_view_keys
from augmentor.views.view_set import ViewSet, load_view_set

MODELS = Path(__file__).parents[4] / "shared" / "data" / "face_specific_augm"


def test_built_in_views_are_those_of_the_seed() -> None:
    views = load_view_set("built-in", 150, 3)
    assert list(views.keys) == spread_view_keys(3)
    assert views.digest != load_view_set("built-in", 150, 4).digest


def test_views_that_are_ready_are_not_made_again() -> None:
    head = load_head_model()
    key = spread_view_keys(0)[0]
    made = ViewSet(head, [key], 32).view(key)
    assert isinstance(made, View) and made.size == 32
    assert ViewSet(head, [key], 32, {key.name: made}).view(key) is made


def test_a_folder_without_models_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no \.mat view models") as caught:
        load_view_set(f"views:{tmp_path}", 150, 0)
    assert "\n" not in str(caught.value)


@pytest.mark.data
def test_the_original_models_are_ready_views() -> None:
    if not MODELS.is_dir():
        pytest.skip(f"{MODELS} is not here")
    views = load_view_set(f"views:{MODELS}", 150, 0)
    assert len(views.keys) == 7
    assert {round(abs(key.yaw), -1) for key in views.keys} >= {0, 20, 40}
    assert all(views.view(key).position.shape == (75, 75, 3) for key in views.keys)
