"""Feature cache: written once, resumed after a kill, read whole; variants of chips."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from augmentor.errors import InputError
from identity.networks import features
from identity.networks.backbone import load_weights
from identity.networks.chip_variants import jittered, middle, mirrored, resized
from identity.networks.face_space import unit
from identity.networks.features import (
    CachedMaps,
    CacheKey,
    ComputedMaps,
    FrozenBackbone,
    read_ahead,
)
from tests.identity.drawn_set import write_random_weights

SHAPE = (2, 2, 3)
ROWS = 1300  # three blocks of 512, the last not full


class CountingBackbone:
    """Maps whose values are the row number; counts what it computed."""

    map_shape = SHAPE

    def __init__(self, stop_after: int | None = None) -> None:
        self.computed = 0
        self.stop_after = stop_after

    def maps(self, chips: np.ndarray) -> np.ndarray:
        if self.stop_after is not None and self.computed >= self.stop_after:
            raise KeyboardInterrupt
        self.computed += len(chips)
        return np.broadcast_to(chips.reshape(-1, 1, 1, 1), (len(chips), *SHAPE)).astype(np.float16)


def chips_of(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows)


def cache_in(folder: Path, weights: str = "w") -> CachedMaps:
    return CachedMaps(folder, CacheKey("m", weights, 64, ROWS, 0), SHAPE)


def test_an_interrupted_cache_goes_on_and_holds_every_row(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        cache_in(tmp_path).fill(chips_of, CountingBackbone(stop_after=512))
    assert cache_in(tmp_path).done() == 512
    with (tmp_path / "maps.npy").open("ab") as file:
        file.write(b"half a block that was not noted")
    rest = CountingBackbone()
    cache_in(tmp_path).fill(chips_of, rest)
    assert rest.computed == ROWS - 512
    for rows, maps in cache_in(tmp_path).read(np.arange(ROWS)):
        assert (maps[:, 0, 0, 0] == rows.astype(np.float16)).all()
    assert np.load(tmp_path / "maps.npy", mmap_mode="r").shape == (ROWS, *SHAPE)
    again = CountingBackbone()
    cache_in(tmp_path).fill(chips_of, again)
    assert again.computed == 0


def test_other_weights_start_another_cache(tmp_path: Path) -> None:
    cache_in(tmp_path).fill(chips_of, CountingBackbone())
    assert cache_in(tmp_path, weights="other").done() == 0


@pytest.mark.parametrize("cached", [True, False])
def test_an_epoch_gives_each_wanted_row_once_in_another_order(tmp_path: Path, cached: bool) -> None:
    maps: features.Maps
    if cached:
        maps = cache_in(tmp_path)
        maps.fill(chips_of, CountingBackbone())
    else:
        maps = ComputedMaps(chips_of, CountingBackbone())
    wanted = np.arange(0, ROWS, 3)

    def epoch(seed: int) -> list[int]:
        seen = []
        for rows, values in maps.batches(wanted, 64, np.random.default_rng(seed)):
            assert len(rows) <= 64
            assert (values[:, 0, 0, 0] == rows.astype(np.float16)).all()
            seen += rows.tolist()
        return seen

    assert sorted(epoch(0)) == wanted.tolist()
    assert epoch(0) == epoch(0)
    assert epoch(0) != epoch(1)


def test_too_little_room_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage(NamedTuple):
        total: int
        used: int
        free: int

    monkeypatch.setattr(features.shutil, "disk_usage", lambda _: Usage(10, 10, 0))
    with pytest.raises(InputError, match="--no-cache"):
        cache_in(tmp_path).fill(chips_of, CountingBackbone())
    assert not (tmp_path / "maps.npy").exists()


def test_jitter_is_small_seeded_and_mirror_is_its_own_inverse() -> None:
    chips = np.zeros((2, 50, 50, 3), np.uint8)
    chips[:, 20:30, 20:30] = 255
    moved = jittered(chips, 1)
    assert np.array_equal(moved, jittered(chips, 1))
    assert not np.array_equal(moved[0], moved[1])
    assert np.abs(moved.astype(int) - chips).mean() < 12
    assert np.array_equal(mirrored(mirrored(chips)), chips)


def test_unit_rows_have_length_one_and_zero_stays_zero() -> None:
    assert np.allclose(unit(np.array([[3.0, 4.0], [0.0, 0.0]])), [[0.6, 0.8], [0.0, 0.0]])


def test_reading_ahead_keeps_order_and_hands_errors_on() -> None:
    def failing() -> object:
        yield 1
        raise InputError("no more")

    assert list(read_ahead(range(20))) == list(range(20))
    with pytest.raises(InputError, match="no more"):
        list(read_ahead(failing()))


@pytest.mark.parametrize(("edge", "zoom", "left"), [(150, 1.0, 150), (150, 1.07, 140), (112, 1.07, 104)])
def test_the_middle_leaves_the_same_margin_on_every_side(edge: int, zoom: float, left: int) -> None:
    chips = np.zeros((1, edge, edge, 3), np.uint8)
    chips[:, :, :, 0], chips[:, :, :, 1] = np.arange(edge)[:, None], np.arange(edge)
    (found,) = middle(chips, zoom)
    margin = (edge - left) // 2
    assert found.shape == (left, left, 3)
    assert (found[0, 0, 0], found[0, 0, 1]) == (margin, margin)
    assert (found[-1, -1, 0], found[-1, -1, 1]) == (edge - 1 - margin, edge - 1 - margin)


def test_a_backbone_looks_at_the_middle_that_its_weights_ask_for(tmp_path: Path) -> None:
    weights = load_weights(write_random_weights(tmp_path / "random.npz"))
    chips = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    seen = resized(chips[:, 2:62, 2:62], 64)  # a zoom of 1.07
    as_it_is = FrozenBackbone(replace(weights, card={}), 64)
    np.testing.assert_array_equal(FrozenBackbone(weights, 64).maps(chips), as_it_is.maps(seen))
    assert not np.allclose(as_it_is.maps(chips), as_it_is.maps(seen), rtol=0.1, atol=0)
