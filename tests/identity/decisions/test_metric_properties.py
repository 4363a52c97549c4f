"""Properties that the metrics have for all scores."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from identity.decisions.metrics import (
    NEVER,
    cmc,
    det,
    eer,
    identity_weights,
    interval,
    mean_rate,
    pair_outcomes,
    threshold_at,
    tpir_at_fpir,
)

# few values, so that ties are common
SCORES = st.lists(st.integers(-6, 6).map(float), min_size=1, max_size=40).map(np.array)


@given(SCORES, SCORES)
def test_det_trades_one_error_for_the_other(mated: np.ndarray, strangers: np.ndarray) -> None:
    far, frr, thresholds = det(mated, strangers)
    order = np.argsort(thresholds)
    assert np.all(np.diff(far[order]) <= 1e-12) and np.all(np.diff(frr[order]) >= -1e-12)
    assert far.min() >= 0 and far.max() <= 1 and frr.min() >= 0 and frr.max() <= 1


@given(SCORES, SCORES, st.floats(0.1, 5), st.floats(-3, 3))
def test_monotone_changes_of_the_score_change_no_rate(
    mated: np.ndarray, strangers: np.ndarray, slope: float, shift: float
) -> None:
    def changed(scores: np.ndarray) -> np.ndarray:
        return np.arctan(slope * scores + shift)

    assert np.isclose(eer(changed(mated), changed(strangers)), eer(mated, strangers))
    for fpir in (0.0, 0.1, 0.5):
        assert tpir_at_fpir(changed(mated), changed(strangers), fpir) == tpir_at_fpir(mated, strangers, fpir)


@given(SCORES, SCORES)
def test_eer_is_a_rate_and_zero_where_the_groups_lie_apart(mated: np.ndarray, strangers: np.ndarray) -> None:
    value = float(eer(mated, strangers))
    assert 0 <= value <= 1
    if mated.min() > strangers.max():
        assert value == 0


@given(SCORES, st.floats(0, 1))
def test_a_threshold_lets_no_more_strangers_through_than_asked_for(
    strangers: np.ndarray, rate: float
) -> None:
    assert (strangers >= threshold_at(strangers, rate)).sum() <= rate * len(strangers) + 1e-6


@given(SCORES, SCORES, st.lists(st.floats(0, 1), min_size=2, max_size=5))
def test_more_false_positives_allowed_never_name_fewer(
    mated: np.ndarray, strangers: np.ndarray, rates: list[float]
) -> None:
    found = [tpir_at_fpir(mated, strangers, rate) for rate in sorted(rates)]
    assert np.all(np.diff(found) >= 0)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=50))
def test_cmc_rises_and_starts_at_rank_one(ranks: list[int]) -> None:
    curve = cmc(ranks, 30)
    assert np.all(np.diff(curve) >= 0) and curve[-1] == 1
    assert np.isclose(curve[0], np.mean(np.array(ranks) == 1))


@given(SCORES, st.integers(0, 3))
def test_a_pair_without_a_face_is_never_judged_rightly(scores: np.ndarray, seed: int) -> None:
    mated = np.random.default_rng(seed).random(len(scores)) < 0.5
    values = np.where(np.arange(len(scores)) % 3 == 0, NEVER, scores)
    assert not pair_outcomes(values, mated, seed=seed)[::3].any()


@settings(max_examples=5, deadline=None)
@given(st.sampled_from([0.05, 0.3, 0.8]), st.integers(0, 100))
def test_intervals_cover_the_truth_as_often_as_they_say(truth: float, seed: int) -> None:
    """95 % intervals over people with three photos each; 60 trials leave 3 of them out on average, hardly ever 12."""
    rng = np.random.default_rng(seed)
    missed = 0
    for trial in range(60):
        people = np.repeat(np.arange(80), 3)
        own = rng.beta(4 * truth, 4 * (1 - truth), 80)  # some people are easier than others
        outcome = rng.random(len(people)) < own[people]
        weights = identity_weights(people.tolist(), resamples=200, seed=trial)
        low, high = interval(mean_rate(outcome, weights), float(mean_rate(outcome)), 80)
        missed += not low <= truth <= high
    assert missed <= 12


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 400), st.floats(0.001, 0.3), st.integers(0, 1000))
def test_a_confident_threshold_is_never_lower(count: int, rate: float, seed: int) -> None:
    scores = np.random.default_rng(seed).normal(size=count)
    assert threshold_at(scores, rate, 0.8) >= threshold_at(scores, rate)


def test_a_confident_threshold_keeps_the_rate_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    kept = []
    for _ in range(2000):
        threshold = threshold_at(rng.uniform(size=495), 0.01, 0.8)
        kept.append(1 - threshold <= 0.01)  # of all strangers, uniform as well
    assert 0.8 <= np.mean(kept) <= 0.9  # two of 495 may pass, three would keep it 73 times in a hundred
    assert 0.4 < np.mean([1 - threshold_at(rng.uniform(size=495), 0.01) <= 0.01 for _ in range(2000)]) < 0.6
