"""Measure what centring and whitening of embeddings are worth; the tables behind `identity.networks.face_space`.

    python -m benchmarks.face_space --data OUT --strangers DIR --teacher NPZ [--json]           dlib's embedding
    python -m benchmarks.face_space --data OUT --strangers DIR --faces WORK --part face         the B0's pooled maps
    python -m benchmarks.face_space --data OUT --strangers DIR --faces WORK --part face --zooms 1,1.07    zooms
    python -m benchmarks.face_space --data OUT --strangers DIR --part both                      shares of the two

Protocol: photos of a balanced set (`jobs/augment.py`), no renders. Every photo of a person with two or more is a probe
(photo and mirror image averaged) against the templates of all people; the own person's template is made without it. A
template is the mean of photos, each with its mirror image and three jittered copies. Strangers are the photos under
DIR. The decision score has its default constants, and crowding from the same strangers. A space is made from the mean
and the covariance of unlabelled faces: those whose embeddings are in NPZ, or FACES of the chips that
`identity.pretrain` keeps in WORK; the row gives its constants. For `both` the spaces are those that ship. `mean` is the
share named rightly, averaged over FPIR 0.5 to 20 %. EER and TAR are those of pairs of the same photos. Rank-1 of about
4,000 probes varies by ± 0.5 % by chance (95 %), and the difference of two rows by less. No test photo is used.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from augmentor.errors import InputError, LikenessError
from augmentor.photos.images import list_photos
from identity.chips.many_photos import find_chips
from identity.decisions.acceptance import CROWD, DecisionConstants, accept_score, crowding_sums
from identity.decisions.metrics import NEVER, eer, tpir_at_fpir
from identity.decisions.open_set import SEARCHED_FPIRS
from identity.decisions.templates import Choice, TrainingEmbeddings, leave_one_out
from identity.networks.backbone import load_weights
from identity.networks.dlib_embedding import EMBEDDING_SIZE
from identity.networks.embedding import PartEmbedder, join, load_embedder
from identity.networks.face_space import FaceSpace, face_space
from identity.networks.feature_source import RunNetworks
from identity.networks.features import FrozenBackbone, pooled
from identity.pretraining.student_weights import SPACE_DIRECTIONS, SPACE_EVENNESS, SPACE_FACES
from identity.pretraining.teacher_file import read_teacher
from identity.training.training_set import TrainingSet, read_training_set

# (centre, evenness) of dlib's embedding; (directions kept, evenness) of the B0's, fully centred; dlib's share of both.
DLIB_SPACES: tuple[tuple[float, float], ...] = (
    *((0.0, 0.0), (0.0, 0.25), (0.5, 0.0), (0.8, 0.0), (0.9, 0.0), (1.0, 0.0)),
    *((0.5, 0.25), (0.7, 0.15), (0.8, 0.25), (0.8, 0.35), (0.9, 0.35), (0.9, 0.5), (1.0, 0.35)),
)
B0_SPACES: tuple[tuple[int, float], ...] = (
    *((1280, 0.0), (1280, 0.5), (1280, 0.75)),
    *((128, 0.5), (128, 0.75), (256, 0.75), (384, 0.75), (512, 0.75)),
    *((768, 0.25), (768, 0.5), (768, 0.65), (768, 0.75), (768, 0.85), (768, 1.0)),
)
DLIB_SHARES = (1.0, 0.98, 0.95, 0.9, 0.8)
CHUNK = 64


def no_space(size: int) -> FaceSpace:
    """Return a space that leaves unit rows as they are."""
    return FaceSpace(np.zeros(size, np.float32), np.eye(size, dtype=np.float32), "")


NO_SPACE = no_space(EMBEDDING_SIZE)


def embed_photos(data: TrainingSet, embedder: PartEmbedder) -> TrainingEmbeddings:
    """Embed the photos of a balanced set, without its renders."""
    rows = np.flatnonzero(data.is_photo)
    starts = range(0, len(rows), CHUNK)
    chunks = [
        embedder.probes_and_gallery(data.chips(rows[start : start + CHUNK]), seed=start)
        for start in tqdm(starts, "photos", unit="chunk")
    ]
    probes, photos = (
        {part: np.concatenate([of[k][part] for of in chunks]) for part in embedder.parts} for k in (0, 1)
    )
    none = np.zeros(0, np.int64)
    return TrainingEmbeddings(
        classes=len(data.names),
        photo_labels=data.labels[rows],
        photo_ids=data.photos[rows],
        probes=probes,
        photos=photos,
        render_labels=none,
        render_photos=none,
        renders={part: np.zeros((0, rows.shape[1]), np.float32) for part, rows in probes.items()},
    )


def in_space(gallery: TrainingEmbeddings, part: str, space: FaceSpace) -> TrainingEmbeddings:
    """Return the same photos with one part of their embeddings in a space."""
    none = np.zeros((0, space.matrix.shape[1]), np.float32)
    return replace(
        gallery,
        probes=dict(gallery.probes) | {part: space(gallery.probes[part])},
        photos=dict(gallery.photos) | {part: space(gallery.photos[part])},
        renders=dict(gallery.renders) | {part: none},
    )


def measure_row(
    gallery: TrainingEmbeddings, strangers: dict[str, np.ndarray], shares: dict[str, float]
) -> dict[str, float]:
    """Measure rank-1, the shares named rightly at SEARCHED_FPIRS, and pairs; no photo is in its own template.

    Args:
        gallery: photos in their spaces.
        strangers: part → (S, D) unit rows in the same spaces.
        shares: part → its share.
    """
    similarities, labels = leave_one_out(gallery, Choice(shares, 0.0))
    of_strangers = join(strangers, shares) @ join(gallery.templates(0.0), shares).T
    crowded, crowded_without_own = crowding_sums(of_strangers, CROWD)
    best, score = accept_score(similarities, crowded, DecisionConstants())
    _, stranger_score = accept_score(of_strangers, crowded_without_own, DecisionConstants())
    right = best == labels
    named = np.where(right, score, NEVER)
    rates = {f"fpir_{fpir:g}": float(tpir_at_fpir(named, stranger_score, fpir)) for fpir in SEARCHED_FPIRS}
    row = {"rank1": float(right.mean()), "mean": float(np.mean(list(rates.values()))), **rates}
    return row | compare_pairs(join(gallery.probes, shares), gallery.photo_labels)


def compare_pairs(probes: np.ndarray, labels: np.ndarray, seed: int = 0) -> dict[str, float]:
    """Return EER, and TAR at FAR 1e-3, of all mated pairs and 200,000 random non-mated pairs."""
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


def unlabelled_maps(work: Path, backbone: FrozenBackbone) -> np.ndarray:
    """Return the pooled maps (N, 1280) float32 of SPACE_FACES of the faces that `identity.pretrain` keeps in `work`."""
    file = work / "chips.npy"
    try:
        chips = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: not the chips of identity.pretrain --work ({error})") from error
    rows = np.sort(np.random.default_rng(0).permutation(len(chips))[:SPACE_FACES])
    starts = range(0, len(rows), CHUNK)
    return np.concatenate(
        [
            pooled(backbone.maps(np.ascontiguousarray(chips[rows[start : start + CHUNK]])))
            for start in tqdm(starts, "faces", unit="chunk")
        ]
    )


def measure(options: argparse.Namespace) -> Iterator[dict[str, float]]:
    """Measure each space, or each share, and yield its row."""
    data = read_training_set(options.data)
    paths = list_photos(options.strangers)
    faces = [
        face.chip for face in find_chips(paths, data.size, progress="strangers") if face.chip is not None
    ]
    if not faces:
        raise InputError(f"{options.strangers}: no photo with a face")
    chips, part = np.stack(faces), options.part
    if part == "both":
        yield from by_share(data, chips)
    elif part == "dlib":
        unlabelled = read_teacher(options.teacher)[1]
        of_dlib: dict[Any, FaceSpace] = {
            (("centre", c), ("evenness", e)): face_space(unlabelled, c, e) for c, e in DLIB_SPACES
        }
        yield from by_space(data, chips, load_embedder((part,), spaces={part: NO_SPACE}), of_dlib)
    else:
        weights = load_weights(options.weights)
        for zoom in options.zooms or [weights.zoom]:
            zoomed = replace(weights, card=weights.card | {"zoom": zoom})
            backbone = FrozenBackbone(zoomed, data.size)
            unlabelled = unlabelled_maps(options.faces, backbone)
            shown = ((SPACE_DIRECTIONS, SPACE_EVENNESS),) if options.zooms else B0_SPACES
            spaces: dict[Any, FaceSpace] = {
                (("zoom", zoom), ("directions", keep), ("evenness", e)): face_space(unlabelled, 1.0, e, keep)
                for keep, e in shown
            }
            unchanged = {part: no_space(unlabelled.shape[1])}
            yield from by_space(data, chips, load_embedder((part,), RunNetworks(backbone), unchanged), spaces)


def by_share(data: TrainingSet, chips: np.ndarray) -> Iterator[dict[str, float]]:
    """Yield a row for each of dlib's shares, in the spaces that ship."""
    backbone = FrozenBackbone(load_weights("face"), data.size)
    embedder = load_embedder(("dlib", "face"), RunNetworks(backbone))
    gallery, strangers = embed_photos(data, embedder), embedder.probes(chips)
    for share in DLIB_SHARES:
        row = measure_row(gallery, strangers, {"dlib": share, "face": 1 - share})
        yield {"dlib_share": share} | row


