"""The recipe of pre-training, a few training steps on made-up chips, and the weights that come out."""

import json
from pathlib import Path

import numpy as np
import pytest

from augmentor.errors import InputError
from identity.networks.backbone import load_weights
from identity.pretrain import main, make_parser, recipe_of
from identity.pretraining.faces_to_learn import Faces
from identity.pretraining.held_out import held_out_faces
from identity.pretraining.recipe import Recipe
from identity.pretraining.student import Pretraining, Speed, linear_fit
from identity.pretraining.student_view import jittered_view
from identity.pretraining.student_weights import finish
from tests.identity.drawn_set import write_random_weights


def some_faces(count: int = 24) -> Faces:
    rng = np.random.default_rng(0)
    chips = rng.integers(0, 255, (count, 112, 112, 3), dtype=np.uint8)
    targets = rng.normal(size=(count, 128)).astype("f4")
    targets /= np.linalg.norm(targets, axis=1, keepdims=True)
    paths = np.array([f"{20 + k}_{k % 2}_0_{k}.jpg" for k in range(count)])
    return Faces(
        chips,
        targets,
        np.arange(4),
        np.zeros_like(chips[4:8]),
        np.array([4, 4, 9, 10]),
        paths,
        np.zeros(128, "f4"),
    )


def test_the_cost_of_a_size_decides_how_often_it_is_drawn() -> None:
    recipe = Recipe(sizes=(50, 100), first_shares=(0.5, 0.5), mix_from=0.2, last_from=0.8)
    np.testing.assert_allclose(recipe.size_probabilities(0.2), [0.8, 0.2])
    np.testing.assert_allclose(recipe.size_probabilities(0.8), [0, 1])


def test_learning_rate_warms_up_and_ends_at_zero() -> None:
    recipe = Recipe(learning_rate=1.0, warm_up=10)
    assert recipe.learning_rate_at(0, 0) == pytest.approx(0.1)
    assert recipe.learning_rate_at(9, 0) == 1
    assert recipe.learning_rate_at(99, 0.5) == pytest.approx(0.5)
    assert recipe.learning_rate_at(99, 1) == pytest.approx(0)


def test_jitter_returns_the_requested_size_and_is_repeatable() -> None:
    chip = np.full((112, 112, 3), 128, np.uint8)
    first = jittered_view(chip, 64, 1.07, np.random.default_rng(3))
    assert first.shape == (64, 64, 3) and first.dtype == np.uint8
    np.testing.assert_array_equal(first, jittered_view(chip, 64, 1.07, np.random.default_rng(3)))


def test_a_batch_shows_renders_with_their_photos_target_and_no_held_out_face() -> None:
    faces = some_faces()
    recipe = Recipe(batch=20, render_share=1.0)
    shown, targets = faces.batch(recipe, 32, np.random.default_rng(0))
    assert shown.shape == (20, 32, 32, 3) and targets.shape == (20, 128)
    rows = [int(np.argmax(faces.targets @ t)) for t in targets]
    assert sorted(rows) == list(range(4, 24))
    # the renders here are black, at most 20 after jitter; the chips are noise around 127, at least 60 after jitter
    assert {row for row, picture in zip(rows, shown, strict=True) if picture.mean() < 40} == {4, 9, 10}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Recipe:
    return Recipe(budget=12, sizes=(32, 48), first_shares=(0.5, 0.5), batch=4, warm_up=2)


