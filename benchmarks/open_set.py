"""Compare ways to say "unknown": which score distinguishes enrolled people from strangers best.

    python -m benchmarks.open_set --data OUT --strangers DIR [--seeds 5] [--json]

Protocol: photos of a balanced set, no renders, dlib's embedding in its space. Every photo of a person with two or more
is a probe against templates that lack it. Each seed splits the strangers into random halves. What a score has to learn
(crowding, constants) comes from one half and from half of the people; thresholds and the share named rightly come from
the others.
    cosine    cosine of the best name
    lead      cosine of the best name minus that of the second
    score     this project's: cosine, lead over the next names, crowding (`identity.decisions.open_set`)
    evm       extreme value machine: for each person a Weibull curve of half the distances to others' nearest photos
    w-score   for each probe a Weibull curve of the best cosines except the first, and how far the first lies above it
`named` is the mean over FPIR 0.5 to 20 %; 95 % intervals of the difference to `score` by bootstrap over people.

References:
    Rudd et al., "The Extreme Value Machine", PAMI 2018; Scheirer et al., "Meta-Recognition", PAMI 2011.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from augmentor.errors import InputError, LikenessError
from augmentor.photos.images import list_photos
from benchmarks.face_space import embed_photos
from identity.chips.many_photos import find_chips
from identity.decisions.metrics import threshold_at
from identity.decisions.open_set import SEARCHED_FPIRS, fit_decision
from identity.decisions.templates import Choice, TrainingEmbeddings, leave_one_out
from identity.networks.embedding import load_embedder
from identity.training.training_set import read_training_set

WAYS = ("cosine", "lead", "score", "evm", "w-score")
TAIL = 20  # number of nearest photos of others, or of best names, that a Weibull curve is fitted to
Scorer = Callable[[np.ndarray], np.ndarray]


def evm_curves(gallery: TrainingEmbeddings, templates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return shape and scale (C,) of each person's Weibull curve of half distances (1 - cosine) to photos of others."""
    similarities = gallery.probes["dlib"] @ templates.T
    similarities[np.arange(len(similarities)), gallery.photo_labels] = -np.inf
    halves = np.sort((1 - similarities.T) / 2, axis=1)[:, :TAIL]
    fitted = [stats.weibull_min.fit(row, floc=0) for row in halves]
    return np.array([shape for shape, _, _ in fitted]), np.array([scale for _, _, scale in fitted])


def w_score(similarities: np.ndarray) -> np.ndarray:
    """Return a score (N,) like log-odds: how improbable the best cosine is under the Weibull curve of the next `TAIL`.

    The two parameters are fitted by moments of the logarithm, which is exact for large samples, and fast.
    """
    ordered = -np.sort(-similarities, axis=1)[:, : TAIL + 1]
    floor = ordered[:, -1:] - 1e-3
    logs = np.log(ordered[:, 1:] - floor)
    shape = np.pi / np.sqrt(6) / np.maximum(logs.std(axis=1), 1e-6)
    scale = np.exp(logs.mean(axis=1) + np.euler_gamma / shape)
    return shape * np.log((ordered[:, 0] - floor[:, 0]) / scale)