def by_space(
    data: TrainingSet, chips: np.ndarray, embedder: PartEmbedder, spaces: dict[Any, FaceSpace]
) -> Iterator[dict[str, float]]:
    """Yield a row for each space of one part; the keys of `spaces` give its constants."""
    (part,) = embedder.parts
    gallery, strangers = embed_photos(data, embedder), embedder.probes(chips)
    for constants, space in spaces.items():
        row = measure_row(in_space(gallery, part, space), {part: space(strangers[part])}, {part: 1.0})
        yield dict(constants) | row


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.face_space", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="balanced set of jobs/augment.py")
    parser.add_argument("--strangers", type=Path, required=True, help="folder of photos of other people")
    parser.add_argument(
        "--part", choices=("dlib", "face", "both"), default="dlib", help="what to measure (dlib)"
    )
    parser.add_argument("--teacher", type=Path, help="for dlib: npz with `embeddings` of unlabelled faces")
    parser.add_argument("--faces", type=Path, help="for face: the folder that identity.pretrain --work names")
    parser.add_argument(
        "--weights", default="face", help="for face: weights of the B0, the shipped ones (face) or a file"
    )
    parser.add_argument(
        "--zooms",
        type=lambda text: [float(zoom) for zoom in text.split(",")],
        default=[],
        help="for face: zooms to try in turn, in the space of the shipped constants, separated by commas",
    )
    parser.add_argument("--json", action="store_true", help="one JSON array on the last line")
    options = parser.parse_args(arguments)
    needed = {"dlib": "teacher", "face": "faces"}.get(options.part)
    if needed and getattr(options, needed) is None:
        parser.error(f"--part {options.part} needs --{needed}")
    try:
        table = list(measure(options))
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    constants = [n for n in ("centre", "zoom", "directions", "evenness", "dlib_share") if n in table[0]]
    rates = [f"fpir_{fpir:g}" for fpir in SEARCHED_FPIRS]
    heads = [name.replace("_", " ") for name in constants] + ["rank-1", "mean"]
    heads += [f"FPIR {fpir:.1%}" for fpir in SEARCHED_FPIRS] + ["1:1 EER", "TAR at FAR 1e-3"]
    print("| " + " | ".join(heads) + " |")
    print("|" + "---|" * len(heads))
    for row in table:
        cells = [f"{row[name]:g}" for name in constants]
        cells += [f"{row[name]:.1%}" for name in ("rank1", "mean", *rates)]
        cells += [f"{row['eer']:.2%}", f"{row['tar']:.1%}"]
        print("| " + " | ".join(cells) + " |")
    if options.json:
        print(json.dumps(table))
    return 0


if __name__ == "__main__":
    sys.exit(main())
