"""Error rates of a recogniser, computed from its scores, with confidence intervals.

A *mated* probe shows a person who is enrolled, a *stranger* is a person who is not. The same conventions hold in every
function:

- `score`: higher is more alike. A probe is accepted when its score is at or above the threshold.
- `NEVER` (minus infinity) stands for an event that no threshold accepts: a photo without a face, or a mated probe whose
  best name is wrong. Such a mated probe is an error. Such a stranger is not named, and still counts.
- Ties go against the recogniser. A wrong name that is as similar as the right one outranks it, and a mated score that
  equals the score of a stranger who must be refused is refused as well.
- "lets a share x of n strangers through" allows floor(x * n) of them and never one more. With 50 strangers, FPIR 1 %
  allows none.
- Every rate takes optional `weights` (R, N), one row for each bootstrap resample, and then returns (R,) values.

References: ISO/IEC 19795-1:2021 (rates); Bolle, Ratha and Pankanti, "Error analysis of pattern recognition
systems: the subsets bootstrap", CVIU 2004 (resample people, not photos, which depend on each other);
Snijders and Borgatti, "Non-parametric standard errors and tests for network statistics", Connections 1999
(both ends of a pair).
"""

from collections.abc import Callable, Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import beta

NEVER = -np.inf
NEVER_RANKED = np.iinfo(np.int64).max
RESAMPLES = 1000
_ROUNDING = 1e-9  # 0.07 * 100 is 7.000000000000001, 0.29 * 100 is 28.999999999999996
_CHUNK_VALUES = 2_000_000  # resamples are computed in pieces of about 16 MB


