"""The reliability of probabilities, by hand and for probabilities that are right by construction."""

from pathlib import Path

import numpy as np
import pytest

from identity.decisions.metrics import NEVER
from identity.decisions.open_set import ProbabilityCurve
from identity.evaluation.rates import ProbeScores
from identity.evaluation.reliability import reliability

CURVE = ProbabilityCurve(1.0, 0.0)


def scores(score: np.ndarray, right: np.ndarray) -> ProbeScores:
    n = len(score)
    names = [str(k) for k in range(n)]
    zeros = np.zeros(n, int)
    return ProbeScores([Path(k) for k in names], names, zeros, zeros, score, score, np.where(right, 1, 2))


def test_bins_by_hand() -> None:
    at = np.log(0.85 / 0.15)  # the predicted probability is 0.85
    bins = reliability(
        scores(np.array([at, at, at, NEVER]), np.array([True, True, False, False])),
        scores(np.array([NEVER, NEVER]), np.array([False, False])),
        CURVE,
    )
    np.testing.assert_allclose(bins.predicted, [0.0, 0.85])
    np.testing.assert_allclose(bins.observed, [0.0, 2 / 3])
    assert bins.answers.tolist() == [3, 3]
    assert bins.error == pytest.approx(3 / 8 * (0.85 - 2 / 3))


def test_true_probabilities_are_reliable_and_overconfidence_shows() -> None:
    rng = np.random.default_rng(0)
    logit = rng.normal(0, 2, 20000)
    mated = rng.random(20000) < 1 / (1 + np.exp(-logit))
    honest = reliability(
        scores(logit[mated], np.ones(mated.sum(), bool)),
        scores(logit[~mated], np.zeros((~mated).sum())),
        CURVE,
    )
    assert honest.error < 0.02
    overconfident = reliability(
        scores(logit[mated], np.ones(mated.sum(), bool)),
        scores(logit[~mated], np.zeros((~mated).sum())),
        ProbabilityCurve(1.0, 2.0),
    )
    assert overconfident.error > 0.1 and (overconfident.predicted >= overconfident.observed).all()
