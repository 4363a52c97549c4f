"""The TensorFlow copy of dlib's net gives dlib's embeddings."""

from pathlib import Path

import cv2
import dlib
import numpy as np
import pytest

from augmentor.errors import InputError
from augmentor.model_files.model_store import model_path
from identity.networks.dlib_embedding import CHIP_SIZE, WEIGHTS_NAME, DlibEmbedding, read_dlib_weights


@pytest.fixture(scope="module")
def embed() -> DlibEmbedding:
    return DlibEmbedding(batch_size=4)


def drawn_chips() -> np.ndarray:
    """Black, white, noise, and a drawn face at three brightnesses: (6, 150, 150, 3) uint8."""
    rng = np.random.default_rng(0)
    face = np.full((CHIP_SIZE, CHIP_SIZE, 3), (90, 110, 130), np.uint8)
    cv2.ellipse(face, (75, 80), (45, 60), 0, 0, 360, (220, 180, 150), -1)
    for x in (55, 95):
        cv2.circle(face, (x, 65), 6, (40, 30, 20), -1)
    cv2.ellipse(face, (75, 110), (18, 7), 0, 0, 180, (170, 70, 70), -1)
    plain = [np.zeros_like(face), np.full_like(face, 255), rng.integers(0, 256, face.shape, dtype=np.uint8)]
    return np.stack([*plain, face, face // 2, cv2.GaussianBlur(face, (0, 0), 3)])


def test_embeddings_equal_those_of_dlib(embed: DlibEmbedding) -> None:
    chips = drawn_chips()
    reference = dlib.face_recognition_model_v1(str(model_path(WEIGHTS_NAME)))
    expected = np.array([reference.compute_face_descriptor(chip) for chip in chips])
    embeddings = embed(chips)  # two batches, the second not full
    assert embeddings.dtype == np.float32
    assert embeddings.shape == (6, 128)
    assert np.abs(embeddings - expected).max() < 1e-4


def test_no_chips_give_no_embeddings(embed: DlibEmbedding) -> None:
    assert embed(np.zeros((0, CHIP_SIZE, CHIP_SIZE, 3), np.uint8)).shape == (0, 128)


@pytest.mark.parametrize(("size", "dtype"), [(112, np.uint8), (CHIP_SIZE, np.float32)])
def test_chips_of_another_size_or_type_are_refused(embed: DlibEmbedding, size: int, dtype: type) -> None:
    with pytest.raises(InputError, match="150"):
        embed(np.zeros((1, size, size, 3), dtype))


def test_a_damaged_or_missing_weights_file_is_one_clear_error(tmp_path: Path) -> None:
    damaged = tmp_path / "net.dat"
    damaged.write_bytes(model_path(WEIGHTS_NAME).read_bytes()[:1_000_000])
    for path in (damaged, tmp_path / "absent.dat"):
        with pytest.raises(InputError, match=path.name):
            read_dlib_weights(path)
