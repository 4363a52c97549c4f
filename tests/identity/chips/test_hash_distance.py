"""Perceptual hashes compared, by counting bits."""

import numpy as np
import pytest

from identity.chips.hash_distance import nearest_hashes, same_pictures


def test_nearest_hashes_equals_counting_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("identity.chips.hash_distance._ROWS", 7)
    generator = np.random.default_rng(0)
    a = generator.integers(0, 2**64, 20, dtype=np.uint64)
    b = generator.integers(0, 2**64, 30, dtype=np.uint64)
    _, distance = nearest_hashes(a, b)
    assert distance.tolist() == [min((int(x) ^ int(y)).bit_count() for y in b) for x in a]


def test_pictures_that_differ_by_few_bits_are_one_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("identity.chips.hash_distance._ROWS", 2)
    hashes = np.array([0b0, 2**64 - 1, 0b11, 0b1111, 0b111 << 40, 2**64 - 2], np.uint64)
    assert same_pictures(hashes) == [[0, 2, 3], [1, 5]]  # 0 and 0b1111 hang together by 0b11
    assert same_pictures(hashes, 0) == []
    assert same_pictures(hashes[:0]) == []
