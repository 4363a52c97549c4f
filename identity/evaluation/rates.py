"""From scores of probes, strangers and pairs to the numbers of an evaluation, each with its interval."""

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
    """A measured fraction and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ProbeScores:
    """Photos searched among the enrolled names: mated probes, or strangers.

    Attributes:
        photos: (N,) files.
        identities: (N,) who is on them, to resample people; for strangers whatever tells them apart.
        truth: (N,) int column of the right name, `NO_COLUMN` for strangers.
        best: (N,) int column of the most similar name, `NO_COLUMN` where no face was found.
        similarity: (N,) cosine to it, `NEVER` where no face was found.
        score: (N,) acceptance score, `NEVER` where no face was found.
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
        """(N,) acceptance score where the best name is right, else `NEVER`."""
        right = (self.rank == 1) & (self.best == self.truth)
        return np.where(right, self.score, NEVER)


@dataclass(frozen=True)
class PairScores:
    """Pairs compared.

    Attributes:
        mated: (N,) bool.
        score: (N,) cosine, `NEVER` where a face was not found.
        identity_a, identity_b: (N,) who is on either side, to resample people.
        folds: (N,) int, where the list of pairs has folds of its own.
    """

    mated: np.ndarray
    score: np.ndarray
    identity_a: Sequence[Path]
    identity_b: Sequence[Path]
    folds: np.ndarray | None = None


@dataclass(frozen=True)
class Sampled:
    """A fraction before it is told: its value, what it is in each resample, and of how many people.

    Resamples depend on seed and people only: those of two models measured on the same photos belong together, row
    by row.
    """

    value: float
    samples: np.ndarray
    people: int

    @property
    def rate(self) -> Rate:
        """With its interval."""
        return Rate(self.value, *interval(self.samples, self.value, self.people))


def measure_search(
    probes: ProbeScores | None,
    strangers: ProbeScores | None,
    thresholds: dict[str, float] | None,
    seed: int = 0,
) -> dict[str, Rate]:
    """Closed-set and open-set rates, as far as probes and strangers were given.

    `dir_at_fpir_x` takes its threshold from the strangers given here and compares methods;
    `tpir_at_stored_x` and `fpir_realised_x` use the stored `thresholds` and tell a user what to expect.
    """
    return {
        name: found.rate for name, found in sample_search(probes, strangers, thresholds or {}, seed).items()
    }


def sample_search(
    probes: ProbeScores | None, strangers: ProbeScores | None, thresholds: dict[str, float], seed: int = 0
) -> dict[str, Sampled]:
    """As `measure_search`, with the resamples."""
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
    """1:1 rates.

    `tar_at_far_x` takes its threshold from these pairs and compares methods; `tar_at_stored_fmr_x`, `fmr_realised_x`
    and `pair_accuracy_stored` (at FMR 0.1 %, what `identity.verify` uses) take the stored `thresholds`, cosines by a
    name in `STORED_FMR`, and tell a user what to expect.

    A pair without a face on one side is judged wrongly in the accuracy; in EER and TAR a mated one is
    rejected at every threshold, and a non-mated one is left out, since it can neither help nor be accepted.
    """
    return {name: found.rate for name, found in sample_pairs(pairs, seed, thresholds or {}).items()}


def sample_pairs(
    pairs: PairScores, seed: int = 0, thresholds: Mapping[str, float] | None = None
) -> dict[str, Sampled]:
    """As `measure_pairs`, with the resamples."""
    found = pairs.score > NEVER
    mated, nonmated = pairs.score[pairs.mated], pairs.score[~pairs.mated & found]
    weights = pair_weights(pairs.identity_a, pairs.identity_b, seed=seed)
    of_mated, of_nonmated = weights[:, pairs.mated], weights[:, ~pairs.mated & found]
    people = len({*pairs.identity_a, *pairs.identity_b})
    right = pair_outcomes(pairs.score, pairs.mated, seed=seed, fold_of=pairs.folds)
    out = {"pair_accuracy": _sampled(mean_rate(right), mean_rate(right, weights), people)}
    out["eer"] = _sampled(eer(mated, nonmated), eer(mated, nonmated, of_mated, of_nonmated), people)
    for name, far in (("1e2", 1e-2), ("1e3", 1e-3)):
        samples = tar_at_far(mated, nonmated, far, of_mated, of_nonmated)
        out[f"tar_at_far_{name}"] = _sampled(tar_at_far(mated, nonmated, far), samples, people)
    for name, at in (thresholds or {}).items():
        for told, scores, of in (
            (f"tar_at_stored_fmr_{name}", mated, of_mated),
            (f"fmr_realised_{name}", nonmated, of_nonmated),
        ):
            out[told] = _sampled(accept_rate(scores, at), accept_rate(scores, at, of), people)
    if thresholds and "01" in thresholds:
        kept = found & ((pairs.score >= thresholds["01"]) == pairs.mated)
        out["pair_accuracy_stored"] = _sampled(mean_rate(kept), mean_rate(kept, weights), people)
    return out


def measure_share(outcome: Sequence[bool], identities: Sequence[str], seed: int = 0) -> Rate:
    """Fraction of photos that are so, its interval over identities."""
    samples = mean_rate(outcome, identity_weights(identities, seed=seed))
    return _sampled(mean_rate(outcome), samples, len(set(identities))).rate


def _sampled(value: float | np.ndarray, samples: float | np.ndarray, people: int) -> Sampled:
    return Sampled(float(value), np.atleast_1d(np.asarray(samples, np.float64)), people)


@dataclass(frozen=True)
class Evaluation:
    """Everything an evaluation found out; what was not measured is None or absent.

    Attributes:
        model: As given on the command line.
        protocol: How it was measured, line by line, for people.
        labels: Enrolled names, by column; empty for bare features.
        thresholds: Stored acceptance thresholds, `fpir_1` and `fpir_10`; empty for bare features.
        decision: Stored thresholds and probability curve; None for bare features.
        rates: By their name in `RATES`.
        counts: By their name in `COUNTS`.
        ms_per_face: Embedding and comparing one face that was found and cut out, milliseconds; None without
            a face.
        probes, strangers, pairs: Scores.
        photo_pairs: The photos of `pairs`.
        photos: What was found in each photo of people, without the chips.
        false_faces: Photos without a person in which a face was found, and the name accepted at FPIR 1 %,
            if any.
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
        """Every number by its name, in a fixed order, each with its interval `<name>_ci`; None where not measured."""
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
