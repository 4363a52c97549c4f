"""Measure what renders add to the templates of people with one or two photos.

    python -m benchmarks.render_templates --data OUT --strangers DIR [--seeds 5] [--json]

Protocol: OUT is a balanced set. For everybody with three photos or more, one photo is drawn as the probe, one or two
others are kept, and the rest are removed; all other people keep what they have. The template of such a person is the
unit mean of the kept photos (each with its mirror image and jittered copies), plus the mean of `--renders` renders of
each kept photo, which counts as as many photos as the column says. dlib's embedding in its space; the decision score
with its default constants, crowding from the strangers. `rank-1`, and `named`: the share named rightly, averaged over
FPIR 0.5 to 20 %. Mean over seeds; gains over no renders with 95 % intervals by bootstrap over people. No test photo is
used.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from augmentor.errors import InputError, LikenessError
from augmentor.photos.images import list_photos
from benchmarks.face_space import embed_photos
from identity.chips.many_photos import find_chips
from identity.decisions.acceptance import CROWD, DecisionConstants, accept_score, crowding_sums
from identity.decisions.metrics import threshold_at
from identity.decisions.open_set import SEARCHED_FPIRS
from identity.decisions.templates import TrainingEmbeddings
from identity.networks.embedding import PartEmbedder, load_embedder
from identity.networks.face_space import unit
from identity.training.training_set import TrainingSet, read_training_set

WEIGHTS = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0)
FEWEST = 3
CHUNK = 256


def drawn(
    data: TrainingSet, gallery: TrainingEmbeddings, keep: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of the gallery: probes (E,) and kept photos (E, keep) of everybody with `FEWEST` photos or more."""
    rng = np.random.default_rng([seed, keep])
    probes, kept = [], []
    for label in range(gallery.classes):
        rows = np.flatnonzero(gallery.photo_labels == label)
        _, first = np.unique(gallery.photo_ids[rows], return_index=True)
        if len(first) >= FEWEST:
            own = rng.permutation(rows[first])
            probes.append(own[0])
            kept.append(own[1 : 1 + keep])
    if not probes:
        raise InputError(f"{data.root}: nobody has {FEWEST} photos")
    return np.array(probes), np.stack(kept)


def render_means(
    data: TrainingSet,
    gallery: TrainingEmbeddings,
    kept: np.ndarray,
    count: int,
    embedder: PartEmbedder,
    seed: int,
) -> np.ndarray:
    """Return the mean embeddings (E, keep, D) of `count` renders of each kept photo.

    Raises:
        InputError: a photo has fewer renders.
    """
    rng = np.random.default_rng([seed, 21])
    of_photo: dict[int, list[int]] = {}
    for row in np.flatnonzero(~data.is_photo).tolist():
        of_photo.setdefault(int(data.photos[row]), []).append(row)
    chosen = []
    for photo in gallery.photo_ids[kept.ravel()].tolist():
        rows = of_photo.get(photo, [])
        if len(rows) < count:
            raise InputError(
                f"{data.root}: a photo has {len(rows)} renders, but --renders is {count}; make the set with a larger "
                "--per-class"
            )
        chosen += rng.permutation(rows)[:count].tolist()
    parts = [
        embedder.compared(embedder.once(data.chips(chosen[start : start + CHUNK])))["dlib"]
        for start in tqdm(range(0, len(chosen), CHUNK), f"renders, seed {seed}", unit="chunk")
    ]
    return np.concatenate(parts).reshape(*kept.shape, count, -1).mean(axis=2)


def searched(
    similarities: np.ndarray, labels: np.ndarray, of_strangers: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return whether rank 1 is right (E,), and the share of FPIRs at which the probe is named rightly (E,)."""
    crowded, crowded_without_own = crowding_sums(of_strangers, CROWD)
    best, score = accept_score(similarities, crowded, DecisionConstants())
    _, stranger_score = accept_score(of_strangers, crowded_without_own, DecisionConstants())
    right = best == labels
    named = [right & (score >= threshold_at(stranger_score, fpir)) for fpir in SEARCHED_FPIRS]
    return right, np.mean(named, axis=0)


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure each number of photos and each weight, and return a row for each."""
    data = read_training_set(options.data)
    embedder = load_embedder(("dlib",))
    faces = find_chips(list_photos(options.strangers), data.size, progress="strangers")
    chips = [probe.chip for probe in faces if probe.chip is not None]
    if not chips:
        raise InputError(f"{options.strangers}: no photo with a face")
    strangers = embedder.probes(np.stack(chips))["dlib"]
    gallery = embed_photos(data, embedder)
    whole = gallery.templates(0.0)["dlib"]
    outcomes: dict[tuple[int, float], list[tuple[np.ndarray, np.ndarray]]] = {}
    for keep in (1, 2):
        for seed in range(options.seeds):
            probes, kept = drawn(data, gallery, keep, seed)
            labels = gallery.photo_labels[probes]
            renders = render_means(data, gallery, kept, options.renders, embedder, seed).mean(axis=1)
            photos = gallery.photos["dlib"][kept].mean(axis=1)
            for weight in WEIGHTS:
                templates = whole.copy()
                templates[labels] = unit(photos + weight / keep * renders)
                rows = gallery.probes["dlib"][probes]
                result = searched(rows @ templates.T, labels, strangers @ templates.T)
                outcomes.setdefault((keep, weight), []).append(result)
    rng = np.random.default_rng(0)
    table = []
    for (keep, weight), results in outcomes.items():
        row: dict[str, Any] = {"photos": keep, "weight": weight, "people": len(results[0][0])}
        picked = rng.integers(0, len(results[0][0]), (1000, len(results[0][0])))
        for k, name in enumerate(("rank1", "named")):
            values = np.mean([result[k] for result in results], axis=0)
            none = np.mean([result[k] for result in outcomes[keep, 0.0]], axis=0)
            low, high = np.quantile((values - none)[picked].mean(axis=1), [0.025, 0.975])
            row |= {name: float(values.mean()), f"{name}_gain": float((values - none).mean())}
            row[f"{name}_gain_ci"] = [float(low), float(high)]
        table.append(row)
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.render_templates", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="balanced set of jobs/augment.py")
    parser.add_argument("--strangers", type=Path, required=True, help="folder of photos of other people")
    parser.add_argument("--renders", type=int, default=6, help="renders of each kept photo (%(default)s)")
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds (%(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON array on the last line")
    options = parser.parse_args(arguments)
    try:
        table = measure(options)
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    print("| photos | renders count as | rank-1 | gain | named | gain |")
    print("|---|---|---|---|---|---|")
    for row in table:
        gains = {}
        for name in ("rank1", "named"):
            low, high = row[f"{name}_gain_ci"]
            gains[name] = f"{100 * row[f'{name}_gain']:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
        cells = f"{row['rank1']:.1%} | {gains['rank1']} | {row['named']:.1%} | {gains['named']}"
        print(f"| {row['photos']} | {row['weight']:g} | {cells} |")
    if options.json:
        print(json.dumps(table))
    return 0


if __name__ == "__main__":
    sys.exit(main())
