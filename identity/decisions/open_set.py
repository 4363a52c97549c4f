"""Who is it, and is it anybody we know: the open-set decision.

Names are ranked by cosine similarity to their templates. Whether the best one is accepted is decided by
another score:

    score = cosine of the best name
          + lead_weight * (cosine of the best name - mean cosine of the next `lead_names`)
          - crowding_weight * crowding of the best name's template

Crowding is the mean similarity of a template to its nearest calibration strangers: a template amid many
people must be hit more precisely. It never enters the ranking, where it costs accuracy. Constants and
thresholds come from calibration people only, never from those used to measure.
"""

from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from augmentor.errors import InputError
from identity.decisions.metrics import NEVER, threshold_at, tpir_at_fpir

CROWD = 10
STORED_FPIR = {"fpir_1": 0.01, "fpir_10": 0.10}
SEARCHED_FPIRS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
_LEAD_WEIGHTS = (0.0, 0.5, 1.0, 1.5)
_LEAD_NAMES = (3, 5, 10)
_CROWDING_WEIGHTS = (0.0, 0.25, 0.5, 0.75)


@dataclass(frozen=True)
class DecisionConstants:
    """Weights of the acceptance score; the defaults were chosen on 500 calibration people of LFW."""

    lead_weight: float = 1.0
    lead_names: int = 5
    crowding_weight: float = 0.5

    def __post_init__(self) -> None:
        if not (np.isfinite(self.lead_weight) and np.isfinite(self.crowding_weight) and self.lead_names >= 1):
            raise ValueError(f"unusable decision constants: {self}")


@dataclass(frozen=True)
class ProbabilityCurve:
    """Probability that the best name is right: 1 / (1 + exp(-slope * score - intercept)).

    Fitted with mated probes and strangers weighing the same in total: it is the probability where every
    second face belongs to somebody enrolled.
    """

    slope: float
    intercept: float

    def __call__(self, score: np.ndarray) -> np.ndarray:
        """(N,) probabilities for (N,) scores; 0 for `NEVER`."""
        values = np.asarray(score, np.float64)
        logit = np.clip(self.slope * np.maximum(values, -1e6) + self.intercept, -500, 500)
        return np.where(values == NEVER, 0.0, 1 / (1 + np.exp(-logit)))


@dataclass(frozen=True)
class Decision:
    """What calibration settled: constants, thresholds and the probability curve.

    Attributes:
        constants: Of the acceptance score.
        thresholds: `fpir_1` and `fpir_10`: the score that 1 % and 10 % of the calibration strangers reach.
        probability: Score to probability.
        calibration: What was measured: `mated`, `strangers` (counts), `tpir_fpir_1`, `tpir_fpir_10`,
            `searched`, and at each of SEARCHED_FPIRS the share named rightly.
        stranger_scores: What the calibration strangers scored, the highest first: every other threshold.
        confidence: With which probability the rates are kept among all strangers; None: they are kept on average.
    """

    constants: DecisionConstants
    thresholds: dict[str, float]
    probability: ProbabilityCurve
    calibration: dict[str, float]
    stranger_scores: tuple[float, ...] = ()
    confidence: float | None = None

    def with_confidence(self, confidence: float) -> "Decision":
        """Use thresholds that keep their rates with a probability; see `identity.decisions.metrics.threshold_at`."""
        thresholds = {
            name: threshold_at(self.stranger_scores, fpir, confidence) for name, fpir in STORED_FPIR.items()
        }
        return replace(self, thresholds=thresholds, confidence=confidence)

    def threshold(self, fpir: float) -> float:
        """Acceptance score that so large a share of the calibration strangers reaches.

        Raises:
            InputError: a rate that so few strangers cannot tell, or none at all.
        """
        for name, stored in STORED_FPIR.items():
            if fpir == stored:
                return self.thresholds[name]
        least = 1 / max(len(self.stranger_scores), 1)
        if not least <= fpir < 1:
            raise InputError(
                f"--fpir {fpir:g}: this run was calibrated with {len(self.stranger_scores)} strangers, who tell "
                f"rates from {least:.2g} to below 1; train with more --strangers for smaller ones"
            )
        return threshold_at(self.stranger_scores, fpir, self.confidence)

    def named_at(self, fpir: float) -> float | None:
        """Share of calibration probes of enrolled people that get their name at this rate; None where not measured."""
        return self.calibration.get(_named_key(fpir))

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Decision":
        """Read what `as_dict` wrote.

        Raises:
            KeyError, TypeError, ValueError: `values` is not such a dictionary.
        """
        return cls(
            DecisionConstants(**values["constants"]),
            {name: float(values["thresholds"][name]) for name in STORED_FPIR},
            ProbabilityCurve(**values["probability"]),
            dict(values["calibration"]),
            tuple(float(score) for score in values["stranger_scores"]),
            values.get("confidence"),
        )


