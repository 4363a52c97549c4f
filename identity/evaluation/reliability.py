"""Measure whether predicted probabilities are reliable: nine in ten answers with a probability of 90 % must be right.

Answers are weighted as when the probability curve was fitted: probes of enrolled people and strangers have the same
total weight. An answer is right if its most similar name is; for a stranger it never is.

Source:
    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017: reliability diagram, expected calibration error.
"""

from dataclasses import dataclass

import numpy as np

from identity.decisions.open_set import ProbabilityCurve
from identity.evaluation.rates import ProbeScores

BINS = 10


@dataclass(frozen=True)
class Reliability:
    """Answers in bins of their predicted probability; empty bins are left out.

    Attributes:
        predicted: (B,) mean predicted probability.
        observed: (B,) share of right answers.
        answers: (B,) int number of answers.
        error: mean of |predicted - observed| over the bins, weighted by their answers.
    """

    predicted: np.ndarray
    observed: np.ndarray
    answers: np.ndarray
    error: float


def reliability(probes: ProbeScores, strangers: ProbeScores, curve: ProbabilityCurve) -> Reliability:
    """Return the reliability of the probabilities in a search among enrolled people.

    Args:
        probes: scores of mated probes.
        strangers: scores of strangers.
        curve: the curve that turns scores into probabilities.
    """
    score = np.concatenate([probes.score, strangers.score])
    right = np.concatenate([probes.rank == 1, np.zeros(len(strangers.score), bool)])
    weight = np.concatenate([np.full(len(p), 0.5 / max(len(p), 1)) for p in (probes.score, strangers.score)])
    probability = curve(score)
    at = np.minimum((probability * BINS).astype(int), BINS - 1)
    answers = np.bincount(at, minlength=BINS)
    share, of_probability, of_right = (
        np.bincount(at, weights=values, minlength=BINS)
        for values in (weight, weight * probability, weight * right)
    )
    used = answers > 0
    predicted, observed = of_probability[used] / share[used], of_right[used] / share[used]
    error = float((share[used] * np.abs(predicted - observed)).sum())
    return Reliability(predicted, observed, answers[used], error)
