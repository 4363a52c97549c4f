"""Rates against cases counted by hand."""

import numpy as np
import pytest
from sklearn.metrics import det_curve

from identity.decisions import metrics
from identity.decisions.metrics import NEVER, NEVER_RANKED


def test_rank_of_truth_puts_ties_before_the_right_name() -> None:
    similarities = np.array([[0.9, 0.5, 0.1], [0.9, 0.5, 0.1], [0.5, 0.5, 0.1]])
    assert metrics.ranks_of_truth(similarities, np.array([0, 2, 0])).tolist() == [1, 3, 2]


def test_rank_k_rate_and_cmc_match_hand_count_with_a_missing_face() -> None:
    ranks = [1, 1, 2, 6, NEVER_RANKED]
    assert metrics.rank_k_rate(ranks, 1) == 0.4
    assert metrics.rank_k_rate(ranks, 5) == 0.6
    assert metrics.cmc(ranks, 6).tolist() == [0.4, 0.6, 0.6, 0.6, 0.6, 0.8]


def test_tpir_at_fpir_matches_hand_count() -> None:
    mated = [0.9, 0.8, 0.65, 0.5, NEVER]  # the last: a wrong name, or no face
    strangers = [0.7, 0.6, 0.2, NEVER]
    assert metrics.tpir_at_fpir(mated, strangers, 0.0) == 0.4  # nobody may pass: above 0.7
    assert metrics.tpir_at_fpir(mated, strangers, 0.24) == 0.4  # floor(0.96) is none
    assert metrics.tpir_at_fpir(mated, strangers, 0.25) == pytest.approx(0.6)  # one may: above 0.6
    assert metrics.tpir_at_fpir(mated, strangers, 1.0) == 0.8


def test_a_mated_score_equal_to_a_refused_stranger_is_refused() -> None:
    assert metrics.tpir_at_fpir([0.7, 0.8], [0.7, 0.1], 0.0) == 0.5


def test_floor_survives_rounding_of_binary_fractions() -> None:
    strangers = np.arange(100) / 100
    for percent in range(101):
        named = metrics.accept_rate(strangers, metrics.threshold_at(strangers, percent / 100))
        assert named == percent / 100


def test_threshold_lets_tied_strangers_through_only_together() -> None:
    strangers = [0.5, 0.5, 0.5, 0.1]
    assert metrics.accept_rate(strangers, metrics.threshold_at(strangers, 0.5)) == 0.0
    assert metrics.accept_rate(strangers, metrics.threshold_at(strangers, 0.75)) == 0.75


def test_stranger_without_face_is_counted_but_never_named() -> None:
    strangers = [0.5, NEVER, NEVER, NEVER]
    assert metrics.accept_rate(strangers, metrics.threshold_at(strangers, 1.0)) == 0.25


def test_threshold_and_tpir_agree_on_random_scores() -> None:
    generator = np.random.default_rng(0)
    mated, strangers = generator.normal(1, 1, 200).round(1), generator.normal(0, 1, 150).round(1)
    for fpir in (0.0, 0.01, 0.1, 0.37):
        threshold = metrics.threshold_at(strangers, fpir)
        assert metrics.tpir_at_fpir(mated, strangers, fpir) == pytest.approx(np.mean(mated >= threshold))
        assert np.mean(strangers >= threshold) <= fpir


def test_threshold_without_strangers_is_an_error() -> None:
    with pytest.raises(ValueError, match="strangers"):
        metrics.threshold_at([], 0.01)


def test_eer_matches_hand_count() -> None:
    assert metrics.eer([0.9, 0.8], [0.1, 0.2]) == 0.0
    assert metrics.eer([0.1, 0.2], [0.8, 0.9]) == 1.0
    assert metrics.eer([0.9, 0.8, 0.7, 0.3], [0.5, 0.2, 0.1, 0.0]) == 0.25
    # FAR 0 to 1/2 at one score while FRR stays at 1/3: crossing at 1/3
    assert metrics.eer([0.9, 0.8, 0.1], [0.5, 0.0]) == pytest.approx(1 / 3)
    assert metrics.eer([0.9, NEVER, NEVER], [0.5, 0.0]) == pytest.approx(2 / 3)  # two faces missing


def test_eer_of_equal_scores_is_one_half() -> None:
    assert metrics.eer([0.5] * 4, [0.5] * 7) == 0.5


def test_det_equals_scikit_learn() -> None:
    generator = np.random.default_rng(1)
    mated, strangers = generator.normal(1, 1, 60).round(1), generator.normal(0, 1, 80).round(1)
    far, frr, thresholds = metrics.det(mated, strangers)
    labels, scores = np.r_[np.ones(60), np.zeros(80)], np.r_[mated, strangers]
    their_far, their_frr, their_thresholds = det_curve(labels, scores)
    ours = {float(t): (a, b) for t, a, b in zip(thresholds, far, frr, strict=True)}
    for threshold, a, b in zip(their_thresholds, their_far, their_frr, strict=True):
        if np.isfinite(threshold):
            assert ours[float(threshold)] == pytest.approx((a, b))


