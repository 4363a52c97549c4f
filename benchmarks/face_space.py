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
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from augmentor.errors import InputError, LikenessError
from augmentor.images import list_photos
from identity.decision import CROWD, SEARCHED_FPIRS, DecisionConstants, accept_score, crowding_sums
from identity.dlib_embedding import EMBEDDING_SIZE
from identity.embedding import PartEmbedder
from identity.face_space import FaceSpace, face_space
from identity.gallery import Choice, Gallery, leave_one_out
from identity.metrics import NEVER, eer, tpir_at_fpir
from identity.probes import find_chips
from identity.teacher_file import read_teacher
from identity.training_set import TrainingSet, read_training_set

SPACES = (
    *((0.0, 0.0), (0.0, 0.25), (0.5, 0.0), (0.8, 0.0), (0.9, 0.0), (1.0, 0.0)),
    *((0.5, 0.25), (0.7, 0.15), (0.8, 0.25), (0.8, 0.35), (0.9, 0.35), (0.9, 0.5), (1.0, 0.35)),
)
CHUNK = 64


NO_SPACE = FaceSpace(np.zeros(EMBEDDING_SIZE, np.float32), np.eye(EMBEDDING_SIZE, dtype=np.float32), "")


def embed_photos(data: TrainingSet, embedder: PartEmbedder) -> Gallery:
    """The photos of a balanced set, no renders, as unit rows in no space."""
    rows = np.flatnonzero(data.is_photo)
    starts = range(0, len(rows), CHUNK)
    found = [
        embedder.probes_and_gallery(data.chips(rows[start : start + CHUNK]), seed=start)
        for start in tqdm(starts, "photos", unit="chunk")
    ]
    probes, photos = (np.concatenate([part[k]["dlib"] for part in found]) for k in (0, 1))
    none = np.zeros(0, np.int64)
    return Gallery(
        classes=len(data.names),
        photo_labels=data.labels[rows],
        photo_ids=data.photos[rows],
        probes={"dlib": probes},
        photos={"dlib": photos},
        render_labels=none,
        render_photos=none,
        renders={"dlib": np.zeros((0, EMBEDDING_SIZE), np.float32)},
    )


def in_space(gallery: Gallery, space: FaceSpace) -> Gallery:
    """The same photos in a space."""
    return replace(
        gallery,
        probes={"dlib": space(gallery.probes["dlib"])},
        photos={"dlib": space(gallery.photos["dlib"])},
    )


def measure_space(gallery: Gallery, strangers: np.ndarray) -> tuple[float, list[float]]:
    """Rank-1 and the shares named rightly at SEARCHED_FPIRS, each photo left out of its own template.

    Args:
        gallery: photos in the space.
        strangers: (S, D) unit rows in the space.
    """
    choice = Choice({"dlib": 1.0}, 0.0)
    similarities, labels = leave_one_out(gallery, choice)
    of_strangers = strangers @ gallery.templates(0.0)["dlib"].T
    crowded, without_him = crowding_sums(of_strangers, CROWD)
    best, score = accept_score(similarities, crowded, DecisionConstants())
    _, stranger_score = accept_score(of_strangers, without_him, DecisionConstants())
    right = best == labels
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
    paths = list_photos(options.strangers)
    _, unlabelled = read_teacher(options.teacher)
    found = [
        face.chip for face in find_chips(paths, data.size, progress="strangers") if face.chip is not None
    ]
    if not found:
        raise InputError(f"{options.strangers}: no photo with a face")
    embedder = PartEmbedder(("dlib",), space=NO_SPACE)
    gallery = embed_photos(data, embedder)
    strangers = embedder.probes(np.stack(found))["dlib"]
    table = []
    for centre, evenness in SPACES:
        space = face_space(unlabelled, centre, evenness)
        there = in_space(gallery, space)
        rank1, named = measure_space(there, space(strangers))
        row = {"centre": centre, "evenness": evenness, "rank1": rank1, "mean": float(np.mean(named))}
        row |= compare_pairs(there.probes["dlib"], there.photo_labels)
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
