"""What centring and evening out dlib's embedding are worth: the table behind `identity.face_space`.

    python -m benchmarks.face_space --data OUT --strangers DIR --teacher NPZ [--json]

Protocol: photos of a balanced set (`jobs/augment.py`), no renders. Every photo of a person with two or more is a
probe (photo and mirror image averaged) against the templates of all people, its own person's made without it; a
template is the mean of photos, each with its mirror image and three jittered copies. Strangers are the photos under
DIR. The decision score with its default constants, crowding from the same strangers. Space: mean and covariance of
the embeddings in NPZ (unlabelled faces), its two constants as in the row. `mean` is the share named rightly, averaged
over FPIR 0.5 to 20 %. EER and TAR are those of pairs of the same photos. Rank-1 of some 4,000 probes: 95 % by chance
is ± 0.5 %, less for the difference of two rows. No test photo is used.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from augmentor.errors import InputError, LikenessError
from augmentor.images import list_photos
from identity.decision import CROWD, SEARCHED_FPIRS, DecisionConstants, accept_score, crowding_sums
from identity.dlib_embedding import EMBEDDING_SIZE, DlibEmbedding
from identity.face_space import face_space
from identity.features import JITTERS, jittered, mirrored, unit
from identity.metrics import NEVER, eer, tpir_at_fpir
from identity.probes import find_chips
from identity.training_set import read_training_set

SPACES = (
    *((0.0, 0.0), (0.0, 0.25), (0.5, 0.0), (0.8, 0.0), (0.9, 0.0), (1.0, 0.0)),
    *((0.5, 0.25), (0.7, 0.15), (0.8, 0.25), (0.8, 0.35), (0.9, 0.35), (0.9, 0.5), (1.0, 0.35)),
)
CHUNK = 64


def views_of(chips: np.ndarray, net: DlibEmbedding, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(N, 128) means of raw embeddings: photo and mirror image, and those with jittered copies."""
    total = net(chips) + net(mirrored(chips))
    probes = total / 2
    for number in range(JITTERS):
        moved = jittered(chips if number % 2 == 0 else mirrored(chips), seed * 16 + number)
        total = total + net(moved)
    return probes, total / (2 + JITTERS)


def embed(batches: Iterator[np.ndarray], count: int, net: DlibEmbedding, title: str) -> list[np.ndarray]:
    """`views_of` all chips, (N, 128) each."""
    found = []
    with tqdm(total=count, desc=title, unit="photo") as bar:
        for number, chips in enumerate(batches):
            found.append(views_of(chips, net, number))
            bar.update(len(chips))
    empty = np.zeros((0, EMBEDDING_SIZE), np.float32)
    return [np.concatenate([part[k] for part in found] or [empty]) for k in (0, 1)]


def measure_space(
    probes: np.ndarray, photos: np.ndarray, labels: np.ndarray, strangers: np.ndarray
) -> tuple[float, list[float]]:
    """Rank-1 and the shares named rightly at SEARCHED_FPIRS, each photo left out of its own template.

    Args:
        probes: (P, D) unit rows.
        photos: (P, D) unit rows that templates are made of.
        labels: (P,) person.
        strangers: (S, D) unit rows.
    """
    people = int(labels.max()) + 1
    sums = np.zeros((people, photos.shape[1]))
    np.add.at(sums, labels, photos)
    played = np.flatnonzero(np.bincount(labels)[labels] >= 2)
    templates = unit(sums)
    similarities = probes[played] @ templates.T
    without = unit(sums[labels[played]] - photos[played])
    similarities[np.arange(len(played)), labels[played]] = (probes[played] * without).sum(1)
    of_strangers = strangers @ templates.T
    crowded, without_him = crowding_sums(of_strangers, CROWD)
    best, score = accept_score(similarities, crowded, DecisionConstants())
    _, stranger_score = accept_score(of_strangers, without_him, DecisionConstants())
    right = best == labels[played]
    named = np.where(right, score, NEVER)
    return float(right.mean()), [float(tpir_at_fpir(named, stranger_score, fpir)) for fpir in SEARCHED_FPIRS]


def compare_pairs(probes: np.ndarray, labels: np.ndarray, seed: int = 0) -> dict[str, float]:
    """EER, and TAR at FAR 1e-3, of all mated pairs and of 200,000 drawn others."""
    rng = np.random.default_rng(seed)
    order = np.argsort(labels, kind="stable")
    mated = [
        (a, b)
        for own in np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
        for k, a in enumerate(own)
        for b in own[k + 1 :]
    ]
    first, second = np.array(mated).T
    others = rng.integers(0, len(labels), (2, 200_000))
    others = others[:, labels[others[0]] != labels[others[1]]]
    same = (probes[first] * probes[second]).sum(1)
    different = (probes[others[0]] * probes[others[1]]).sum(1)
    return {"eer": float(eer(same, different)), "tar": float((same >= np.quantile(different, 0.999)).mean())}


def measure(options: argparse.Namespace) -> list[dict[str, float]]:
    """One row for each space."""
    data = read_training_set(options.data)
    rows = np.flatnonzero(data.is_photo)
    paths = list_photos(options.strangers)
    try:
        with np.load(options.teacher, allow_pickle=False) as stored:
            unlabelled = stored["embeddings"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{options.teacher}: no npz with `embeddings` ({error})") from error
    found = [
        face.chip for face in find_chips(paths, data.size, progress="strangers") if face.chip is not None
    ]
    if not found:
        raise InputError(f"{options.strangers}: no photo with a face")
    net = DlibEmbedding()
    starts = range(0, len(rows), CHUNK)
    probes, photos = embed((data.chips(rows[s : s + CHUNK]) for s in starts), len(rows), net, "photos")
    chips = np.stack(found)
    strangers, _ = embed(
        (chips[s : s + CHUNK] for s in range(0, len(chips), CHUNK)), len(chips), net, "strangers"
    )
    table = []
    for centre, evenness in SPACES:
        space = face_space(unlabelled, centre, evenness)
        rank1, named = measure_space(space(probes), space(photos), data.labels[rows], space(strangers))
        row = {"centre": centre, "evenness": evenness, "rank1": rank1, "mean": float(np.mean(named))}
        row |= compare_pairs(space(probes), data.labels[rows])
        table.append(
            row | {f"fpir_{fpir:g}": value for fpir, value in zip(SEARCHED_FPIRS, named, strict=True)}
        )
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.face_space", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="balanced set of jobs/augment.py")
    parser.add_argument("--strangers", type=Path, required=True, help="folder of photos of other people")
    parser.add_argument(
        "--teacher", type=Path, required=True, help="npz with `embeddings` of unlabelled faces"
    )
    parser.add_argument("--json", action="store_true", help="one JSON array on the last line")
    options = parser.parse_args(arguments)
    try:
        table = measure(options)
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    rates = " | ".join(f"FPIR {fpir:.1%}" for fpir in SEARCHED_FPIRS)
    print(f"| centre | evenness | rank-1 | mean | {rates} | 1:1 EER | TAR at FAR 1e-3 |")
    print("|" + "---|" * (6 + len(SEARCHED_FPIRS)))
    for row in table:
        shares = [row["rank1"], row["mean"], *(row[f"fpir_{fpir:g}"] for fpir in SEARCHED_FPIRS)]
        shares += [row["eer"], row["tar"]]
        told = " | ".join(f"{share:.1%}" for share in shares)
        print(f"| {row['centre']:g} | {row['evenness']:g} | {told} |")
    if options.json:
        print(json.dumps(table))
    return 0


if __name__ == "__main__":
    sys.exit(main())