def ranks_of_truth(similarities: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the rank of the right name for each probe, 1 for the best.

    Args:
        similarities: (N, C) similarity of each probe to each enrolled name.
        truth: (N,) column of the right name.

    Returns:
        (N,) int64. A name exactly as similar as the right one counts as ranked before it.
    """
    own = similarities[np.arange(len(truth)), truth][:, None]
    return (similarities >= own).sum(axis=1).astype(np.int64)


def rank_k_rate(ranks: ArrayLike, k: int, weights: np.ndarray | None = None) -> float | np.ndarray:
    """Return the fraction of mated probes whose right name is among the first `k` (closed set).

    Args:
        ranks: (N,) from `ranks_of_truth`; `NEVER_RANKED` for a probe without a face.
        k: 1 or more.
        weights: (R, N) or None.
    """
    return mean_rate(np.asarray(ranks) <= k, weights)


def cmc(ranks: ArrayLike, max_rank: int) -> np.ndarray:
    """Return the cumulative match curve: `rank_k_rate` for k = 1 to `max_rank`, (max_rank,)."""
    values = np.asarray(ranks)
    return np.array([np.mean(values <= k) for k in range(1, max_rank + 1)])


def mean_rate(outcome: ArrayLike, weights: np.ndarray | None = None) -> float | np.ndarray:
    """Return the fraction of `outcome` (N,) bool that is true; NaN when there is nothing to count."""
    values = np.asarray(outcome, np.float64)
    if weights is None:
        return float(values.mean()) if values.size else float("nan")
    with np.errstate(invalid="ignore"):
        return (weights @ values) / weights.sum(axis=1, dtype=np.float64)


def accept_rate(scores: ArrayLike, threshold: float, weights: np.ndarray | None = None) -> float | np.ndarray:
    """Return the fraction of `scores` at or above `threshold`; `NEVER` is below every threshold.

    With mated scores (wrong names set to `NEVER`) this is the TPIR, with stranger scores the FPIR.
    """
    values = np.asarray(scores, np.float64)
    return mean_rate((values >= threshold) & (values > NEVER), weights)


def threshold_at(stranger_scores: ArrayLike, rate: float, confidence: float | None = None) -> float:
    """Return the lowest threshold that lets at most floor(`rate` * n) strangers through.

    The threshold lies just above the score of the first stranger who must be refused, so ties with that stranger are
    refused. On average, the same share of new strangers passes; in a given sample it may be more or fewer. With a
    `confidence`, fewer of the n strangers are let through, so that the rate among all strangers is at most `rate` with
    that probability.

    Source:
        The share of all strangers above the k-th highest of n scores is distributed as Beta(k, n + 1 - k).

    Raises:
        ValueError: there are no strangers, or `rate` is not within 0 to 1.
    """
    values = np.sort(np.asarray(stranger_scores, np.float64))[::-1]
    if not values.size or not 0 <= rate <= 1:
        raise ValueError(
            f"a threshold needs strangers and a rate within 0 to 1, not {values.size} and {rate}"
        )
    allowed = int(np.floor(rate * values.size + _ROUNDING))
    if confidence is not None:
        fewer = np.arange(allowed + 1)
        sure = beta.cdf(rate, fewer + 1, values.size - fewer) >= confidence
        allowed = int(fewer[sure].max(initial=0))
    refused = values[allowed] if allowed < values.size else NEVER
    return float(np.nextafter(max(refused, np.finfo(np.float64).min), np.inf))


def tpir_at_fpir(
    mated_scores: ArrayLike,
    stranger_scores: ArrayLike,
    fpir: float,
    mated_weights: np.ndarray | None = None,
    stranger_weights: np.ndarray | None = None,
) -> float | np.ndarray:
    """Return the fraction of mated probes that are named rightly when floor(`fpir` * n) strangers may be named.

    Args:
        mated_scores: (N,) score of the best name; `NEVER` where that name is wrong or no face was detected.
        stranger_scores: (S,) score of the best name; `NEVER` where no face was detected.
        fpir: the false positive identification rate allowed, a fraction.
        mated_weights: (R, N) or None.
        stranger_weights: (R, S) or None, given if and only if `mated_weights` is.

    Example:
        >>> tpir_at_fpir([0.9, 0.8, 0.5, NEVER], [0.7, 0.6, 0.2, 0.1], 0.25)  # threshold just above 0.6
        0.5
    """
    return _over_resamples(
        lambda far, frr, mated, strangers: _tpir_from_rates(far, frr, strangers, fpir),
        mated_scores,
        stranger_scores,
        mated_weights,
        stranger_weights,
    )


def tar_at_far(
    mated_scores: ArrayLike,
    nonmated_scores: ArrayLike,
    far: float,
    mated_weights: np.ndarray | None = None,
    nonmated_weights: np.ndarray | None = None,
) -> float | np.ndarray:
    """Return the true accept rate of 1:1 comparison when floor(`far` * n) non-mated pairs may be accepted.

    A mated pair without a face has the score `NEVER` and is rejected. Leave out non-mated pairs without a face, so that
    missed faces cannot lower the false accept rate.
    """
    return tpir_at_fpir(mated_scores, nonmated_scores, far, mated_weights, nonmated_weights)


def eer(
    mated_scores: ArrayLike,
    nonmated_scores: ArrayLike,
    mated_weights: np.ndarray | None = None,
    nonmated_weights: np.ndarray | None = None,
) -> float | np.ndarray:
    """Return the equal error rate of 1:1 comparison, where false accepts and false rejects are equally frequent.

    Between two neighbouring thresholds the two rates are joined by a straight line. `tar_at_far` says how pairs without
    a face count.

    Example:
        >>> eer([0.9, 0.8, 0.4], [0.6, 0.3, 0.2, 0.1])  # at 0.6: FAR 1/4, FRR 1/3; at 0.4: 1/4, 0
        0.25
    """
    return _over_resamples(
        lambda far, frr, mated, strangers: _crossing(far, frr),
        mated_scores,
        nonmated_scores,
        mated_weights,
        nonmated_weights,
    )


def det(mated_scores: ArrayLike, stranger_scores: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the detection error trade-off: false accept rate, false reject rate and threshold.

    Returns:
        Three (T + 1,) arrays from the strictest threshold (infinity, FAR 0, FRR 1) to the loosest. With
        mated scores whose wrong names are `NEVER`, the rates are FPIR and 1 - TPIR. The ROC is `far`
        against `1 - frr`.
    """
    mated, strangers = np.asarray(mated_scores, np.float64), np.asarray(stranger_scores, np.float64)
    thresholds, far, frr, _, _ = _error_rates(
        mated, strangers, np.ones((1, mated.size)), np.ones((1, strangers.size))
    )
    return far[0], frr[0], thresholds


def pair_outcomes(
    scores: ArrayLike,
    mated: ArrayLike,
    folds: int = 10,
    seed: int = 0,
    fold_of: np.ndarray | None = None,
) -> np.ndarray:
    """Return which pairs are judged rightly, each fold by the threshold that is best on the other folds.

    Unless folds are given, pairs are dealt to folds at random (seeded), mated and non-mated pairs separately. Where
    several thresholds are equally good, the middle of the widest gap is taken. A pair without a face (NaN or `NEVER`)
    always counts as judged wrongly.

    Args:
        scores: (N,) similarity of each pair.
        mated: (N,) bool.
        folds: at most the number of pairs.
        seed: of the random folds.
        fold_of: (N,) int fold of each pair, where the list of pairs has folds of its own.

    Returns:
        (N,) bool; its mean is the pair accuracy.
    """
    values, same = np.asarray(scores, np.float64), np.asarray(mated, bool)
    usable = np.isfinite(values)
    fold = np.empty(values.size, np.int64) if fold_of is None else np.asarray(fold_of, np.int64)
    generator = np.random.default_rng(seed)
    for kind in (True, False) if fold_of is None else ():
        index = np.flatnonzero(same == kind)
        fold[generator.permutation(index)] = np.arange(index.size) % folds
    right = np.zeros(values.size, bool)
    for number in np.unique(fold):
        test = usable & (fold == number)
        train = usable & (fold != number)
        if test.any() and train.any():
            right[test] = (values[test] >= _best_threshold(values[train], same[train])) == same[test]
    return right


def identity_weights(identities: Sequence[Hashable], resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Return how often each photo counts in each bootstrap resample of the *identities*.

    Args:
        identities: N names, one for each photo; photos of one name stay together.
        resamples: number of resamples, R.
        seed: the same seed gives the same weights.

    Returns:
        (R, N) float32 of whole numbers.
    """
    index, count = _numbered(identities)
    return _identity_counts(count, resamples, seed)[:, index]


def pair_weights(
    identities_a: Sequence[Hashable],
    identities_b: Sequence[Hashable],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> np.ndarray:
    """Return how often each pair counts in each bootstrap resample of the identities on both its sides.

    People are drawn with replacement. A mated pair counts as often as its person was drawn. A non-mated pair counts as
    often as both its people meet, which is the product of their counts (the vertex bootstrap). A person who is confused
    with everybody therefore widens the interval, as is right.

    Returns:
        (R, N) float32 of whole numbers.
    """
    index, count = _numbered([*identities_a, *identities_b])
    counts = _identity_counts(count, resamples, seed)
    a, b = index[: len(identities_a)], index[len(identities_a) :]
    return np.where(a == b, counts[:, a], counts[:, a] * counts[:, b])


def interval(
    samples: ArrayLike, estimate: float, identities: int, level: float = 0.95
) -> tuple[float, float]:
    """Return the percentile interval of bootstrap `samples` (R,), widened where the bootstrap is blind.

    When the estimate is 0 or 1, every resample repeats it, which would claim certainty. Then the exact
    (Clopper-Pearson) bound for that many identities is returned: 0 errors among 100 people means up to 3.6 %.

    Returns:
        (low, high); NaNs when nothing could be measured.
    """
    values = np.asarray(samples, np.float64)
    values = values[np.isfinite(values)]
    if not values.size or not np.isfinite(estimate):
        return float("nan"), float("nan")
    tail = (1 - level) / 2
    if estimate in (0.0, 1.0) and np.all(values == estimate):
        bound = float(tail ** (1 / max(identities, 1)))
        return (0.0, 1 - bound) if estimate == 0.0 else (bound, 1.0)
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def _numbered(identities: Sequence[Hashable]) -> tuple[np.ndarray, int]:
    """Return the identity number of each entry, in order of first appearance, and the number of identities."""
    numbers: dict[Hashable, int] = {}
    index = [numbers.setdefault(name, len(numbers)) for name in identities]
    return np.array(index, np.int64), len(numbers)


def _identity_counts(identities: int, resamples: int, seed: int) -> np.ndarray:
    """Return (R, identities) float32: how often each identity is drawn when as many are drawn with replacement."""
    if not identities:
        return np.zeros((resamples, 0), np.float32)
    generator = np.random.default_rng(seed)
    return generator.multinomial(identities, np.full(identities, 1 / identities), resamples).astype(
        np.float32
    )


def _error_rates(
    mated: np.ndarray, strangers: np.ndarray, mated_weights: np.ndarray, stranger_weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return thresholds (T + 1,), false accept and reject rates (R, T + 1), total weights (R,) of both kinds.

    Thresholds are the distinct finite scores, from infinity down: one step of the curve is a group of equal
    scores.
    """
    scores = np.concatenate([mated, strangers])
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] > NEVER]
    ordered = scores[order]
    last_of_group = np.flatnonzero(np.append(np.diff(ordered) != 0, ordered.size > 0))
    thresholds = np.append(np.inf, ordered[last_of_group])
    totals = []
    accepted = []
    for weights, start in ((mated_weights, 0), (stranger_weights, mated.size)):
        column = order - start
        inside = (column >= 0) & (column < weights.shape[1])
        steps = np.zeros((len(weights), order.size))
        steps[:, inside] = weights[:, column[inside]]
        count = np.cumsum(steps, axis=1)[:, last_of_group]
        accepted.append(np.concatenate([np.zeros((len(weights), 1)), count], axis=1))
        totals.append(weights.sum(axis=1, dtype=np.float64))
    with np.errstate(invalid="ignore"):
        far = accepted[1] / totals[1][:, None]
        frr = 1 - accepted[0] / totals[0][:, None]
    return thresholds, far, frr, totals[0], totals[1]