def test_tar_at_far_allows_exactly_three_of_3000() -> None:
    nonmated = np.arange(3000) / 3000
    mated = nonmated[[2999, 2997, 2996, 2995]] + 1e-6  # above 0, 2, 3 and 4 of them
    assert metrics.tar_at_far(mated, nonmated, 1e-3) == 0.75


def test_pair_outcomes_find_a_separating_threshold_and_count_missing_faces_as_errors() -> None:
    scores = np.r_[np.linspace(0.6, 1, 30), np.linspace(0, 0.4, 30)]
    mated = np.r_[np.ones(30, bool), np.zeros(30, bool)]
    assert metrics.pair_outcomes(scores, mated).all()
    scores[[0, 59]] = np.nan, NEVER
    assert np.flatnonzero(~metrics.pair_outcomes(scores, mated)).tolist() == [0, 59]


def test_pair_outcomes_take_the_threshold_from_the_other_folds() -> None:
    # with two folds of one pair of each kind, the threshold of one fold is wrong for the other
    scores, mated = np.array([0.9, 0.2, 0.6, 0.1]), np.array([True, True, False, False])
    outcomes = {tuple(metrics.pair_outcomes(scores, mated, folds=2, seed=s).tolist()) for s in range(6)}
    assert all(sum(right) < 4 for right in outcomes)
    assert np.array_equal(
        metrics.pair_outcomes(scores, mated, folds=2, seed=3),
        metrics.pair_outcomes(scores, mated, folds=2, seed=3),
    )


def test_identity_weights_keep_photos_of_a_person_together_and_repeat_with_the_seed() -> None:
    weights = metrics.identity_weights(["a", "a", "b", "c"], resamples=200, seed=4)
    assert weights.shape == (200, 4)
    assert np.array_equal(weights[:, 0], weights[:, 1])
    assert np.array_equal(weights[:, 1:].sum(axis=1), np.full(200, 3))  # three people drawn of three
    assert np.array_equal(weights, metrics.identity_weights(["a", "a", "b", "c"], resamples=200, seed=4))
    assert not np.array_equal(weights, metrics.identity_weights(["a", "a", "b", "c"], resamples=200, seed=5))


def test_pair_weights_are_the_count_of_the_person_or_the_product_of_two() -> None:
    single = metrics.identity_weights(["a", "b", "c"], resamples=50, seed=0)
    weights = metrics.pair_weights(["a", "a", "b"], ["a", "b", "c"], resamples=50, seed=0)
    assert np.array_equal(weights[:, 0], single[:, 0])
    assert np.array_equal(weights[:, 1], single[:, 0] * single[:, 1])
    assert np.array_equal(weights[:, 2], single[:, 1] * single[:, 2])


def test_weighted_rates_equal_rates_of_repeated_scores() -> None:
    generator = np.random.default_rng(2)
    mated, strangers = generator.normal(1, 1, 30).round(1), generator.normal(0, 1, 40).round(1)
    mated[:2] = NEVER
    wm = generator.integers(0, 3, (5, 30)).astype(np.float32)
    ws = generator.integers(0, 3, (5, 40)).astype(np.float32)
    tpir, equal = metrics.tpir_at_fpir(mated, strangers, 0.1, wm, ws), metrics.eer(mated, strangers, wm, ws)
    for r in range(5):
        m, s = np.repeat(mated, wm[r].astype(int)), np.repeat(strangers, ws[r].astype(int))
        assert tpir[r] == pytest.approx(metrics.tpir_at_fpir(m, s, 0.1))  # type: ignore[index]
        assert equal[r] == pytest.approx(metrics.eer(m, s))  # type: ignore[index]


def test_interval_resamples_identities_not_photos() -> None:
    # ten people, each always right or always wrong: a hundred photos are worth ten
    names = [f"p{i}" for i in range(10) for _ in range(10)]
    right = np.array([i < 5 for i in range(10) for _ in range(10)])
    by_person = metrics.interval(metrics.mean_rate(right, metrics.identity_weights(names)), 0.5, 10)
    by_photo = metrics.interval(metrics.mean_rate(right, metrics.identity_weights(range(100))), 0.5, 100)
    assert by_person[1] - by_person[0] > 2.5 * (by_photo[1] - by_photo[0])
    assert by_person == pytest.approx((0.2, 0.8), abs=0.05)


def test_interval_of_a_perfect_score_is_the_exact_bound() -> None:
    low, high = metrics.interval(np.ones(1000), 1.0, 100)
    assert high == 1.0 and low == pytest.approx(0.0250 ** (1 / 100))
    assert metrics.interval(np.zeros(1000), 0.0, 100) == pytest.approx((0.0, 1 - low))


def test_nothing_measured_is_nan_not_zero() -> None:
    assert np.isnan(metrics.eer([], [0.1])) and np.isnan(metrics.tpir_at_fpir([0.2], [], 0.1))
    assert np.isnan(metrics.rank_k_rate([], 1))