@pytest.mark.slow
def test_training_resumes_where_it_stopped_and_its_weights_load(small: Recipe, tmp_path: Path) -> None:
    training = Pretraining(some_faces(), small, tmp_path)
    training.train_step()
    training.save()
    again = Pretraining(some_faces(), small, tmp_path)
    again.resume()
    assert (again.step, again.spent) == (1, training.spent)
    for ours, theirs in zip(again.model.get_weights(), training.model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for ours, theirs in zip(again.optimizer.variables, training.optimizer.variables, strict=True):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))
    again.run(1e9, tmp_path / "log.csv")
    finish(again, tmp_path / "out.npz", "drawn")
    card = json.loads((tmp_path / "out.json").read_text())
    assert card["size"] == 48
    assert {name: row["faces"] for name, row in card["agreement_by_group"].items()} == {
        "aged 13 to 24": 4,
        "male": 2,
        "female": 2,
        "White": 4,
    }
    other = Pretraining(some_faces(), small, tmp_path)
    other.start_from(tmp_path / "out.npz")
    np.testing.assert_allclose(other.model.get_weights()[0], again.model.get_weights()[0], atol=1e-3)
    pictures = np.zeros((1, 48, 48, 3), "f4")
    loaded = other.model.predict_on_batch(pictures)
    # float16 kernels keep an embedding's direction, but a barely trained network may give another length
    expected = again.model.predict_on_batch(pictures)
    assert np.sum(loaded * expected) / np.linalg.norm(loaded) / np.linalg.norm(expected) > 0.99


@pytest.mark.slow
def test_frozen_layers_do_not_change_and_the_others_learn(tmp_path: Path) -> None:
    recipe = Recipe(budget=12, sizes=(32,), first_shares=(1.0,), batch=4, frozen_before="block7a_expand_conv")
    training = Pretraining(some_faces(), recipe, tmp_path)
    before = {w.path: np.asarray(w) for w in training.model.weights}
    training.train_step()
    changed = {w.path for w in training.model.weights if not np.array_equal(np.asarray(w), before[w.path])}
    assert changed and all("block7" in path or "top_" in path or "projection" in path for path in changed)


