"""Compare two models on the same photos: differences of rates with paired bootstrap intervals.

The intervals of two models may overlap although their difference is certain, because both models have difficulties with
the same photos. Here people are resampled once for both models, so that these common difficulties cancel out.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from augmentor.errors import InputError
from identity.evaluation.rates import Evaluation, PairScores, ProbeScores, Rate, sample_pairs, sample_search

_COMPARED = (
    "rank1",
    "dir_at_fpir_1",
    "dir_at_fpir_10",
    "eer",
    "pair_accuracy",
    "tar_at_far_1e2",
    "tar_at_far_1e3",
)


def differences(ours: Evaluation, other: Evaluation, seed: int = 0) -> dict[str, Rate]:
    """Return the rates of one model minus those of another, on the photos that both were measured on.

    Args:
        ours: results of the first model.
        other: results of the second model.
        seed: seed of the bootstrap.

    Returns:
        The differences with 95 % intervals. Above zero the first model is better, except for the error rate `eer`.

    Raises:
        InputError: The models have no photos in common.
    """
    pair = _common_search(ours.probes, other.probes), _common_search(ours.strangers, other.strangers)
    one, two = ([part[k] if part else None for part in pair] for k in (0, 1))
    samples = [sample_search(probes, strangers, {}, seed) for probes, strangers in (one, two)]
    compared = _common_pairs(ours, other)
    if compared:
        for rates, scores in zip(samples, compared, strict=True):
            rates |= sample_pairs(scores, seed)
    names = [name for name in _COMPARED if name in samples[0] and name in samples[1]]
    if not names:
        raise InputError(f"{ours.model} and {other.model}: were not measured on any common photos")
    out = {}
    for name in names:
        a, b = samples[0][name], samples[1][name]
        low, high = np.nanquantile(a.samples - b.samples, [0.025, 0.975])
        out[name] = Rate(a.value - b.value, float(low), float(high))
    return out


def _common_search(a: ProbeScores | None, b: ProbeScores | None) -> tuple[ProbeScores, ProbeScores] | None:
    """Return both models' scores of their common photos in the same order, or None if there are none."""
    if a is None or b is None:
        return None
    shared = set(a.photos) & set(b.photos)
    if not shared:
        return None
    one, two = (_chosen(scores, shared) for scores in (a, b))
    return one, two


def _chosen(scores: ProbeScores, photos: set[Path]) -> ProbeScores:
    rows = sorted(
        (i for i, photo in enumerate(scores.photos) if photo in photos), key=lambda i: scores.photos[i]
    )
    return replace(
        scores,
        photos=[scores.photos[i] for i in rows],
        identities=[scores.identities[i] for i in rows],
        **{name: getattr(scores, name)[rows] for name in ("truth", "best", "similarity", "score", "rank")},
    )


def _common_pairs(ours: Evaluation, other: Evaluation) -> list[PairScores] | None:
    """Return both models' scores of their common pairs in the same order, or None if one has no pairs."""
    if ours.pairs is None or other.pairs is None:
        return None
    keys = [[(p.photo_a, p.photo_b) for p in e.photo_pairs] for e in (ours, other)]
    shared = set(keys[0]) & set(keys[1])
    return [
        _chosen_pairs(scores, key, shared)
        for scores, key in zip((ours.pairs, other.pairs), keys, strict=True)
    ]


def _chosen_pairs(
    scores: PairScores, keys: Sequence[tuple[Path, Path]], shared: set[tuple[Path, Path]]
) -> PairScores:
    rows = sorted((i for i, key in enumerate(keys) if key in shared), key=lambda i: keys[i])
    return PairScores(
        scores.mated[rows],
        scores.score[rows],
        [scores.identity_a[i] for i in rows],
        [scores.identity_b[i] for i in rows],
        None if scores.folds is None else scores.folds[rows],
    )
