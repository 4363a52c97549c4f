"""Turn the scores of probes, strangers and pairs into rates, each with its confidence interval."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from identity.chips.photo_faces import PhotoFaces
from identity.decisions.metrics import (
    NEVER,
    accept_rate,
    eer,
    identity_weights,
    interval,
    mean_rate,
    pair_outcomes,
    pair_weights,
    rank_k_rate,
    tar_at_far,
    tpir_at_fpir,
)
from identity.decisions.open_set import STORED_FPIR, Decision
from identity.evaluation.pairs import PhotoPair

RATES = (
    *("rank1", "rank5", "dir_at_fpir_1", "dir_at_fpir_10"),
    *("tpir_at_stored_1", "fpir_realised_1", "tpir_at_stored_10", "fpir_realised_10"),
    *("eer", "pair_accuracy", "tar_at_far_1e2", "tar_at_far_1e3", "no_face_rejected", "failed_to_enrol"),
    *(
        "pair_accuracy_stored",
        "tar_at_stored_fmr_01",
        "fmr_realised_01",
        "tar_at_stored_fmr_1",
        "fmr_realised_1",
    ),
    "no_face_named",
)
COUNTS = ("n_probes", "n_strangers", "n_pairs")
NO_COLUMN = -1
STORED_FMR = {"01": 0.001, "1": 0.01}


@dataclass(frozen=True)
class Rate:
    """A measured fraction and its 95 % confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ProbeScores:
    """The scores of photos that were searched among the enrolled people: mated probes, or strangers.

    Attributes:
        photos: (N,) photo files.
        identities: (N,) identity of the person in each photo, for resampling people; for strangers, whatever
            distinguishes them.
        truth: (N,) int column of the right name, `NO_COLUMN` for strangers.
        best: (N,) int column of the most similar name, `NO_COLUMN` where no face was detected.
        similarity: (N,) cosine of the most similar name, `NEVER` where no face was detected.
        score: (N,) acceptance score, `NEVER` where no face was detected.
        rank: (N,) int rank of the right name, `NEVER_RANKED` where there is none.
    """

    photos: Sequence[Path]
    identities: Sequence[str]
    truth: np.ndarray
    best: np.ndarray
    similarity: np.ndarray
    score: np.ndarray
    rank: np.ndarray

    @property
    def right_score(self) -> np.ndarray:
        """Acceptance score (N,) where the most similar name is the right one, elsewhere `NEVER`."""
        right = (self.rank == 1) & (self.best == self.truth)
        return np.where(right, self.score, NEVER)


@dataclass(frozen=True)
class PairScores:
    """The scores of pairs of photos that were compared.

    Attributes:
        mated: (N,) bool, whether both photos show the same person.
        score: (N,) cosine, `NEVER` where a face was not detected.
        identity_a: (N,) identity of the person in the first photo, for resampling people.
        identity_b: (N,) identity of the person in the second photo.
        folds: (N,) int fold of each pair, if the list of pairs defines folds.
    """

    mated: np.ndarray
    score: np.ndarray
    identity_a: Sequence[Path]
    identity_b: Sequence[Path]
    folds: np.ndarray | None = None


@dataclass(frozen=True)
class Sampled:
    """A fraction with its bootstrap resamples.

    Resamples depend only on the seed and the people. For two models that were measured on the same photos they can
    therefore be compared one by one.

    Attributes:
        value: the fraction.
        samples: (R,) the fraction in each resample.
        people: number of people it was measured on.
    """

    value: float
    samples: np.ndarray
    people: int

    @property
    def rate(self) -> Rate:
        """The fraction with its interval."""
        return Rate(self.value, *interval(self.samples, self.value, self.people))


