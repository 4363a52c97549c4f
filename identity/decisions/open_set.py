"""The open-set decision: which enrolled person a face shows, or that it shows none of them.

Names are ranked by cosine similarity to their templates. Whether the best one is accepted is decided by an acceptance
score (`identity.decisions.acceptance`) and a threshold. Constants and thresholds come from calibration people only,
never from those used to measure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from augmentor.errors import InputError
from identity.decisions.acceptance import AcceptanceScore, LeadAndCrowding, score_called
from identity.decisions.metrics import NEVER, threshold_at, tpir_at_fpir

STORED_FPIR = {"fpir_1": 0.01, "fpir_10": 0.10}
SEARCHED_FPIRS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)


@dataclass(frozen=True)
class ProbabilityCurve:
    """Probability that the best name is right: 1 / (1 + exp(-slope * score - intercept)).

    It is fitted with the same total weight for mated probes and strangers, so it holds where every second face belongs
    to an enrolled person.
    """

    slope: float
    intercept: float

    def __call__(self, score: np.ndarray) -> np.ndarray:
        """Return (N,) probabilities for (N,) scores; 0 for `NEVER`."""
        values = np.asarray(score, np.float64)
        logit = np.clip(self.slope * np.maximum(values, -1e6) + self.intercept, -500, 500)
        return np.where(values == NEVER, 0.0, 1 / (1 + np.exp(-logit)))


@dataclass(frozen=True)
class Decision:
    """The result of calibration: the acceptance score, its thresholds and the probability curve.

    Attributes:
        acceptance: the acceptance score, with what it knows of each enrolled person.
        thresholds: `fpir_1` and `fpir_10`: the score that 1 % and 10 % of the calibration strangers reach.
        probability: score to probability.
        calibration: what was measured: `mated`, `strangers` (counts), `tpir_fpir_1`, `tpir_fpir_10`,
            `searched`, and at each of SEARCHED_FPIRS the share of mated probes that is named rightly.
        stranger_scores: scores of the calibration strangers, the highest first; they give every other threshold.
        confidence: the probability with which the rates are kept among all strangers; None: they are kept on average.
    """

    acceptance: AcceptanceScore
    thresholds: dict[str, float]
    probability: ProbabilityCurve
    calibration: dict[str, float]
    stranger_scores: tuple[float, ...] = ()
    confidence: float | None = None

    def score(self, similarities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the best name of each probe, and the score that decides whether it is accepted.

        Args:
            similarities: (N, C) cosines to the templates of the enrolled people.

        Returns:
            best (N,) int64 column, score (N,) float64. A name is accepted from a threshold on.
        """
        return self.acceptance(similarities)

    def with_person(self, cosines: np.ndarray) -> Decision:
        """Return the decision for one person more, as the last column.

        Args:
            cosines: (C + 1, C) of all templates, the new one last, with those of the C people.
        """
        strangers = self.calibration.get("strangers", 1.0)
        return replace(self, acceptance=self.acceptance.with_person(cosines, strangers))

    def without(self, person: int) -> Decision:
        """Return the decision without the person of this column."""
        return replace(self, acceptance=self.acceptance.without(person))

    def merged(self, one: int, into: int, weights: np.ndarray) -> Decision:
        """Return the decision with `into` standing for both people; `one` keeps its column.

        Args:
            one, into: columns.
            weights: (2,) how much each of the two counts, adding up to 1.
        """
        return replace(self, acceptance=self.acceptance.merged(one, into, weights))

    def with_confidence(self, confidence: float) -> Decision:
        """Return the decision with thresholds that keep their rates with a probability.

        See `identity.decisions.metrics.threshold_at`.
        """
        thresholds = {
            name: threshold_at(self.stranger_scores, fpir, confidence) for name, fpir in STORED_FPIR.items()
        }
        return replace(self, thresholds=thresholds, confidence=confidence)

    def threshold(self, fpir: float) -> float:
        """Return the acceptance score that this share of the calibration strangers reaches.

        Args:
            fpir: false positive identification rate, a fraction.

        Raises:
            InputError: there are too few calibration strangers to estimate this rate.
        """
        for name, stored in STORED_FPIR.items():
            if fpir == stored:
                return self.thresholds[name]
        least = 1 / max(len(self.stranger_scores), 1)
        if not least <= fpir < 1:
            raise InputError(
                f"--fpir {fpir:g}: this run was calibrated with {len(self.stranger_scores)} strangers, enough for "
                f"rates from {least:.2g} to below 1; train with more --strangers for smaller ones"
            )
        return threshold_at(self.stranger_scores, fpir, self.confidence)

    def named_at(self, fpir: float) -> float | None:
        """Return the share of mated calibration probes that are named rightly at this rate; None if not measured."""
        return self.calibration.get(_named_key(fpir))

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "score": {"kind": self.acceptance.kind, **self.acceptance.as_dict()},
            "thresholds": self.thresholds,
            "probability": {"slope": self.probability.slope, "intercept": self.probability.intercept},
            "calibration": self.calibration,
            "stranger_scores": list(self.stranger_scores),
            "confidence": self.confidence,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Decision:
        """Read what `as_dict` wrote.

        Raises:
            KeyError, TypeError, ValueError: `values` is not such a dictionary.
            InputError: its acceptance score is not registered.
        """
        score = dict(values["score"])
        return cls(
            score_called(score.pop("kind")).from_dict(score),
            {name: float(values["thresholds"][name]) for name in STORED_FPIR},
            ProbabilityCurve(**values["probability"]),
            dict(values["calibration"]),
            tuple(float(score) for score in values["stranger_scores"]),
            values.get("confidence"),
        )


