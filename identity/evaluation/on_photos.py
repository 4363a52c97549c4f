"""Measure a trained run, or bare features, on photos: from files to rates.

Nothing is chosen here: constants and thresholds come from the run. A probe without a face counts as an
error, a stranger without one as not named. A run that is measured on a photo it was trained on is refused.
"""

import sys
import time
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from tqdm import tqdm

from augmentor.errors import InputError, PhotoError
from augmentor.photos.images import sha256_of
from identity.chips.probes import Looking, ProbeChip, iterate_chips
from identity.decisions.metrics import NEVER, NEVER_RANKED, ranks_of_truth
from identity.decisions.open_set import Decision
from identity.decisions.same_person import SamePerson
from identity.evaluation.material import Material
from identity.evaluation.pairs import pair_identities
from identity.evaluation.rates import (
    NO_COLUMN,
    STORED_FMR,
    Evaluation,
    PairScores,
    ProbeScores,
    Rate,
    measure_pairs,
    measure_search,
    measure_share,
)
from identity.runs.leak_guard import TrainingPhotos, find_leaks

_BATCH = 64
FEW_COPIES = 0.005  # of the photos to measure on


class Embedder(Protocol):
    """What both a run and bare features can do."""

    @property
    def size(self) -> int:
        """Side of the chips, pixels."""
        ...

    @property
    def align(self) -> str:
        """`face`, or `whole` where no face is looked for."""
        ...

    def embed(self, chips: np.ndarray) -> np.ndarray:
        """(N, size, size, 3) uint8 chips to (N, D) float32 unit rows."""
        ...


class Comparer(Embedder, Protocol):
    """With stored thresholds for two faces."""

    @property
    def same_person(self) -> SamePerson | None:
        """When two faces are the same person's; None where calibration could not tell."""
        ...