def scorers(
    curves: tuple[np.ndarray, np.ndarray], mated: np.ndarray, labels: np.ndarray, strangers: np.ndarray
) -> dict[str, Scorer]:
    """Return for each way a function from similarities (N, C) to scores (N,), fitted to these probes and strangers."""
    decision = fit_decision(mated, labels, strangers)
    shape, scale = curves

    def lead(rows: np.ndarray) -> np.ndarray:
        two = -np.partition(-rows, 1, axis=1)[:, :2]
        return two[:, 0] - two[:, 1]

    def evm(rows: np.ndarray) -> np.ndarray:
        """Return the logarithm of the best name's inclusion probability, which itself would round to 0 and 1."""
        best = rows.argmax(axis=1)
        distance = (1 - rows[np.arange(len(rows)), best]).clip(0)
        return -((distance / scale[best]) ** shape[best])

    return {
        "cosine": lambda rows: rows.max(axis=1),
        "lead": lead,
        "score": lambda rows: decision.score(rows)[1],
        "evm": evm,
        "w-score": w_score,
    }


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure each way and return its row."""
    data = read_training_set(options.data)
    embedder = load_embedder(("dlib",))
    probes = find_chips(list_photos(options.strangers), data.size, progress="strangers")
    chips = [probe.chip for probe in probes if probe.chip is not None]
    if len(chips) < 100:
        raise InputError(f"{options.strangers}: {len(chips)} photos with a face; this needs 100")
    gallery = embed_photos(data, embedder)
    templates = gallery.templates(0.0)["dlib"]
    of_strangers = embedder.probes(np.stack(chips))["dlib"] @ templates.T
    mated, labels = leave_one_out(gallery, Choice({"dlib": 1.0}, 0.0))
    right = mated.argmax(axis=1) == labels
    curves = evm_curves(gallery, templates)
    named: dict[str, np.ndarray] = {way: np.zeros(gallery.classes) for way in WAYS}
    times = np.zeros(gallery.classes)
    at: dict[str, np.ndarray] = {way: np.zeros(len(SEARCHED_FPIRS)) for way in WAYS}
    for seed in range(options.seeds):
        rng = np.random.default_rng([seed, 31])
        half = rng.permutation(len(of_strangers)) < len(of_strangers) / 2
        taught = np.isin(labels, rng.permutation(gallery.classes)[: gallery.classes // 2])
        ways = scorers(curves, mated[taught], labels[taught], of_strangers[half])
        tested = ~taught
        times += np.bincount(labels[tested], minlength=gallery.classes)
        for way, scorer in ways.items():
            scores, theirs = scorer(mated[tested]), scorer(of_strangers[~half])
            rates = [right[tested] & (scores >= threshold_at(theirs, fpir)) for fpir in SEARCHED_FPIRS]
            named[way] += np.bincount(labels[tested], np.mean(rates, axis=0), minlength=gallery.classes)
            at[way] += [rate.mean() / options.seeds for rate in rates]
    rng = np.random.default_rng(0)
    picked = rng.integers(0, gallery.classes, (1000, gallery.classes))
    rows = []
    for way in WAYS:
        gain = (named[way] - named["score"])[picked].sum(axis=1) / times[picked].sum(axis=1)
        low, high = np.quantile(gain, [0.025, 0.975])
        row: dict[str, Any] = {"way": way, "named": float(named[way].sum() / times.sum())}
        row |= {"gain": float((named[way] - named["score"]).sum() / times.sum())}
        row |= {"gain_ci": [float(low), float(high)]}
        rows.append(row | {f"fpir_{f:g}": float(v) for f, v in zip(SEARCHED_FPIRS, at[way], strict=True)})
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.open_set", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="balanced set of jobs/augment.py")
    parser.add_argument("--strangers", type=Path, required=True, help="folder of photos of other people")
    parser.add_argument("--seeds", type=int, default=5, help="number of random splits (%(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON array on the last line")
    options = parser.parse_args(arguments)
    try:
        rows = measure(options)
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    rates = " | ".join(f"FPIR {fpir:.1%}" for fpir in SEARCHED_FPIRS)
    print(f"| way | named | minus `score` | {rates} |")
    print("|" + "---|" * (3 + len(SEARCHED_FPIRS)))
    for row in rows:
        low, high = row["gain_ci"]
        cells = " | ".join(f"{row[f'fpir_{fpir:g}']:.1%}" for fpir in SEARCHED_FPIRS)
        gain = f"{100 * row['gain']:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
        print(f"| {row['way']} | {row['named']:.1%} | {gain} | {cells} |")
    if options.json:
        print(json.dumps(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
