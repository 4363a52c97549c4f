"""Groups of unnamed faces."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from identity.face_space import unit
from identity.likeness_groups import likeness_groups


def people(counts: list[int], noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows of people far from each other, shuffled, and who is who."""
    rng = np.random.default_rng(seed)
    who = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    rows = np.eye(64)[who] + rng.normal(0, noise, (len(who), 64))
    return unit(rows), who


def test_each_person_is_a_group_the_most_seen_first() -> None:
    rows, who = people([2, 7, 1, 4], 0.03)
    groups = likeness_groups(rows, np.ones(len(rows)), 0.5)
    assert [set(who[groups == k]) for k in range(4)] == [{1}, {3}, {0}, {2}]
    assert np.bincount(groups).tolist() == [7, 4, 2, 1]


def test_groups_that_began_apart_are_joined_when_their_means_are_alike() -> None:
    turned = [
        np.array([np.cos(a), np.sin(a), 0]) for a in (0.0, 0.9, 0.45, 0.5)
    ]  # the ends are too far apart
    rows = np.array([*turned, [0, 0, 1.0]])
    quality = np.array([5.0, 4, 1, 1, 3])
    assert likeness_groups(rows[:2], quality[:2], 0.8).tolist() == [0, 1]
    assert likeness_groups(rows, quality, 0.8).tolist() == [0, 0, 0, 0, 1]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 40), st.floats(-1, 1), st.integers(0, 1000))
def test_every_face_has_a_group_and_larger_groups_come_first(count: int, threshold: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = likeness_groups(unit(rng.normal(size=(count, 4))), rng.normal(size=count), threshold)
    sizes = np.bincount(groups) if count else np.zeros(0)
    assert len(groups) == count and (np.diff(sizes) <= 0).all() and (sizes > 0).all()


def test_no_face_is_no_group() -> None:
    assert likeness_groups(np.zeros((0, 4)), np.zeros(0), 0.5).tolist() == []
