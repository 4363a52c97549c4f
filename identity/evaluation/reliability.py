"""Whether probabilities can be believed: of the answers given with 90 %, are nine in ten right?

Answers are counted as the probability curve was fitted: probes of enrolled people and strangers weigh the same in
total, an answer is right if its best name is (never for a stranger).

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
    """Bins of answers by their probability, empty ones left out.

    Attributes:
        told: (B,) mean probability.
        true: (B,) share that was right.
        answers: (B,) int, how many.
        error: mean |told - true|, bins weighted by their answers.
    """

    told: np.ndarray
    true: np.ndarray
    answers: np.ndarray
    error: float


def reliability(probes: ProbeScores, strangers: ProbeScores, curve: ProbabilityCurve) -> Reliability:
    """Of a search among enrolled names."""
    score = np.concatenate([probes.score, strangers.score])
    right = np.concatenate([probes.rank == 1, np.zeros(len(strangers.score), bool)])
    weight = np.concatenate([np.full(len(p), 0.5 / max(len(p), 1)) for p in (probes.score, strangers.score)])
    told = curve(score)
    at = np.minimum((told * BINS).astype(int), BINS - 1)
    answers = np.bincount(at, minlength=BINS)
    share, of_told, of_right = (
        np.bincount(at, weights=values, minlength=BINS) for values in (weight, weight * told, weight * right)
    )
    used = answers > 0
    told_mean, true_mean = of_told[used] / share[used], of_right[used] / share[used]
    error = float((share[used] * np.abs(told_mean - true_mean)).sum())
    return Reliability(told_mean, true_mean, answers[used], error)