@pytest.mark.slow
def test_layers_that_do_not_exist_cannot_be_frozen(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no layer of the B0"):
        Pretraining(some_faces(), Recipe(sizes=(32,), first_shares=(1.0,), frozen_before="block9"), tmp_path)


@pytest.mark.slow
def test_blends_are_refused_where_no_device_makes_them(tmp_path: Path) -> None:
    training = Pretraining(some_faces(), Recipe(sizes=(32,), first_shares=(1.0,), blends=0.5), tmp_path)
    with pytest.raises(InputError, match="KERAS_BACKEND=jax"):
        training.train_step()


def two_teachers(count: int = 24) -> Faces:
    """The faces of `some_faces`, with a second teacher that did not embed the last of them."""
    one = some_faces(count)
    other = np.random.default_rng(1).normal(size=(count, 192)).astype("f4")
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    other[-1] = 0
    return Faces(
        one.chips,
        np.concatenate([one.targets, other], axis=1),
        one.held_out,
        np.concatenate([one.renders, one.renders[:2]]),
        np.array([4, 4, 9, 10, 0, 1]),
        one.paths,
        np.zeros(320, "f4"),
        ("dlib", "mobilefacenet"),
        (128, 192),
        render_yaw=np.array([-20, 30, 80, -40, 50, -85], "f4"),
    )


@pytest.mark.slow
def test_a_second_teacher_joins_weights_that_learnt_from_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("identity.pretraining.student_weights.FITTING_BATCHES", 1)
    first = load_weights(write_random_weights(tmp_path / "first.npz")).arrays["projection/kernel"]
    recipe = Recipe(budget=8, sizes=(32,), first_shares=(1.0,), batch=4, warm_up=2)
    both = Pretraining(two_teachers(), recipe, tmp_path)
    both.start_from(tmp_path / "first.npz")
    kernel = both.model.get_layer("projection").get_weights()[0]
    assert kernel.shape == (1280, 320)
    np.testing.assert_array_equal(kernel[:, :128], first)
    both.run(1e9, tmp_path / "log.csv")
    both.note(tmp_path / "log.csv", 0.5)
    finish(both, tmp_path / "both.npz", "drawn")
    card = json.loads((tmp_path / "both.json").read_text())
    assert card["teachers"] == {"dlib": 128, "mobilefacenet": 192}
    assert set(card["agreement_by_teacher"]) == set(card["teachers"])
    turned = {band: row["renders"] for band, row in card["agreement_by_yaw"].items()}
    assert turned == {"45 to 59": 1, "75 to 90": 1}
    header = (tmp_path / "log.csv").read_text().split("\n")[0]
    assert header.endswith("agreement_32_dlib,agreement_32_mobilefacenet")
    kept = both.model.get_layer("projection").get_weights()[0]
    both.start_from(tmp_path / "both.npz")
    again = both.model.get_layer("projection").get_weights()[0]
    np.testing.assert_allclose(again, kept, rtol=1e-3, atol=1e-3)  # float16


def test_a_new_teachers_projection_is_fitted_to_the_maps() -> None:
    rng = np.random.default_rng(0)
    maps, truth = rng.normal(size=(400, 12)) + 3, rng.normal(size=(12, 5))
    targets = maps @ truth + 2
    targets[::10] = 0  # rows that the teacher did not embed
    kernel, bias = linear_fit(maps, targets)
    assert np.abs(kernel - truth).max() < 0.1 and np.abs(maps[1] @ kernel + bias - targets[1]).max() < 0.1


def test_the_budget_follows_from_the_speed_after_the_calls_that_compile() -> None:
    speed = Speed()
    for now, spent in ((100, 10), (140, 20), (141, 30), (142, 40)):
        speed.add(now, spent)
        assert speed.budget(60) is None
    speed.add(143, 50)
    assert speed.budget(60) == 50 + 10 * 60
    assert speed.budget(0) == speed.budget(-5) == 50


@pytest.mark.slow
def test_a_training_whose_time_is_up_ends_before_its_budget(tmp_path: Path) -> None:
    recipe = Recipe(budget=10**9, sizes=(32,), first_shares=(1.0,), batch=4, warm_up=2)
    training = Pretraining(some_faces(), recipe, tmp_path)
    training.run(1e9, tmp_path / "log.csv", seconds=0.001)
    assert (training.step, training.spent, training.progress) == (1, 4, 1)
    assert (tmp_path / "checkpoint.npz").is_file()


def test_teacher_weights_are_given_for_every_teacher_or_not_at_all() -> None:
    assert Recipe().weights_of(2) == (1.0, 1.0)
    assert options("teacher_weights=2,1").weights_of(2) == (2.0, 1.0)
    with pytest.raises(InputError, match="2 weights for 3 teachers"):
        options("teacher_weights=2,1").weights_of(3)
    with pytest.raises(InputError, match="above 0"):
        options("teacher_weights=0,1")


def test_held_out_faces_stay_held_out_when_faces_are_added() -> None:
    paths = [f"utkface/{k}_0_1_{k}.webp" for k in range(4000)]
    held = {paths[row] for row in held_out_faces(paths)}
    assert 60 < len(held) < 140  # 2.5 %
    some = [path for k, path in enumerate(paths) if k % 7]
    assert {some[row] for row in held_out_faces(some)} == held.intersection(some)
    assert list(held_out_faces(paths)) != sorted(
        held_out_faces(paths)
    )  # the first of them come from all sources


def test_missing_photos_are_refused_in_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["--photos", str(tmp_path / "none.zip"), "--out", str(tmp_path / "w.npz")])
    assert code == 2
    assert "none.zip" in capsys.readouterr().err


def test_shares_must_add_up() -> None:
    with pytest.raises(InputError):
        Recipe(sizes=(64,), first_shares=(0.5,))


def options(*settings: str) -> Recipe:
    words = ["--photos", "p", "--out", "o"]
    for setting in settings:
        words += ["--set", setting]
    return recipe_of(make_parser().parse_args(words))


def test_the_recipe_can_be_set_field_by_field() -> None:
    recipe = options("sizes=96,150", "first_shares=0.25,0.75", "learning_rate=0.001")
    assert (recipe.sizes, recipe.first_shares, recipe.learning_rate) == ((96, 150), (0.25, 0.75), 0.001)


def test_the_option_batch_sets_the_batch_of_the_recipe() -> None:
    assert recipe_of(make_parser().parse_args(["--photos", "p", "--out", "o", "--batch", "256"])).batch == 256


@pytest.mark.parametrize("setting", ["colour=red", "batch=many", "sizes=96,150"])
def test_settings_that_the_recipe_does_not_allow_are_refused(setting: str) -> None:
    with pytest.raises(InputError):
        options(setting)