def crowding(templates: np.ndarray, stranger_embeddings: np.ndarray, k: int = CROWD) -> np.ndarray:
    """Mean similarity of each template to its `k` nearest strangers.

    Args:
        templates: (C, D) unit rows.
        stranger_embeddings: (S, D) unit rows; with fewer than `k` all of them count.
        k: How many are near.

    Returns:
        (C,) float32; zeros when there are no strangers.
    """
    return crowding_from_similarities(stranger_embeddings @ templates.T, k)


def crowding_from_similarities(stranger_similarities: np.ndarray, k: int = CROWD) -> np.ndarray:
    """`crowding` from the (S, C) similarities of strangers to templates.

    An entry of `NEVER` does not count: a person of the training set who is left out to play the stranger is
    compared with everybody's template but his own.
    """
    return crowding_sums(stranger_similarities, k)[0].astype(np.float32)


def _named_key(fpir: float) -> str:
    """What `Decision.calibration` calls the share of mated probes named rightly at this rate."""
    stored = {rate: name for name, rate in STORED_FPIR.items()}
    return f"tpir_{stored[fpir]}" if fpir in stored else f"tpir_at_{fpir:g}"


def rank_names(similarities: np.ndarray, k: int | None = None) -> np.ndarray:
    """Columns of the `k` most similar names, best first, ties in column order: (N, k) int."""
    order = np.argsort(-similarities, axis=1, kind="stable")
    return order[:, : k if k is not None else similarities.shape[1]]


def accept_score(
    similarities: np.ndarray, crowding: np.ndarray, constants: DecisionConstants
) -> tuple[np.ndarray, np.ndarray]:
    """Best name and the score that decides whether it is accepted.

    With fewer than `lead_names` + 1 names the lead is over as many others as there are; with one name it is
    0.

    Args:
        similarities: (N, C) cosines to the templates; `NEVER` marks a name that is no candidate.
        crowding: (C,), or (N, C) where it differs between probes.
        constants: Weights.

    Returns:
        best (N,) int64 column, score (N,) float64.

    Example:
        >>> best, score = accept_score(np.array([[0.5, 0.9]]), np.array([0.2, 0.4]), DecisionConstants())
        >>> int(best[0]), round(float(score[0]), 6)  # 0.9 + (0.9 - 0.5) - 0.5 * 0.4
        (1, 1.1)
    """
    values = np.asarray(similarities, np.float64)
    best = np.argmax(values, axis=1)
    row = np.arange(len(values))
    top = values[row, best]
    crowd = np.broadcast_to(np.asarray(crowding, np.float64), values.shape)[row, best]
    lead = top - _mean_of_next(values, constants.lead_names, top)
    return best, top + constants.lead_weight * lead - constants.crowding_weight * crowd