def measure_search(
    probes: ProbeScores | None,
    strangers: ProbeScores | None,
    thresholds: dict[str, float] | None,
    seed: int = 0,
) -> dict[str, Rate]:
    """Return closed-set and open-set rates, as far as probes and strangers are given.

    `dir_at_fpir_x` takes its threshold from the given strangers and serves to compare methods. `tpir_at_stored_x` and
    `fpir_realised_x` use the stored thresholds and show what a user can expect.

    Args:
        probes: mated probes.
        strangers: strangers.
        thresholds: stored acceptance thresholds by name (`fpir_1`, `fpir_10`).
        seed: seed of the bootstrap.
    """
    samples = sample_search(probes, strangers, thresholds or {}, seed)
    return {name: sampled.rate for name, sampled in samples.items()}


def sample_search(
    probes: ProbeScores | None, strangers: ProbeScores | None, thresholds: dict[str, float], seed: int = 0
) -> dict[str, Sampled]:
    """Return the rates of `measure_search` with their resamples.

    Args:
        probes: mated probes.
        strangers: strangers.
        thresholds: stored acceptance thresholds by name (`fpir_1`, `fpir_10`).
        seed: seed of the bootstrap.
    """
    out = {}
    if probes is not None:
        weights = identity_weights(probes.identities, seed=seed)
        people = len(set(probes.identities))
        for k in (1, 5):
            out[f"rank{k}"] = _sampled(
                rank_k_rate(probes.rank, k), rank_k_rate(probes.rank, k, weights), people
            )
        for name, at in thresholds.items():
            value, samples = accept_rate(probes.right_score, at), accept_rate(probes.right_score, at, weights)
            out[f"tpir_at_stored_{name.removeprefix('fpir_')}"] = _sampled(value, samples, people)
    if strangers is not None:
        weights = identity_weights(strangers.identities, seed=seed + 1)
        people = len(set(strangers.identities))
        for name, at in thresholds.items():
            value, samples = accept_rate(strangers.score, at), accept_rate(strangers.score, at, weights)
            out[f"fpir_realised_{name.removeprefix('fpir_')}"] = _sampled(value, samples, people)
    if probes is not None and strangers is not None:
        mated_weights = identity_weights(probes.identities, seed=seed)
        stranger_weights = identity_weights(strangers.identities, seed=seed + 1)
        for name, fpir in STORED_FPIR.items():
            value = tpir_at_fpir(probes.right_score, strangers.score, fpir)
            samples = tpir_at_fpir(probes.right_score, strangers.score, fpir, mated_weights, stranger_weights)
            out[f"dir_at_{name}"] = _sampled(value, samples, len(set(probes.identities)))
    return out


def measure_pairs(
    pairs: PairScores, thresholds: Mapping[str, float] | None = None, seed: int = 0
) -> dict[str, Rate]:
    """Return 1:1 rates.

    `tar_at_far_x` takes its threshold from the given pairs and serves to compare methods. `tar_at_stored_fmr_x`,
    `fmr_realised_x` and `pair_accuracy_stored` (at FMR 0.1 %, the default of `identity.verify`) use the stored
    thresholds and show what a user can expect.

    A pair in which a face was not detected counts as an error in the accuracy. In EER and TAR, a mated pair of this
    kind counts as rejected at every threshold, and a non-mated one is left out, because it cannot be accepted anyway.

    Args:
        pairs: the pairs with their scores.
        thresholds: stored thresholds, cosines by the names in `STORED_FMR`.
        seed: seed of the bootstrap and of the folds.
    """
    return {name: sampled.rate for name, sampled in sample_pairs(pairs, seed, thresholds or {}).items()}


