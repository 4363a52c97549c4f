from pathlib import Path

import keras
import numpy as np
import pytest

from augmentor.errors import InputError
from identity.networks import backbone
from identity.networks.backbone import (
    bare_backbone,
    build_backbone,
    load_weights,
    save_weights,
    space_arrays,
)
from identity.networks.face_space import FaceSpace


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    """Weights of a B0, random but with batch norm's statistics taken from pictures, so that no layer blows up.

    Otherwise the features grow to 1e10 layer by layer, and rounding, which differs from one processor to the next,
    grows with them.
    """
    keras.utils.set_random_seed(0)
    model = bare_backbone(64)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(np.random.default_rng(0).uniform(0, 255, (8, 64, 64, 3)).astype("f4"), training=True)
    found = backbone.backbone_arrays(model)
    for name in found:
        if name.endswith("kernel"):
            found[name] = found[name].astype("f2").astype("f4")
    return found


@pytest.fixture(scope="module")
def weights_file(arrays: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("weights") / "some.npz"
    projection = {"projection/kernel": np.eye(1280, 128), "projection/bias": np.zeros(128)}
    rng = np.random.default_rng(3)
    space = FaceSpace(rng.normal(size=1280).astype("f4"), SPACE_MATRIX.astype("f4"), "")
    save_weights(file, arrays | projection | space_arrays(space), {"name": "some"})
    return file


SPACE_MATRIX = np.random.default_rng(4).normal(size=(1280, 40)) * np.geomspace(1, 100, 40)


def test_a_backbone_has_the_published_number_of_parameters_and_a_5_by_5_map_at_150() -> None:
    model = bare_backbone(150, "efficientnet")
    assert model.count_params() == backbone.FROZEN_PARAMETERS == 4_049_564
    assert model.output_shape == (None, 5, 5, 1280)


def test_both_builders_give_the_same_features_from_the_same_weights(weights_file: Path) -> None:
    pictures = np.random.default_rng(1).uniform(0, 255, (2, 150, 150, 3)).astype("f4")
    ours = build_backbone(weights_file, 150, "efficientnet").predict_on_batch(pictures)
    other = build_backbone(weights_file, 150, "keras.applications").predict_on_batch(pictures)
    assert ours.shape == (2, 5, 5, 1280)
    assert np.std(ours) > 1e-4
    np.testing.assert_allclose(ours, other, rtol=0, atol=1e-4 * np.abs(ours).max())


def test_weights_come_back_as_they_were_saved(arrays: dict[str, np.ndarray], weights_file: Path) -> None:
    loaded = load_weights(weights_file)
    assert loaded.embeds and loaded.card == {"name": "some"} and len(loaded.digest) == 64
    for name, array in arrays.items():
        np.testing.assert_array_equal(loaded.arrays[name], array)


def test_the_space_of_weights_keeps_what_8_bits_can_tell(weights_file: Path) -> None:
    space = load_weights(weights_file).space
    steps = np.abs(SPACE_MATRIX).max(axis=0) / 127
    assert (np.abs(space.matrix - SPACE_MATRIX) <= 0.51 * steps).all()
    faces = np.random.default_rng(5).normal(size=(50, 1280)) + 3
    exact = FaceSpace(space.origin, SPACE_MATRIX.astype("f4"), "")
    assert np.abs(space(faces) @ space(faces).T - exact(faces) @ exact(faces).T).max() < 0.02


def test_face_weights_without_a_space_say_how_to_get_one(
    arrays: dict[str, np.ndarray], tmp_path: Path
) -> None:
    projection = {"projection/kernel": np.eye(1280, 128), "projection/bias": np.zeros(128)}
    save_weights(tmp_path / "old.npz", arrays | projection, {"name": "old"})
    with pytest.raises(InputError, match="earlier version"):
        load_weights(tmp_path / "old.npz")


def test_a_missing_array_is_an_error_and_never_a_random_start(
    arrays: dict[str, np.ndarray], tmp_path: Path
) -> None:
    file = tmp_path / "short.npz"
    save_weights(file, {n: a for n, a in arrays.items() if n != "top_conv/kernel"}, {"name": "short"})
    with pytest.raises(InputError, match="top_conv/kernel"):
        build_backbone(file, 64)


@pytest.mark.parametrize("content", [b"", b"no weights at all", b"PK\x03\x04 torn"])
def test_a_damaged_file_is_one_clear_line(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "damaged.npz"
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"damaged\.npz") as caught:
        load_weights(file)
    assert "\n" not in str(caught.value)


def test_truncated_weights_are_refused(weights_file: Path, tmp_path: Path) -> None:
    file = tmp_path / "torn.npz"
    file.write_bytes(weights_file.read_bytes()[:-5000])
    with pytest.raises(InputError, match=r"torn\.npz"):
        load_weights(file)


def test_an_unknown_file_names_the_choices(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="face, imagenet, noisy-student"):
        load_weights(tmp_path / "nothing.npz")


def test_shipped_weights_whose_checksum_is_wrong_are_refused(
    weights_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = tmp_path / "face.npz"
    shipped.write_bytes(weights_file.read_bytes())
    shipped.with_suffix(".json").write_text('{"sha256": "0"}')
    monkeypatch.setattr(backbone, "FACE_WEIGHTS", shipped)
    with pytest.raises(InputError, match="damaged"):
        load_weights("face")


def test_imagenet_without_a_network_names_the_file_to_fetch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_args: object, **_kwargs: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("efficientnet.tfkeras.EfficientNetB0", offline)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    with pytest.raises(InputError, match=r"efficientnet-b0_weights_tf.*notop\.h5") as caught:
        load_weights("imagenet")
    assert str(tmp_path) in str(caught.value)
