"""The guard against measuring on training photos."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from augmentor.photos.images import list_photos, load_image, perceptual_hash, sha256_of
from identity.chips.hash_distance import SAME_PICTURE
from identity.runs.leak_guard import Leak, TrainingPhotos, find_leaks

LFW = Path(__file__).parents[3].parent / "shared" / "data" / "lfw1013"


def training(*phashes: int) -> TrainingPhotos:
    names = [f"t{i}" for i in range(len(phashes))]
    return TrainingPhotos(names, [f"digest{i}" for i in range(len(phashes))], np.array(phashes, np.uint64))


def test_same_file_and_same_picture_are_found_and_others_are_not() -> None:
    known = training(0b1111, 2**64 - 1)
    leaks = find_leaks(["digest1", "new", "new", "new", ""], [None, 0b1100, 0b1000, None, 2**63], known)
    assert leaks == [Leak(0, 1, True, 0), Leak(1, 0, False, 2)]


def test_one_bit_beyond_the_limit_is_another_picture() -> None:
    bits = [(1 << n) - 1 for n in (SAME_PICTURE, SAME_PICTURE + 1)]
    assert [leak.photo for leak in find_leaks(["a", "b"], bits, training(0))] == [0]


def test_nothing_trained_on_means_no_leak() -> None:
    assert find_leaks(["a"], [1], training()) == []


def test_unequal_lists_are_refused() -> None:
    with pytest.raises(ValueError, match="each"):
        TrainingPhotos(["a"], [], np.zeros(1, np.uint64))


@pytest.mark.data
def test_copies_of_real_photos_are_caught_and_other_photos_are_not() -> None:
    if not LFW.is_dir():
        pytest.skip("../shared/data/lfw1013 is absent")
    train = list_photos(LFW / "train")[::40]
    images = [load_image(path) for path in train]
    known = TrainingPhotos(
        [path.name for path in train],
        [sha256_of(path) for path in train],
        np.array([perceptual_hash(image) for image in images], np.uint64),
    )
    for quality, size, least in ((85, 250, 0.97), (60, 125, 0.94), (90, 500, 0.97)):
        copies = [perceptual_hash(copied(image, quality, size)) for image in images]
        leaks = find_leaks(["new"] * len(copies), copies, known)
        assert sum(leak.photo == leak.training for leak in leaks) >= least * len(copies)
    others = [perceptual_hash(load_image(path)) for path in list_photos(LFW / "test")[::10]]
    assert find_leaks(["new"] * len(others), others, known) == []


def copied(image: np.ndarray, quality: int, size: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC).save(
        buffer, "JPEG", quality=quality
    )
    return load_image(buffer.getvalue())