def sample_pairs(
    pairs: PairScores, seed: int = 0, thresholds: Mapping[str, float] | None = None
) -> dict[str, Sampled]:
    """Return the rates of `measure_pairs` with their resamples.

    Args:
        pairs: the pairs with their scores.
        seed: seed of the bootstrap and of the folds.
        thresholds: stored thresholds, cosines by the names in `STORED_FMR`.
    """
    compared = pairs.score > NEVER
    mated, nonmated = pairs.score[pairs.mated], pairs.score[~pairs.mated & compared]
    weights = pair_weights(pairs.identity_a, pairs.identity_b, seed=seed)
    of_mated, of_nonmated = weights[:, pairs.mated], weights[:, ~pairs.mated & compared]
    people = len({*pairs.identity_a, *pairs.identity_b})
    right = pair_outcomes(pairs.score, pairs.mated, seed=seed, fold_of=pairs.folds)
    out = {"pair_accuracy": _sampled(mean_rate(right), mean_rate(right, weights), people)}
    out["eer"] = _sampled(eer(mated, nonmated), eer(mated, nonmated, of_mated, of_nonmated), people)
    for name, far in (("1e2", 1e-2), ("1e3", 1e-3)):
        samples = tar_at_far(mated, nonmated, far, of_mated, of_nonmated)
        out[f"tar_at_far_{name}"] = _sampled(tar_at_far(mated, nonmated, far), samples, people)
    for name, at in (thresholds or {}).items():
        for rate, scores, of in (
            (f"tar_at_stored_fmr_{name}", mated, of_mated),
            (f"fmr_realised_{name}", nonmated, of_nonmated),
        ):
            out[rate] = _sampled(accept_rate(scores, at), accept_rate(scores, at, of), people)
    if thresholds and "01" in thresholds:
        correct = compared & ((pairs.score >= thresholds["01"]) == pairs.mated)
        out["pair_accuracy_stored"] = _sampled(mean_rate(correct), mean_rate(correct, weights), people)
    return out


def measure_share(outcome: Sequence[bool], identities: Sequence[str], seed: int = 0) -> Rate:
    """Return the fraction of photos with a positive outcome.

    Args:
        outcome: the outcome of each photo.
        identities: identity of each photo, for resampling.
        seed: seed of the bootstrap.
    """
    samples = mean_rate(outcome, identity_weights(identities, seed=seed))
    return _sampled(mean_rate(outcome), samples, len(set(identities))).rate


def _sampled(value: float | np.ndarray, samples: float | np.ndarray, people: int) -> Sampled:
    return Sampled(float(value), np.atleast_1d(np.asarray(samples, np.float64)), people)


@dataclass(frozen=True)
class Evaluation:
    """The results of an evaluation; what was not measured is None or missing.

    Attributes:
        model: the model, as given on the command line.
        protocol: sentences for people that describe how the rates were measured.
        labels: enrolled names by column; empty for bare features.
        thresholds: stored acceptance thresholds `fpir_1` and `fpir_10`; empty for bare features.
        decision: stored thresholds and probability curve; None for bare features.
        rates: rates by their names in `RATES`.
        counts: numbers of photos and pairs by their names in `COUNTS`.
        ms_per_face: milliseconds to embed and compare one cropped face; None if no face was detected.
        probes: scores of the probes.
        strangers: scores of the strangers.
        pairs: scores of the pairs.
        photo_pairs: the photos of `pairs`.
        photos: result of detection for each photo of people, without the chips.
        false_faces: photos without a person in which a face was detected, with the name accepted at FPIR 1 %, if any.
    """

    model: str
    protocol: Sequence[str]
    labels: Sequence[str]
    thresholds: dict[str, float]
    rates: dict[str, Rate]
    counts: dict[str, int]
    ms_per_face: float | None
    probes: ProbeScores | None
    strangers: ProbeScores | None
    pairs: PairScores | None
    photo_pairs: Sequence[PhotoPair]
    photos: dict[Path, PhotoFaces]
    false_faces: Sequence[tuple[Path, str | None]]
    decision: Decision | None = None

    def as_json(self) -> dict[str, float | int | list[float] | None]:
        """Return every number by its name, in a fixed order, with its interval `<name>_ci`; None if not measured."""
        values: dict[str, float | int | list[float] | None] = {}
        for name in RATES:
            rate = self.rates.get(name)
            known = rate is not None and np.isfinite(rate.value)
            values[name] = round(rate.value, 6) if rate is not None and known else None
            values[f"{name}_ci"] = (
                [round(rate.low, 6), round(rate.high, 6)] if rate is not None and known else None
            )
        for name in COUNTS:
            values[name], values[f"{name}_ci"] = self.counts.get(name), None
        values["ms_per_face"] = None if self.ms_per_face is None else round(self.ms_per_face, 3)
        values["ms_per_face_ci"] = None
        return values