def _named_key(fpir: float) -> str:
    """Return the key in `Decision.calibration` of the share of mated probes named rightly at this rate."""
    stored = {rate: name for name, rate in STORED_FPIR.items()}
    return f"tpir_{stored[fpir]}" if fpir in stored else f"tpir_at_{fpir:g}"


def rank_names(similarities: np.ndarray, k: int | None = None) -> np.ndarray:
    """Return the columns of the `k` most similar names, best first, ties in column order: (N, k) int."""
    order = np.argsort(-similarities, axis=1, kind="stable")
    return order[:, : k if k is not None else similarities.shape[1]]


def fit_decision(
    mated_similarities: np.ndarray,
    mated_labels: np.ndarray,
    stranger_similarities: np.ndarray,
    *,
    score: AcceptanceScore | None = None,
    kind: type[AcceptanceScore] = LeadAndCrowding,
) -> Decision:
    """Choose the acceptance score, thresholds and probability curve on calibration people.

    The chosen score is the candidate that names most mated probes rightly, on average over FPIR 0.5 to 20 %: one rate
    of a few hundred strangers is too noisy to choose by. Of equally good ones the first is taken. With fewer than 100
    strangers FPIR 1 % cannot be measured, with fewer than 20 mated probes hardly anything: then the usual score stays.

    Args:
        mated_similarities: (M, C) of held-out photos of enrolled people in which a face was detected.
        mated_labels: (M,) column of the right name.
        stranger_similarities: (S, C), S at least 1, same columns; `NEVER` for a left-out person's own name.
        score: given, its constants are kept; it is only measured anew with these strangers.
        kind: the kind of score to choose from where none is given.

    Raises:
        ValueError: no strangers, or shapes that do not fit together.
    """
    mated = np.asarray(mated_similarities, np.float64)
    strangers = np.asarray(stranger_similarities, np.float64)
    labels = np.asarray(mated_labels)
    if strangers.ndim != 2 or not len(strangers):
        raise ValueError("calibration needs strangers: (S, C) similarities with S at least 1")
    if mated.shape != (len(labels), strangers.shape[1]):
        raise ValueError(f"similarities {mated.shape} and {strangers.shape}, {len(labels)} labels")
    enough = len(labels) >= 20 and len(strangers) >= 100
    search = score is None and enough
    candidates = iter([score.remeasured(strangers)]) if score else kind.candidates(strangers)

    chosen, stranger_score = next(candidates)
    if search:
        quality = _quality(chosen, stranger_score, mated, labels)
        for candidate, candidate_scores in candidates:
            reached = _quality(candidate, candidate_scores, mated, labels)
            if reached > quality:
                quality, chosen, stranger_score = reached, candidate, candidate_scores
    best, mated_score = chosen(mated)
    right = best == labels
    named = np.where(right, mated_score, NEVER)
    measured = {
        "mated": float(len(labels)),
        "strangers": float(len(strangers)),
        "searched": float(search),
    } | {
        _named_key(fpir): float(tpir_at_fpir(named, stranger_score, fpir))
        for fpir in dict.fromkeys((*STORED_FPIR.values(), *SEARCHED_FPIRS))
    }
    return Decision(
        acceptance=chosen.as_stored(),
        thresholds={name: threshold_at(stranger_score, fpir) for name, fpir in STORED_FPIR.items()},
        probability=fit_probability(mated_score, right, stranger_score),
        calibration=measured,
        stranger_scores=tuple(float(score) for score in np.sort(stranger_score)[::-1]),
    )


def _quality(
    score: AcceptanceScore, stranger_score: np.ndarray, mated: np.ndarray, labels: np.ndarray
) -> float:
    """Return the share of mated probes named rightly, averaged over SEARCHED_FPIRS."""
    best, mated_score = score(mated)
    named = np.where(best == labels, mated_score, NEVER)
    return float(np.mean([tpir_at_fpir(named, stranger_score, fpir) for fpir in SEARCHED_FPIRS]))


def fit_probability(
    mated_score: np.ndarray, right: np.ndarray, stranger_score: np.ndarray
) -> ProbabilityCurve:
    """Fit a logistic curve to Platt's smoothed targets, which keep it finite where the classes separate.

    Source:
        Platt, "Probabilistic outputs for support vector machines", 1999; differs: mated and strangers are
        weighted to the same total.
    """
    score = np.concatenate([mated_score, stranger_score])
    positive = np.concatenate([right, np.zeros(len(stranger_score), bool)])
    weight = np.concatenate(
        [np.full(len(part), 1 / max(len(part), 1)) for part in (mated_score, stranger_score)]
    ) * (len(score) / 2)
    right_count, wrong_count = positive.sum(), (~positive).sum()
    target = np.where(positive, (right_count + 1) / (right_count + 2), 1 / (wrong_count + 2))
    centre, scale = score.mean(), max(float(score.std()), 1e-9)
    design = np.stack([(score - centre) / scale, np.ones(len(score))], axis=1)
    answer = np.zeros(2)
    for _ in range(100):
        probability = 1 / (1 + np.exp(-np.clip(design @ answer, -500, 500)))
        gradient = design.T @ (weight * (target - probability)) - 1e-6 * answer
        curvature = (design * (weight * probability * (1 - probability))[:, None]).T @ design + 1e-6 * np.eye(
            2
        )
        step = np.linalg.solve(curvature, gradient)
        answer = answer + np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-9:
            break
    slope = float(answer[0] / scale)
    return ProbabilityCurve(slope, float(answer[1] - slope * centre))
