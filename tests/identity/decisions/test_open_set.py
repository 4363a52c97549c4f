"""The open-set decision on hand-worked similarities."""

import json

import numpy as np
import pytest

from identity.decisions.acceptance import (
    DecisionConstants,
    LeadAndCrowding,
    accept_score,
    crowding,
    crowding_from_similarities,
    crowding_sums,
)
from identity.decisions.metrics import NEVER
from identity.decisions.open_set import Decision, fit_decision, rank_names


def test_score_is_cosine_plus_lead_minus_crowding() -> None:
    similarities = np.array([[0.1, 0.9, 0.5, 0.4, 0.3, 0.2, 0.0]])
    best, score = accept_score(similarities, np.linspace(0, 0.6, 7), DecisionConstants())
    assert best.tolist() == [1]
    assert score[0] == pytest.approx(0.9 + (0.9 - 0.3) - 0.5 * 0.1)  # the next five: 0.5 to 0.1


def test_crowding_never_enters_the_ranking() -> None:
    similarities = np.array([[0.8, 0.79]])
    best, _ = accept_score(similarities, np.array([0.9, -0.9]), DecisionConstants(crowding_weight=10))
    assert best.tolist() == [0]
    assert rank_names(similarities).tolist() == [[0, 1]]


@pytest.mark.parametrize(("row", "lead"), [([0.7], 0.0), ([0.7, 0.5], 0.2), ([0.7, 0.5, 0.3], 0.3)])
def test_few_names_lead_over_as_many_as_there_are(row: list[float], lead: float) -> None:
    _, score = accept_score(np.array([row]), np.zeros(len(row)), DecisionConstants())
    assert score[0] == pytest.approx(0.7 + lead)


def test_a_name_that_is_no_candidate_neither_wins_nor_counts_in_the_lead() -> None:
    best, score = accept_score(np.array([[NEVER, 0.6, 0.4]]), np.zeros(3), DecisionConstants())
    assert best.tolist() == [1] and score[0] == pytest.approx(0.6 + 0.2)


def test_crowding_is_the_mean_of_the_nearest_strangers() -> None:
    templates, strangers = np.eye(2), np.array([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8], [0.0, 1.0]])
    assert crowding(templates, strangers, k=2) == pytest.approx([0.9, 0.9])
    assert crowding(templates, strangers, k=10) == pytest.approx([0.6, 0.6])  # as many as there are
    assert crowding(templates, np.zeros((0, 2))).tolist() == [0.0, 0.0]


def test_crowding_leaves_out_a_persons_own_template() -> None:
    similarities = np.array([[NEVER, 0.4], [0.2, NEVER], [0.6, 0.0]])
    assert crowding_from_similarities(similarities, k=2) == pytest.approx([0.4, 0.2])


def test_crowding_without_oneself_equals_removing_the_row() -> None:
    similarities = np.random.default_rng(0).normal(size=(15, 4)).round(1)
    similarities[3, 2] = NEVER
    for k in (1, 5, 14, 15, 30):
        _, without = crowding_sums(similarities, k)
        for s in range(15):
            expected = crowding_from_similarities(np.delete(similarities, s, axis=0), k)
            assert without[s] == pytest.approx(expected)


def make_calibration(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """60 mated probes and 300 strangers of 40 names in a 32-dimensional world."""
    generator = np.random.default_rng(seed)

    def unit(rows: np.ndarray) -> np.ndarray:
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    templates = unit(generator.normal(size=(40, 32)))
    labels = generator.integers(0, 40, 60)
    mated = unit(templates[labels] + 0.2 * generator.normal(size=(60, 32)))
    strangers = unit(generator.normal(size=(300, 32)))
    return mated @ templates.T, labels, strangers @ templates.T


def test_fit_chooses_thresholds_that_let_one_and_ten_percent_through() -> None:
    mated, labels, strangers = make_calibration()
    decision = fit_decision(mated, labels, strangers)
    assert decision.thresholds["fpir_1"] > decision.thresholds["fpir_10"]
    _, score = accept_score(strangers, crowding_sums(strangers, 10)[1], decision.acceptance.constants)
    assert (score >= decision.thresholds["fpir_1"]).sum() == 3
    assert (score >= decision.thresholds["fpir_10"]).sum() == 30
    assert decision.calibration["searched"] == 1.0


def test_fit_is_never_worse_on_calibration_than_the_defaults() -> None:
    for seed in range(3):
        data = make_calibration(seed)
        usual = fit_decision(*data, score=LeadAndCrowding(DecisionConstants(), np.zeros(40))).calibration
        chosen = fit_decision(*data).calibration
        assert chosen["tpir_fpir_1"] >= usual["tpir_fpir_1"]


def test_small_calibration_keeps_the_default_constants() -> None:
    mated, labels, strangers = make_calibration()
    decision = fit_decision(mated[:5], labels[:5], strangers[:50])
    assert decision.acceptance.constants == DecisionConstants() and decision.calibration["searched"] == 0.0


def test_fit_works_for_one_name_and_without_mated_probes() -> None:
    strangers = np.linspace(-0.2, 0.4, 30)[:, None]
    decision = fit_decision(np.array([[0.9]]), np.array([0]), strangers)
    assert 0.2 < decision.thresholds["fpir_1"] < 0.6
    without = fit_decision(np.zeros((0, 1)), np.zeros(0, int), strangers)
    assert np.isfinite([without.probability.slope, *without.thresholds.values()]).all()


def test_fit_without_strangers_is_an_error() -> None:
    with pytest.raises(ValueError, match="strangers"):
        fit_decision(np.ones((1, 2)), np.array([0]), np.zeros((0, 2)))


def test_probability_rises_with_the_score_and_is_zero_without_a_face() -> None:
    decision = fit_decision(*make_calibration())
    probability = decision.probability(np.array([NEVER, -1.0, 0.0, 0.7, 3.0]))
    assert probability[0] == 0.0 and (np.diff(probability) > 0).all()
    assert probability[1] < 0.01 and probability[-1] > 0.95


def test_probability_is_about_right_where_scores_overlap() -> None:
    generator = np.random.default_rng(0)
    mated, strangers = generator.normal(1, 1, (4000, 1)), generator.normal(0, 1, (4000, 1))
    plain = LeadAndCrowding(DecisionConstants(lead_weight=0, crowding_weight=0), np.zeros(1))
    curve = fit_decision(mated, np.zeros(4000, int), strangers, score=plain).probability
    # two unit Gaussians a unit apart: logit = score - 1/2
    assert curve.slope == pytest.approx(1.0, abs=0.08) and curve.intercept == pytest.approx(-0.5, abs=0.08)


def test_decision_survives_json() -> None:
    decision = fit_decision(*make_calibration())
    assert Decision.from_dict(json.loads(json.dumps(decision.as_dict()))) == decision


def test_constants_reject_nonsense() -> None:
    with pytest.raises(ValueError):
        DecisionConstants(lead_names=0)
