"""Measure a trained run, or bare features, on photos: from files to rates.

Nothing is tuned here: constants and thresholds come from the run. A probe without a detected face counts as an error,
and a stranger without a detected face counts as not named. Measuring a run on a photo that it was trained on is
refused.
"""

import sys
import time
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from tqdm import tqdm

from augmentor.errors import InputError, PhotoError
from augmentor.photos.images import sha256_of
from identity.chips.many_photos import OneFace, iterate_chips
from identity.chips.photo_faces import PhotoFaces
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
from identity.runs.comparison import Embedder
from identity.runs.leak_guard import TrainingPhotos, find_leaks

_BATCH = 64
FEW_COPIES = 0.005  # share of the photos to measure on that may be copies of training photos


class Gallery(Embedder, Protocol):
    """An embedder with enrolled people; only runs are."""

    @property
    def labels(self) -> Sequence[str]:
        """The C enrolled names."""
        ...

    @property
    def thresholds(self) -> dict[str, float]:
        """The acceptance scores `fpir_1` and `fpir_10`."""
        ...

    @property
    def decision(self) -> Decision | None:
        """The calibrated decision; None if the run was not calibrated."""
        ...

    def similarities(self, embeddings: np.ndarray) -> np.ndarray:
        """Return the cosines (N, C) of unit rows (N, D) with the templates."""
        ...

    def score(self, similarities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the columns (N,) of the best names and their acceptance scores (N,), from cosines (N, C)."""
        ...


@dataclass(frozen=True)
class Embedded:
    """Photos with their embeddings.

    Attributes:
        photos: the result of detection for each photo, without its chip.
        row: row of `embeddings` for each photo.
        embeddings: (N, D) float32 unit rows, NaN where no face was detected.
        ms_per_embedding: milliseconds to embed one face; None if no face was detected at all.
    """

    photos: dict[Path, PhotoFaces]
    row: dict[Path, int]
    embeddings: np.ndarray
    ms_per_embedding: float | None

    def of(self, paths: Sequence[Path]) -> np.ndarray:
        """Return the embeddings of some photos, (len(paths), D)."""
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
    """Measure everything that the material allows.

    Args:
        model: name of the model in messages and reports.
        embedder: a run or bare features.
        material: the photos to measure on.
        gallery: the same run again, if it is to name probes and strangers.
        training: the photos the run was trained on; None for bare features.
        same_person: stored thresholds for pairs, if there are any.
        cache: folder that keeps the positions of detected faces, see `identity.chips.many_photos`.
        workers: number of processes that detect faces; as many as there are cores if None.
        progress: whether to show a progress bar on stderr.

    Returns:
        The scores and the rates.

    Raises:
        InputError: The name of a probe is not enrolled, the run was trained on some of the photos, or the model names
            whole photos and there is material without faces.
    """
    column = _columns(material, gallery)
    if embedder.align == "whole" and material.no_face:
        raise InputError(f"{model}: names whole photos and detects no faces; leave out --no-face")
    if training is not None:
        _refuse_training_files(model, material, training)
    title = "detecting and embedding faces" if progress else ""
    photos = [*material.people, *material.no_face]
    embedded = embed_photos(embedder, photos, cache=cache, workers=workers, title=title)
    left_out: list[str] = []
    if training is not None:
        material, left_out = _without_copies(model, material, embedded, training)

    probes = _search_probes(gallery, embedded, material, column)
    strangers = _search_strangers(gallery, embedded, material)
    pairs = _compare_pairs(embedded, material)
    false_faces = _false_faces(material, gallery, embedded)
    thresholds = dict(gallery.thresholds) if gallery else {}
    rates = measure_search(probes, strangers, thresholds)
    if pairs is not None:
        rates |= measure_pairs(pairs, _stored_cosines(same_person))
    rates |= _shares(material, embedded)
    if gallery is not None and material.no_face:
        rates["no_face_named"] = _share_named(material, false_faces)
    milliseconds = embedded.ms_per_embedding
    if gallery is not None and probes is not None and milliseconds is not None:
        milliseconds += _ms_per_search(gallery, embedded)
    counts = {}
    if probes is not None:
        counts["n_probes"] = len(probes.photos)
    if strangers is not None:
        counts["n_strangers"] = len(strangers.photos)
    if pairs is not None:
        counts["n_pairs"] = len(pairs.score)
    return Evaluation(
        model=model,
        protocol=_protocol(material, embedder, gallery, pairs) + left_out,
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


def _refuse_training_files(model: str, material: Material, training: TrainingPhotos) -> None:
    """Refuse files that the run was trained on, before any face is detected.

    Raises:
        InputError: There are such files.
    """
    people = material.people
    sha256 = [_sha256_or_empty(path) for path in people]
    _refuse_leaks(model, people, sha256, [None] * len(people), training)


def _without_copies(
    model: str, material: Material, embedded: Embedded, training: TrainingPhotos
) -> tuple[Material, list[str]]:
    """Leave out copies of training photos; return the remaining material, and a line for the protocol if any were.

    Raises:
        InputError: There are too many copies.
    """
    people = material.people
    photos = [embedded.photos[path] for path in people]
    copies = _refuse_leaks(model, people, [p.sha256 for p in photos], [p.phash for p in photos], training)
    if not copies:
        return material, []
    line = f"Left out, because they are copies of training photos: {_some(list(copies.values()))}."
    tqdm.write(line, file=sys.stderr)
    return material.without(set(copies)), [line]


def _search_probes(
    gallery: Gallery | None, embedded: Embedded, material: Material, column: dict[str, int]
) -> ProbeScores | None:
    """Search the probes among the enrolled people; None if there is nothing to search."""
    if gallery is None or not material.probes:
        return None
    named = [(name, path) for name, paths in material.probes.items() for path in paths]
    truth = np.array([column[_normal(name)] for name, _ in named])
    return _search(gallery, embedded, [path for _, path in named], [name for name, _ in named], truth)


def _search_strangers(gallery: Gallery | None, embedded: Embedded, material: Material) -> ProbeScores | None:
    """Search the strangers among the enrolled people; None if there is nothing to search."""
    if gallery is None or not material.strangers:
        return None
    who = [path.relative_to(material.strangers_root).parts[0] for path in material.strangers]
    return _search(gallery, embedded, material.strangers, who, np.full(len(who), NO_COLUMN))


def _compare_pairs(embedded: Embedded, material: Material) -> PairScores | None:
    """Compare the pairs of photos; None if there are none."""
    if not material.pairs:
        return None
    scores = _cosines(
        embedded.of([pair.photo_a for pair in material.pairs]),
        embedded.of([pair.photo_b for pair in material.pairs]),
    )
    mated = np.array([pair.mated for pair in material.pairs])
    folds = [pair.fold for pair in material.pairs if pair.fold is not None]
    return PairScores(mated, scores, *pair_identities(material.pairs), np.array(folds) if folds else None)


def _share_named(material: Material, false_faces: Sequence[tuple[Path, str | None]]) -> Rate:
    """Return the share of photos without a person that were given a name."""
    named = {path for path, name in false_faces if name is not None}
    outcome = [path in named for path in material.no_face]
    return measure_share(outcome, [str(path) for path in material.no_face])


def _stored_cosines(same_person: SamePerson | None) -> dict[str, float]:
    """Return the stored thresholds for the rates that calibration covers."""
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
    """Detect, crop and embed the face in each photo; chips are dropped as soon as they are embedded.

    Args:
        embedder: a run or bare features.
        paths: the photos; duplicates are embedded once.
        cache: folder that keeps the positions of detected faces.
        workers: number of processes that detect faces; as many as there are cores if None.
        title: title of a progress bar on stderr; no bar if empty.
    """
    photos: dict[Path, PhotoFaces] = {}
    waiting: list[tuple[int, np.ndarray]] = []
    sample: list[np.ndarray] = []
    parts: list[tuple[list[int], np.ndarray]] = []

    def embed_waiting() -> None:
        if waiting:
            rows, chips = [row for row, _ in waiting], np.stack([chip for _, chip in waiting])
            parts.append((rows, embedder.embed(chips)))
            waiting.clear()

    paths = list(dict.fromkeys(paths))
    looking: OneFace = "whole" if embedder.align == "whole" else "central"
    for row, probe in enumerate(
        iterate_chips(
            paths, embedder.size, looking, workers=workers, cache=cache, progress=title, source=embedder.faces
        )
    ):
        photos[probe.path] = probe.without_chips()
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
    """Return the milliseconds per item in the fastest of the calls that fit into about a second.

    The fastest call is the one that other programs on the machine disturbed least.
    """
    best, end = np.inf, time.perf_counter() + 1.0
    while time.perf_counter() < end or not np.isfinite(best):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best / items * 1000


def _ms_per_search(gallery: Gallery, embedded: Embedded) -> float:
    """Return the milliseconds that it takes to compare one face with the enrolled people."""
    rows = embedded.embeddings[np.isfinite(embedded.embeddings[:, 0])][:_BATCH]
    return _ms_per_call(lambda: gallery.score(gallery.similarities(rows)), len(rows))


def _search(
    gallery: Gallery, embedded: Embedded, paths: Sequence[Path], who: Sequence[str], truth: np.ndarray
) -> ProbeScores:
    """Search photos among the enrolled people, in blocks, because all similarities may not fit into memory.

    Args:
        gallery: the run.
        embedded: the photos with their embeddings.
        paths: the photos to search.
        who: identity of the person in each photo.
        truth: (N,) column of the right name, `NO_COLUMN` for strangers.
    """
    n = len(paths)
    best, similarity, score = np.full(n, NO_COLUMN), np.full(n, NEVER), np.full(n, NEVER)
    rank = np.full(n, NEVER_RANKED)
    embeddings = embedded.of(paths)
    with_face = np.flatnonzero(np.isfinite(embeddings[:, 0]))
    for start in range(0, len(with_face), 1024):
        rows = with_face[start : start + 1024]
        similarities = gallery.similarities(embeddings[rows])
        best[rows], score[rows] = gallery.score(similarities)
        similarity[rows] = similarities[np.arange(len(rows)), best[rows]]
        mated = truth[rows] != NO_COLUMN
        rank[rows[mated]] = ranks_of_truth(similarities[mated], truth[rows[mated]])
    return ProbeScores(list(paths), list(who), truth, best, similarity, score, rank)


def _cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the cosines (N,) float64 of unit rows (N, D) with each other, row by row; `NEVER` without a face."""
    values = np.einsum("nd,nd->n", a.astype(np.float64), b.astype(np.float64))
    return np.where(np.isnan(values), NEVER, values)


def _columns(material: Material, gallery: Gallery | None) -> dict[str, int]:
    """Return the column of each enrolled name; Unicode forms of the same name count as equal.

    Raises:
        InputError: The name of a probe is not enrolled.
    """
    if gallery is None:
        return {}
    column = {_normal(name): i for i, name in enumerate(gallery.labels)}
    unknown = [name for name in material.probes if _normal(name) not in column]
    if unknown:
        raise InputError(
            f"--probes: {len(unknown)} of {len(material.probes)} names are not enrolled in this run "
            f"({_some(unknown)}); each folder must have the name of an enrolled person, and photos of other people "
            "belong under --strangers"
        )
    return column


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _some(names: Sequence[object], number: int = 3) -> str:
    """Return the first few names for a message."""
    listed = ", ".join(str(name) for name in names[:number])
    return f"{listed}, ..." if len(names) > number else listed


def _sha256_or_empty(path: Path) -> str:
    """Return the SHA-256 of a file, or an empty string if it cannot be read; face detection then reports this."""
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
    """Return the photos to leave out, with an explanation of what each is a copy of.

    Large collections contain some pictures twice under different names (LFW does). Therefore a few copies, at most
    `FEW_COPIES` of the photos, are left out instead of refused. A training file itself is always refused.

    Raises:
        InputError: One of the photos is a training file, or there are too many copies.
    """
    leaks = find_leaks(sha256, phash, training)
    copies = {
        paths[leak.photo]: (
            f"{paths[leak.photo]} is {'' if leak.same_file else 'a copy of '}{training.names[leak.training]}"
        )
        for leak in leaks
    }
    if any(leak.same_file for leak in leaks) or len(copies) > FEW_COPIES * len(paths):
        raise InputError(
            f"{model} was trained on {len(copies)} of these {len(paths)} photos ({_some(list(copies.values()))}); "
            "measure it on other photos, for example on those that jobs/augment.py sets aside with --hold-out"
        )
    return copies


def _shares(material: Material, embedded: Embedded) -> dict[str, Rate]:
    """Return the shares of photos in which no face was detected, among those of people and those of nobody."""
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
    """Return the photos without a person in which a face was detected, with the name that the run gives it, if any."""
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
    """Return sentences that describe how the rates were measured."""
    lines = []
    if gallery is not None and material.probes:
        photos = sum(len(paths) for paths in material.probes.values())
        lines.append(
            f"{photos} probes of {len(material.probes)} people were searched among {len(gallery.labels)} enrolled "
            "people. A probe in which no face is detected counts as an error."
        )
    if gallery is not None and material.strangers:
        lines.append(
            f"{len(material.strangers)} photos of strangers were searched. A photo in which no face is detected counts "
            "as not named. DIR at FPIR x is the share of probes whose right name is at rank 1 and above the threshold "
            "that accepts floor(x n) of these n strangers. Stored thresholds were calibrated on other people."
        )
        count = len(material.strangers)
        if count < 100:
            lines.append("With fewer than 100 strangers, FPIR 1 % allows none of them to be named.")
        if 3 / count > 0.01:
            lines.append(
                f"{count} strangers cannot show that fewer than {3 / count:.1%} of all strangers are named: even if "
                "none of them is, the true rate may be as high as that (rule of three)."
            )
    if pairs is not None:
        missing = int((pairs.score == NEVER).sum())
        folds = "10 folds" if pairs.folds is None else "the folds of the list"
        lines.append(
            f"{int(pairs.mated.sum())} mated and {int((~pairs.mated).sum())} non-mated pairs were compared. In "
            f"{missing} of them, a face was not detected. These pairs count as errors in the accuracy; in EER and TAR, "
            "mated ones count as rejected and non-mated ones are left out. The accuracy is measured with "
            f"{folds}, each with the threshold of the others."
        )
    used = (
        "In each photo, the most central face is used."
        if embedder.align == "face"
        else "Of each photo, the square in the middle is used."
    )
    lines.append(
        f"{used} Intervals are 95 % intervals of a bootstrap over people with 1,000 resamples. The time is that of "
        "embedding and comparing one detected face (with its mirror image if the model uses it), in batches, on this "
        "machine."
    )
    return lines