def _tpir_from_rates(far: np.ndarray, frr: np.ndarray, strangers: np.ndarray, fpir: float) -> np.ndarray:
    """Return (R,) 1 - FRR at the loosest threshold whose false accepts are at most floor(fpir * strangers)."""
    allowed = np.floor(fpir * strangers + _ROUNDING) + 0.5
    step = (far * strangers[:, None] <= allowed[:, None]).sum(axis=1) - 1
    tpir = 1 - frr[np.arange(len(frr)), np.maximum(step, 0)]
    return np.where(strangers > 0, tpir, np.nan)


def _crossing(far: np.ndarray, frr: np.ndarray) -> np.ndarray:
    """Return the (R,) values at which FAR and FRR, joined by straight lines between thresholds, are equal."""
    difference = far - frr
    after = np.argmax(difference >= 0, axis=1)
    row = np.arange(len(far))
    before = np.maximum(after - 1, 0)
    step = difference[row, after] - difference[row, before]
    share = np.divide(-difference[row, before], step, out=np.zeros(len(far)), where=step > 0)
    value = far[row, before] + share * (far[row, after] - far[row, before])
    crossed = (difference >= 0).any(axis=1)
    # without a crossing every threshold has a larger FRR than FAR: no mated probe has a usable score
    return np.where(np.isnan(difference).any(axis=1), np.nan, np.where(crossed, value, 1.0))


