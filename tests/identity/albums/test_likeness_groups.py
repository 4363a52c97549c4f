"""Grouping unnamed faces by similarity."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist

from identity.albums import likeness_groups as module
from identity.albums.likeness_groups import likeness_groups
from identity.networks.face_space import unit


def people(counts: list[int], noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return shuffled unit rows of people who are far from each other, and the person of each row."""
    rng = np.random.default_rng(seed)
    who = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    rows = np.eye(64)[who] + rng.normal(0, noise, (len(who), 64))
    return unit(rows), who


def test_each_person_is_a_group_the_most_frequent_first() -> None:
    rows, who = people([2, 7, 1, 4], 0.03)
    groups = likeness_groups(rows, 0.5)
    assert [set(who[groups == k]) for k in range(4)] == [{1}, {3}, {0}, {2}]
    assert np.bincount(groups).tolist() == [7, 4, 2, 1]


def test_a_chain_of_similar_faces_is_no_group_if_its_ends_differ() -> None:
    angles = np.array([0.0, 0.4, 0.8, 1.2])  # the cosine of neighbours is 0.92, that of the ends 0.36
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert likeness_groups(rows, 0.9, "single").tolist() == [0, 0, 0, 0]
    assert likeness_groups(rows, 0.9).tolist() == [0, 0, 1, 1]


def test_faces_that_share_a_direction_are_not_drawn_into_one_group() -> None:
    """Faces may have something in common, like the kind of photo, without any two being similar enough."""
    rng = np.random.default_rng(0)
    rows = unit(unit(rng.normal(size=(300, 100))) + 1.2 * np.eye(100)[0])
    assert np.median(rows @ rows.T) < 0.65
    assert np.bincount(likeness_groups(rows, 0.75)).max() <= 2


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 60), st.floats(-0.9, 0.99), st.sampled_from([4, 7]), st.integers(0, 1000))
def test_groups_are_the_same_as_those_of_all_faces_at_once(
    count: int, threshold: float, block: int, seed: int
) -> None:
    rows = unit(np.random.default_rng(seed).normal(size=(count, 4)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", block)
        groups = likeness_groups(rows, threshold)
    at_once = fcluster(linkage(pdist(rows, "cosine"), "average"), 1 - threshold, "distance")
    sizes = np.bincount(groups)
    assert len(set(zip(groups, at_once, strict=True))) == len(set(groups)) == len(set(at_once))
    assert (np.diff(sizes) <= 0).all() and (sizes > 0).all()


def test_no_faces_give_no_groups() -> None:
    assert likeness_groups(np.zeros((0, 4)), 0.5).tolist() == []
