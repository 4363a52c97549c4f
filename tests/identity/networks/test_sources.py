"""The registry of feature sources, and the shares that are tried over any number of them."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from augmentor.errors import InputError
from identity.decisions.templates import TrainingEmbeddings, calibration_of, choose, is_frozen
from identity.networks.embedding import join
from identity.networks.face_space import unit
from identity.networks.feature_source import FeatureSource, RunNetworks
from identity.networks.sources import (
    DLIB,
    FACE,
    HEAD,
    default_shares,
    register,
    share_grid,
    source_called,
    sources_in_order,
    sources_of,
    unregister,
    usable,
)
from tests.identity.colour_source import COLOURS


@pytest.fixture
def colours() -> Iterator[FeatureSource]:
    """A third source, registered while a test runs."""
    register(COLOURS)
    yield COLOURS
    unregister(COLOURS.name)


def test_the_values_of_features_stand_for_the_built_in_sources() -> None:
    assert sources_of("both") == (DLIB, FACE, HEAD)
    assert sources_of("b0") == (FACE, HEAD) and sources_of("dlib") == (DLIB,)
    assert sources_of("head+dlib") == (DLIB, HEAD)


def test_an_unknown_source_names_those_that_are_known() -> None:
    with pytest.raises(InputError, match="'eyes'; known: dlib, face, head"):
        sources_of("dlib+eyes")


def test_a_name_is_given_once_and_is_one_word(colours: FeatureSource) -> None:
    with pytest.raises(ValueError, match="already"):
        register(colours)
    with pytest.raises(ValueError, match="already"):
        register(replace(colours, name="both"))
    for name in ("", "Two Words", "a/b"):
        with pytest.raises(ValueError, match="lower-case"):
            replace(colours, name=name)
    with pytest.raises(ValueError, match="between 0 and 1"):
        replace(colours, share_steps=(0.5, 1.5))


def test_a_registered_source_comes_last_in_every_order(colours: FeatureSource) -> None:
    assert sources_in_order([colours.name, HEAD.name, DLIB.name]) == (DLIB, HEAD, colours)
    assert source_called(colours.name) is colours
    parts = {"colours": np.array([[1.0, 0.0]]), "dlib": np.array([[0.0, 1.0]])}
    np.testing.assert_allclose(join(parts, {"colours": 0.25, "dlib": 0.75}), [[0, np.sqrt(0.75), 0.5, 0]])


def test_whole_photos_leave_only_sources_that_are_not_about_faces(colours: FeatureSource) -> None:
    assert usable((DLIB, colours), None, "face") == (DLIB, colours)
    assert usable((DLIB, replace(colours, faces_only=False)), None, "whole")[0].name == colours.name
    assert usable((FACE, HEAD), None, "face") == ()  # without weights of the backbone


def test_the_grid_of_three_sources_is_the_one_that_the_results_were_measured_with() -> None:
    grid = list(share_grid(("dlib", "face", "head")))
    expected = [{"dlib": 1.0, "face": 0.0, "head": 0.0}]
    for dlib in (0.97, 0.95, 0.9, 0.8, 0.7, 0.5, 0.3):
        for face in (0.0, 0.25, 0.5, 0.75, 1.0):
            expected.append({"dlib": dlib, "face": (1 - dlib) * face, "head": (1 - dlib) * (1 - face)})
    assert grid == expected
    assert list(share_grid(("dlib",))) == [{"dlib": 1.0}]


def test_shares_over_four_sources_add_up_to_one(colours: FeatureSource) -> None:
    grid = list(share_grid(("dlib", "face", "head", colours.name)))
    assert len(grid) == len({tuple(shares.items()) for shares in grid}) == 1 + 7 * (4 * 5 + 1)
    for shares in grid:
        assert sum(shares.values()) == pytest.approx(1) and len(shares) == 4
    assert default_shares(("dlib", colours.name)) == {"dlib": 1.0, "colours": 0.0}
    assert default_shares(("head", colours.name)) == {"head": 0.5, "colours": 0.5}


def test_calibration_gives_a_new_source_the_share_that_it_earns(colours: FeatureSource) -> None:
    """120 people with three photos, whom only the new source tells apart."""
    rng = np.random.default_rng(0)
    people, labels = unit(rng.normal(size=(120, 16))), np.repeat(np.arange(120), 3)

    def rows(name: str, centre: np.ndarray) -> np.ndarray:
        return unit((centre if name == colours.name else 0) + 0.1 * rng.normal(size=(len(centre), 16)))

    names = ("dlib", "head", colours.name)
    photos = {name: rows(name, people[labels]) for name in names}
    strangers = {name: rows(name, unit(rng.normal(size=(150, 16)))) for name in names}
    none = {name: np.zeros((0, 16), np.float32) for name in names}
    empty = np.zeros(0, np.int64)
    gallery = TrainingEmbeddings(120, labels, np.arange(360), photos, photos, empty, empty, none)
    choice, chosen = choose(gallery, calibration_of(gallery, np.arange(360) % 3 == 0, strangers))
    assert chosen and choice.shares[colours.name] >= 0.5
    assert is_frozen(replace(choice, shares={"dlib": 0.5, colours.name: 0.5, "head": 0.0}))
    assert not is_frozen(replace(choice, shares={"head": 0.25, colours.name: 0.75}))


def test_a_source_that_needs_a_network_of_the_run_says_so() -> None:
    with pytest.raises(ValueError, match="needs a backbone"):
        FACE.load(RunNetworks())
    with pytest.raises(ValueError, match="needs a backbone and a head"):
        HEAD.load(RunNetworks())