def fit_decision(
    mated_similarities: np.ndarray,
    mated_labels: np.ndarray,
    stranger_similarities: np.ndarray,
    *,
    crowding: np.ndarray | None = None,
    constants: DecisionConstants | None = None,
    k: int = CROWD,
) -> Decision:
    """Choose constants, thresholds and probability curve on calibration people.

    Constants come from a small grid: most mated probes named rightly, on average over FPIR 0.5 to 20 % (one rate of
    a few hundred strangers is too noisy to choose by), then nearest to the defaults. With fewer than 100 strangers
    FPIR 1 % cannot be measured, with fewer than 20 mated probes hardly anything: the defaults stay. A stranger is
    scored with crowding that leaves himself out, as a new one would be.

    Args:
        mated_similarities: (M, C) of held-out photos of enrolled people, found faces only.
        mated_labels: (M,) column of the right name.
        stranger_similarities: (S, C), S at least 1, same columns; `NEVER` for a left-out person's own name.
        crowding: (C,) of the templates; by default from `stranger_similarities`.
        constants: Given, they are kept and only thresholds and curve are fitted.
        k: How many strangers are near.

    Raises:
        ValueError: No strangers, or shapes that do not fit together.
    """
    mated = np.asarray(mated_similarities, np.float64)
    strangers = np.asarray(stranger_similarities, np.float64)
    labels = np.asarray(mated_labels)
    if strangers.ndim != 2 or not len(strangers):
        raise ValueError("calibration needs strangers: (S, C) similarities with S at least 1")
    if mated.shape != (len(labels), strangers.shape[1]):
        raise ValueError(f"similarities {mated.shape} and {strangers.shape}, {len(labels)} labels")
    own, without_self = crowding_sums(strangers, k)
    of_templates = own if crowding is None else np.asarray(crowding, np.float64)
    enough = len(labels) >= 20 and len(strangers) >= 100
    search = constants is None and enough
    candidates = _grid() if search else [constants or DecisionConstants()]

    best_found: tuple[float, DecisionConstants, np.ndarray, np.ndarray, np.ndarray] | None = None
    for candidate in candidates:
        best, mated_score = accept_score(mated, of_templates, candidate)
        _, stranger_score = accept_score(strangers, without_self, candidate)
        right = best == labels
        named = np.where(right, mated_score, NEVER)
        quality = float(np.mean([tpir_at_fpir(named, stranger_score, x) for x in SEARCHED_FPIRS]))
        if best_found is None or quality > best_found[0]:
            best_found = (quality, candidate, mated_score, right, stranger_score)
    assert best_found is not None
    _, chosen, mated_score, right, stranger_score = best_found
    named = np.where(right, mated_score, NEVER)
    reached = [float(tpir_at_fpir(named, stranger_score, x)) for x in STORED_FPIR.values()]
    thresholds = {name: threshold_at(stranger_score, x) for name, x in STORED_FPIR.items()}
    measured = {
        "mated": float(len(labels)),
        "strangers": float(len(strangers)),
        "tpir_fpir_1": reached[0],
        "tpir_fpir_10": reached[1],
        "searched": float(search),
    } | {_named_key(x): float(tpir_at_fpir(named, stranger_score, x)) for x in SEARCHED_FPIRS}
    curve = fit_probability(mated_score, right, stranger_score)
    kept = tuple(float(score) for score in np.sort(stranger_score)[::-1])
    return Decision(chosen, thresholds, curve, measured, kept)


def _grid() -> list[DecisionConstants]:
    """All candidates, nearest to the defaults first, so that equal ones change nothing."""
    usual = DecisionConstants()
    every = [DecisionConstants(*values) for values in product(_LEAD_WEIGHTS, _LEAD_NAMES, _CROWDING_WEIGHTS)]
    # without a lead its number of names says nothing
    every = [c for c in every if c.lead_weight > 0 or c.lead_names == usual.lead_names]
    return sorted(
        every,
        key=lambda c: (
            abs(c.lead_weight - usual.lead_weight)
            + abs(c.crowding_weight - usual.crowding_weight)
            + abs(np.log(c.lead_names / usual.lead_names)) / 2
        ),
    )


def _mean_of_next(values: np.ndarray, names: int, top: np.ndarray) -> np.ndarray:
    """(N,) mean of the candidates after the best, at most `names` of them; `top` where there are none."""
    count = min(names, values.shape[1] - 1)
    if count < 1:
        return top
    largest = -np.partition(-values, count, axis=1)[:, : count + 1]
    following = -np.sort(-largest, axis=1)[:, 1:]
    usable = following > NEVER
    number = usable.sum(axis=1)
    total = np.where(usable, following, 0.0).sum(axis=1)
    return np.where(number > 0, total / np.maximum(number, 1), top)


def crowding_sums(similarities: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Crowding of each template (C,), and for each stranger as if he were not there (S, C), which is how to score him.

    Removing one of the k nearest lets the next one in.
    """
    values = np.asarray(similarities, np.float64)
    if not len(values):
        return np.zeros(values.shape[1]), np.zeros(values.shape)
    ordered = -np.sort(-values, axis=0)
    nearest = ordered[:k]
    usable = nearest > NEVER
    number = usable.sum(axis=0)
    total = np.where(usable, nearest, 0.0).sum(axis=0)
    whole = np.where(number > 0, total / np.maximum(number, 1), 0.0)
    following = ordered[k] if len(values) > k else np.full(values.shape[1], NEVER)
    replaced = following > NEVER
    remaining = np.where(replaced, number, number - 1)
    is_near = (values > NEVER) & (values >= nearest[-1])
    total_without = total + np.where(replaced, following, 0.0) - np.where(is_near, values, 0.0)
    without = np.where(remaining > 0, total_without / np.maximum(remaining, 1), 0.0)
    return whole, np.where(is_near, without, whole)


def fit_probability(
    mated_score: np.ndarray, right: np.ndarray, stranger_score: np.ndarray
) -> ProbabilityCurve:
    """Logistic curve on Platt's smoothed targets, which keep it finite where the classes separate.

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