def _over_resamples(
    rate: Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    mated_scores: ArrayLike,
    stranger_scores: ArrayLike,
    mated_weights: np.ndarray | None,
    stranger_weights: np.ndarray | None,
) -> float | np.ndarray:
    """Return `rate` of the error curve, once, or for each resample, in pieces that fit in memory."""
    mated, strangers = np.asarray(mated_scores, np.float64), np.asarray(stranger_scores, np.float64)
    if (mated_weights is None) != (stranger_weights is None):
        raise ValueError("give weights for both kinds of score, or for neither")
    if mated_weights is None or stranger_weights is None:
        if not mated.size or not strangers.size:
            return float("nan")
        once = _error_rates(mated, strangers, np.ones((1, mated.size)), np.ones((1, strangers.size)))
        return float(rate(once[1], once[2], once[3], once[4])[0])
    piece = max(1, _CHUNK_VALUES // max(mated.size + strangers.size, 1))
    values = []
    for start in range(0, len(mated_weights), piece):
        rows = slice(start, start + piece)
        some = _error_rates(mated, strangers, mated_weights[rows], stranger_weights[rows])
        values.append(rate(some[1], some[2], some[3], some[4]))
    return np.concatenate(values)


def _best_threshold(scores: np.ndarray, mated: np.ndarray) -> float:
    """Return the threshold that judges most pairs rightly; of several, the middle of the widest gap."""
    order = np.argsort(scores)
    ordered, same = scores[order], mated[order]
    # cutting before position i: everything from i on is called mated
    right = np.append(0, np.cumsum(~same)) + same.sum() - np.append(0, np.cumsum(same))
    edges = np.concatenate([[ordered[0] - 1], ordered, [ordered[-1] + 1]])
    gaps = np.diff(edges)
    right = np.where(gaps > 0, right, -1)
    best = np.flatnonzero(right == right.max())
    # the open ends have no width of their own, so a gap between two scores is preferred
    inner = best[(best > 0) & (best < len(ordered))]
    chosen = inner[np.argmax(gaps[inner])] if inner.size else best[0]
    return float((edges[chosen] + edges[chosen + 1]) / 2)