class Gallery(Embedder, Protocol):
    """What a run can do besides: name people."""

    @property
    def labels(self) -> Sequence[str]:
        """Enrolled names."""
        ...

    @property
    def thresholds(self) -> dict[str, float]:
        """Acceptance scores `fpir_1` and `fpir_10`."""
        ...

    @property
    def decision(self) -> Decision | None:
        """All that calibration settled, where it did."""
        ...

    def similarities(self, embeddings: np.ndarray) -> np.ndarray:
        """(N, D) unit rows to (N, C) cosines."""
        ...

    def score(self, similarities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(N, C) cosines to the (N,) columns of the best names and their (N,) acceptance scores."""
        ...


@dataclass(frozen=True)
class Embedded:
    """Photos with their embeddings.

    Attributes:
        photos: Path to what was found there, without its chip.
        row: Path to the row of `embeddings`.
        embeddings: (N, D) float32 unit rows, NaN where no face was found.
        ms_per_embedding: None when no face was found at all.
    """

    photos: dict[Path, ProbeChip]
    row: dict[Path, int]
    embeddings: np.ndarray
    ms_per_embedding: float | None

    def of(self, paths: Sequence[Path]) -> np.ndarray:
        """(len(paths), D) embeddings."""
        return self.embeddings[[self.row[path] for path in paths]]


def evaluate(
    model: str,
    embedder: Embedder,
    material: Material,
    *,
    gallery: Gallery | None = None,
    training: TrainingPhotos | None = None,
    same_person: SamePerson | None = None,
    cache: Path | None = None,
    workers: int | None = None,
    progress: bool = False,
) -> Evaluation:
    """Measure everything the material allows.

    Args:
        model: What to call it.
        embedder: A run or bare features.
        material: Photos.
        gallery: The same run again, when it is to name probes and strangers.
        training: What the run was trained on; None for bare features.
        same_person: Stored thresholds for pairs, where there are any.
        cache: See `identity.chips.probes`.
        workers: Processes that look for faces.
        progress: Whether to show a bar on stderr.

    Raises:
        InputError: A probe's name is not enrolled, or a photo was trained on.
    """
    column = _columns(material, gallery)
    if embedder.align == "whole" and material.no_face:
        raise InputError(f"{model}: names whole photos and looks for no face; leave --no-face out")
    people = material.people
    if training is not None:
        _refuse_leaks(
            model, people, [_sha256_or_empty(path) for path in people], [None] * len(people), training
        )
    title = "finding and embedding faces" if progress else ""
    embedded = embed_photos(embedder, [*people, *material.no_face], cache=cache, workers=workers, title=title)
    left_out = None
    if training is not None:
        found = [embedded.photos[path] for path in people]
        copies = _refuse_leaks(model, people, [p.sha256 for p in found], [p.phash for p in found], training)
        if copies:
            left_out = f"Left out, as they are copies of training photos: {_some(list(copies.values()))}."
            tqdm.write(left_out, file=sys.stderr)
            material = material.without(set(copies))

    probes = strangers = pairs = None
    thresholds = dict(gallery.thresholds) if gallery else {}
    milliseconds = embedded.ms_per_embedding
    if gallery is not None and material.probes:
        named = [(name, path) for name, paths in material.probes.items() for path in paths]
        truth = np.array([column[_normal(name)] for name, _ in named])
        probes = _search(gallery, embedded, [path for _, path in named], [name for name, _ in named], truth)
        if milliseconds is not None:
            milliseconds += _ms_per_search(gallery, embedded)
    if gallery is not None and material.strangers:
        who = [path.relative_to(material.strangers_root).parts[0] for path in material.strangers]
        nobody = np.full(len(who), NO_COLUMN)
        strangers = _search(gallery, embedded, material.strangers, who, nobody)
    if material.pairs:
        scores = _cosines(
            embedded.of([pair.photo_a for pair in material.pairs]),
            embedded.of([pair.photo_b for pair in material.pairs]),
        )
        mated = np.array([pair.mated for pair in material.pairs])
        folds = [pair.fold for pair in material.pairs if pair.fold is not None]
        pairs = PairScores(
            mated, scores, *pair_identities(material.pairs), np.array(folds) if folds else None
        )

    rates = measure_search(probes, strangers, thresholds)
    if pairs is not None:
        rates |= measure_pairs(pairs, _stored_cosines(same_person))
    rates |= _shares(material, embedded)
    false_faces = _false_faces(material, gallery, embedded)
    if gallery is not None and material.no_face:
        named_photos = {path for path, name in false_faces if name is not None}
        outcome = [path in named_photos for path in material.no_face]
        rates["no_face_named"] = measure_share(outcome, [str(path) for path in material.no_face])
    counts = {}
    for name, measured in (("n_probes", probes), ("n_strangers", strangers)):
        if measured is not None:
            counts[name] = len(measured.photos)
    if pairs is not None:
        counts["n_pairs"] = len(material.pairs)
    return Evaluation(
        model=model,
        protocol=_protocol(material, embedder, gallery, pairs) + ([left_out] if left_out else []),
        labels=list(gallery.labels) if gallery else [],
        thresholds=thresholds,
        rates=rates,
        counts=counts,
        ms_per_face=milliseconds,
        probes=probes,
        strangers=strangers,
        pairs=pairs,
        photo_pairs=material.pairs,
        photos={path: embedded.photos[path] for path in material.people},
        false_faces=false_faces,
        decision=gallery.decision if gallery else None,
    )


def _stored_cosines(same_person: SamePerson | None) -> dict[str, float]:
    """The stored thresholds that calibration can tell."""
    if same_person is None:
        return {}
    low, high = same_person.rates[0], same_person.rates[-1]
    return {name: same_person.threshold(fmr) for name, fmr in STORED_FMR.items() if low <= fmr <= high}


def embed_photos(
    embedder: Embedder,
    paths: Sequence[Path],
    *,
    cache: Path | None = None,
    workers: int | None = None,
    title: str = "",
) -> Embedded:
    """Find, cut out and embed the face of each photo; chips are dropped as soon as they are embedded."""
    photos: dict[Path, ProbeChip] = {}
    waiting: list[tuple[int, np.ndarray]] = []
    sample: list[np.ndarray] = []
    parts: list[tuple[list[int], np.ndarray]] = []

    def embed_waiting() -> None:
        if waiting:
            rows, chips = [row for row, _ in waiting], np.stack([chip for _, chip in waiting])
            parts.append((rows, embedder.embed(chips)))
            waiting.clear()

    paths = list(dict.fromkeys(paths))
    looking: Looking = "whole" if embedder.align == "whole" else "central"
    for row, probe in enumerate(
        iterate_chips(paths, embedder.size, looking, workers=workers, cache=cache, progress=title)
    ):
        photos[probe.path] = replace(probe, chip=None)
        if probe.chip is not None:
            waiting.append((row, probe.chip))
            if len(sample) < _BATCH:
                sample.append(probe.chip)
        if len(waiting) == _BATCH:
            embed_waiting()
    embed_waiting()
    width = parts[0][1].shape[1] if parts else 1
    embeddings = np.full((len(paths), width), np.nan, np.float32)
    for rows, values in parts:
        embeddings[rows] = values
    milliseconds = _ms_per_call(lambda: embedder.embed(np.stack(sample)), len(sample)) if sample else None
    return Embedded(photos, {path: i for i, path in enumerate(paths)}, embeddings, milliseconds)


def _ms_per_call(call: Callable[[], object], items: int) -> float:
    """Milliseconds an item takes, the best of several runs within about a second: others use the machine too."""
    best, end = np.inf, time.perf_counter() + 1.0
    while time.perf_counter() < end or not np.isfinite(best):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best / items * 1000


def _ms_per_search(gallery: Gallery, embedded: Embedded) -> float:
    found = embedded.embeddings[np.isfinite(embedded.embeddings[:, 0])][:_BATCH]
    return _ms_per_call(lambda: gallery.score(gallery.similarities(found)), len(found))


def _search(
    gallery: Gallery, embedded: Embedded, paths: Sequence[Path], who: Sequence[str], truth: np.ndarray
) -> ProbeScores:
    """Search photos among the enrolled names, in pieces: everybody against everybody may not fit in memory."""
    n = len(paths)
    best, similarity, score = np.full(n, NO_COLUMN), np.full(n, NEVER), np.full(n, NEVER)
    rank = np.full(n, NEVER_RANKED)
    embeddings = embedded.of(paths)
    found = np.flatnonzero(np.isfinite(embeddings[:, 0]))
    for start in range(0, len(found), 1024):
        rows = found[start : start + 1024]
        similarities = gallery.similarities(embeddings[rows])
        best[rows], score[rows] = gallery.score(similarities)
        similarity[rows] = similarities[np.arange(len(rows)), best[rows]]
        mated = truth[rows] != NO_COLUMN
        rank[rows[mated]] = ranks_of_truth(similarities[mated], truth[rows[mated]])
    return ProbeScores(list(paths), list(who), truth, best, similarity, score, rank)


def _cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N,) float64 of two (N, D) arrays of unit rows, row by row; `NEVER` where one has no face."""
    values = np.einsum("nd,nd->n", a.astype(np.float64), b.astype(np.float64))
    return np.where(np.isnan(values), NEVER, values)


def _columns(material: Material, gallery: Gallery | None) -> dict[str, int]:
    """Column of each enrolled name, composed and decomposed umlauts being the same."""
    if gallery is None:
        return {}
    column = {_normal(name): i for i, name in enumerate(gallery.labels)}
    strange = [name for name in material.probes if _normal(name) not in column]
    if strange:
        raise InputError(
            f"--probes: {len(strange)} of {len(material.probes)} names are not enrolled in this run "
            f"({_some(strange)}); each folder must be called like a person of the training set, others belong "
            "under --strangers"
        )
    return column


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _some(names: Sequence[object], number: int = 3) -> str:
    """The first few, for a message."""
    listed = ", ".join(str(name) for name in names[:number])
    return f"{listed}, ..." if len(names) > number else listed


def _sha256_or_empty(path: Path) -> str:
    """Of a file; empty when it cannot be read, which the search for faces then reports."""
    try:
        return sha256_of(path)
    except PhotoError:
        return ""


def _refuse_leaks(
    model: str,
    paths: Sequence[Path],
    sha256: Sequence[str],
    phash: Sequence[int | None],
    training: TrainingPhotos,
) -> dict[Path, str]:
    """Photos to leave out, with what each is a copy of.

    Large collections hold the same picture twice under two names (LFW does), so a few copies, at most
    `FEW_COPIES` of the photos, are left out rather than refused. A training file itself is always refused.

    Raises:
        InputError: a training photo, or more copies than that.
    """
    leaks = find_leaks(sha256, phash, training)
    told = {
        paths[leak.photo]: (
            f"{paths[leak.photo]} is {'' if leak.same_file else 'a copy of '}{training.names[leak.training]}"
        )
        for leak in leaks
    }
    if any(leak.same_file for leak in leaks) or len(told) > FEW_COPIES * len(paths):
        raise InputError(
            f"{model} was trained on {len(told)} of these {len(paths)} photos ({_some(list(told.values()))}); measure "
            "on photos it has not seen (--hold-out of jobs/augment.py sets some aside)"
        )
    return told


def _shares(material: Material, embedded: Embedded) -> dict[str, Rate]:
    """Photos without a face, among those of people and those of none."""
    people = material.people
    who = {path: f"probe {name}" for name, paths in material.probes.items() for path in paths}
    if material.pairs:
        for pair, a, b in zip(material.pairs, *pair_identities(material.pairs), strict=True):
            who.setdefault(pair.photo_a, f"pair {a}")
            who.setdefault(pair.photo_b, f"pair {b}")
    failed = [embedded.photos[path].reason is not None for path in people]
    rates = {"failed_to_enrol": measure_share(failed, [who.get(path, str(path)) for path in people])}
    if material.no_face:
        rejected = [embedded.photos[path].reason is not None for path in material.no_face]
        rates["no_face_rejected"] = measure_share(rejected, [str(path) for path in material.no_face])
    return rates


def _false_faces(
    material: Material, gallery: Gallery | None, embedded: Embedded
) -> list[tuple[Path, str | None]]:
    """Photos without a person in which a face was found, with the name a run would give it."""
    paths = [path for path in material.no_face if embedded.photos[path].reason is None]
    if gallery is None or not paths:
        return [(path, None) for path in paths]
    scores = _search(gallery, embedded, paths, [str(p) for p in paths], np.full(len(paths), NO_COLUMN))
    accepted = scores.score >= gallery.thresholds["fpir_1"]
    return [
        (path, gallery.labels[best] if named else None)
        for path, best, named in zip(paths, scores.best, accepted, strict=True)
    ]


def _protocol(
    material: Material, embedder: Embedder, gallery: Gallery | None, pairs: PairScores | None
) -> list[str]:
    """How it was measured, in sentences."""
    lines = []
    if gallery is not None and material.probes:
        photos = sum(len(paths) for paths in material.probes.values())
        lines.append(
            f"{photos} probes of {len(material.probes)} people among {len(gallery.labels)} enrolled names; a probe "
            "without a face found counts as an error."
        )
    if gallery is not None and material.strangers:
        lines.append(
            f"{len(material.strangers)} photos of strangers; one without a face found counts as not named. "
            "DIR: right name at rank 1 and above the threshold that lets floor(x n) of these strangers through; "
            "stored thresholds come from calibration people."
        )
        count = len(material.strangers)
        if count < 100:
            lines.append("Fewer than 100 strangers: FPIR 1 % allows none of them.")
        if 3 / count > 0.01:
            lines.append(
                f"{count} strangers cannot show that fewer than {3 / count:.1%} are named: even if none was, the true "
                "rate may be as high (rule of three)."
            )
    if pairs is not None:
        missing = int((pairs.score == NEVER).sum())
        lines.append(
            f"{int(pairs.mated.sum())} mated and {int((~pairs.mated).sum())} non-mated pairs; in {missing} a face was "
            "not found: wrong in the accuracy, in EER and TAR a mated one is rejected and a non-mated one left out. "
            f"Accuracy: {'10' if pairs.folds is None else 'the list has'} folds, threshold from the others."
        )
    looked = (
        "Faces: the most central one." if embedder.align == "face" else "Photos: the square in the middle."
    )
    lines.append(
        f"{looked} Intervals: 95 %, bootstrap over people, 1,000 resamples. Time: embedding and "
        "comparing one found face (photo and mirror image where the model does so), in batches, on this machine."
    )
    return lines
