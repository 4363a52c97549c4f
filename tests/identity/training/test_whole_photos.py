"""Runs of whole photos: what is cut, how classes are evened out, and that such a run names photos or says `other`."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augmentor.errors import InputError
from augmentor.photos.images import encode_jpeg
from identity.enrol import main as enrol_main
from identity.evaluation.material import read_material
from identity.evaluation.on_photos import evaluate
from identity.runs.bundle import Bundle
from identity.runs.comparison import load_comparer
from identity.runs.recogniser import OTHER, Recogniser
from identity.train import main
from identity.training.whole_photos import IMAGES_PER_PHOTO, random_crop, read_whole_photos, whole_chip
from tests.identity.drawn_set import write_random_weights


def stripes(kind: int, seed: int, height: int = 70, width: int = 100) -> np.ndarray:
    """Photos of kind 0 have lines across, of kind 1 lines down, of kind 2 none; colours differ from photo to photo."""
    rng = np.random.default_rng([kind, seed])
    y, x = np.mgrid[:height, :width]
    wave = 90 * np.sign(np.sin({0: y, 1: x, 2: 0 * x}[kind] / 3.0 + rng.uniform(0, 6)))[..., None]
    image = 128 + wave * rng.uniform(0.5, 1, 3) + rng.normal(0, 8, (height, width, 3))
    return np.clip(image, 0, 255).astype(np.uint8)


def write_photos(root: Path, counts: dict[str, int], start: int = 0) -> Path:
    for kind, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True)
        for k in range(count):
            (root / name / f"{k}.jpg").write_bytes(encode_jpeg(stripes(kind, start + k)))
    return root


def test_the_chip_is_the_square_in_the_middle() -> None:
    image = np.zeros((4, 8, 3), np.uint8)
    image[:, 2:6] = 200
    assert (whole_chip(image, 4) == 200).all() and whole_chip(image, 9).shape == (9, 9, 3)
    tall = np.swapaxes(image, 0, 1)
    assert (whole_chip(tall, 2) == 200).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 10_000))
def test_a_crop_of_any_photo_has_the_size_asked_for(height: int, width: int, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    crop = random_crop(image, 16, np.random.default_rng(seed))
    assert crop.shape == (16, 16, 3) and crop.dtype == np.uint8
    np.testing.assert_array_equal(crop, random_crop(image, 16, np.random.default_rng(seed)))


def test_every_class_has_the_same_number_of_images_its_photos_first(tmp_path: Path) -> None:
    data = read_whole_photos(write_photos(tmp_path / "set", {"a": 2, "b": 5, "c": 1}), 32, seed=0)
    assert np.bincount(data.labels).tolist() == [5 * IMAGES_PER_PHOTO] * 3
    assert np.bincount(data.labels[data.is_photo]).tolist() == [2, 5, 1]
    assert np.unique(data.photos[data.labels == 0], return_counts=True)[1].tolist() == [10, 10]
    assert data.sources.num_rows == 8 and data.names == ("a", "b", "c")
    chips = data.chips(range(len(data)))
    assert np.abs(chips[0].astype(int) - whole_chip(stripes(0, 0), 32)).mean() < 12  # JPEG loses a little
    crops = chips[(data.labels == 2) & ~data.is_photo]
    assert len(np.unique(crops.reshape(len(crops), -1), axis=0)) == len(crops)
    np.testing.assert_array_equal(chips[7], data.chips([7])[0])


def test_a_photo_that_cannot_be_read_is_named_and_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_photos(tmp_path / "set", {"a": 2, "b": 2})
    (root / "a" / "broken.jpg").write_bytes(b"\xff\xd8 no photo")
    assert read_whole_photos(root, 32, 0).sources.num_rows == 4
    assert "broken.jpg" in capsys.readouterr().err


def test_what_is_no_set_of_classes_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two or more"):
        read_whole_photos(write_photos(tmp_path / "one", {"a": 2}), 32, 0)
    root = write_photos(tmp_path / "set", {"a": 2, "b": 1})
    (root / "b" / "0.jpg").write_bytes(b"nothing")
    with pytest.raises(InputError, match="no usable photo"):
        read_whole_photos(root, 32, 0)


def test_a_run_of_whole_photos_names_photos_and_says_other(tmp_path: Path) -> None:
    weights = write_random_weights(tmp_path / "random.npz")
    root = write_photos(tmp_path / "set", {"across": 6, "down": 5, "plain": 4})
    strangers = tmp_path / "strangers"
    strangers.mkdir()
    for k in range(4):
        noise = np.random.default_rng(k).integers(0, 256, (70, 100, 3), dtype=np.uint8)
        (strangers / f"{k}.png").write_bytes(encode_jpeg(noise))
    call = ["--align", "whole", "--data", str(root), "--out", str(tmp_path / "run"), "--size", "64"]
    call += ["--weights", str(weights), "--epochs", "4", "--batch", "8", "--strangers", str(strangers)]
    assert main(call) == 0
    bundle = Bundle.load(tmp_path / "run")
    assert bundle.align == "whole" and bundle.features == "b0" and set(bundle.shares) == {"head"}
    tests = write_photos(tmp_path / "tests", {"across": 3, "down": 3, "plain": 3}, start=100)
    material = read_material(tests, None, None, None, None)
    measured = evaluate("run", bundle, material, gallery=bundle)
    assert measured.rates["rank1"].value >= 2 / 3 and measured.rates["failed_to_enrol"].value == 0
    with pytest.raises(InputError, match="--no-face"):
        evaluate("run", bundle, read_material(tests, None, None, None, strangers), gallery=bundle)
    recogniser = Recogniser(bundle, fpir=0.1)
    (answer,) = recogniser.images([stripes(0, 200)])
    assert answer.status == "ok" and answer.faces[0].box == (0.0, 0.0, 100.0, 70.0)
    assert answer.as_json()["faces"][0]["pose"] is None
    recogniser.threshold = 10.0
    assert recogniser.images([stripes(0, 200)])[0].faces[0].name == OTHER
    more = write_photos(tmp_path / "more", {"across": 1}, start=300)
    assert enrol_main(["--model", str(tmp_path / "run"), "--name", "more", str(more)]) == 0
    assert Bundle.load(tmp_path / "run").labels == ("across", "down", "plain", "more")
    with pytest.raises(InputError, match="whole photos"):
        load_comparer(str(tmp_path / "run"))


def test_options_that_do_not_go_together_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_photos(tmp_path / "set", {"a": 2, "b": 2})
    call = ["--data", str(root), "--out", str(tmp_path / "run")]
    for more in (
        ["--align", "whole", "--features", "dlib"],
        ["--align", "whole", "--person", "a"],
        ["--fine-tune", "2", "--features", "dlib"],
        ["--align", "whole", "--fine-tune", "8"],
    ):
        assert main([*call, *more]) == 2
        assert len(capsys.readouterr().err.strip().splitlines()[-1]) > 20
