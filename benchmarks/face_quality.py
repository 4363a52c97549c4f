"""Measure what predicts that a face is named wrongly; the table behind `quality` of `identity.runs.recogniser`.

    python -m benchmarks.face_quality --data OUT [--json]

Protocol: photos of a balanced set (`jobs/augment.py`), dlib's embedding in its space, photo and mirror image averaged.
Every photo of a person with two or more is compared with the mean of the person's other photos and with the means of
all other people. `rank correlation` is Spearman's, between the measure and the cosine to the own mean. The next columns
are the shares named wrongly among the tenth of photos with the lowest measure, and among the others. No test photo is
used.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from scipy.stats import spearmanr
from tqdm import tqdm

from augmentor.balanced_set.manifest import read_manifest
from augmentor.errors import LikenessError
from identity.networks.chip_variants import jittered, mirrored
from identity.networks.embedding import load_embedder
from identity.networks.face_space import unit
from identity.training.training_set import read_training_set

CHUNK = 64


def sharpness(chip: np.ndarray) -> float:
    """Return the logarithm of the variance of the Laplacian of a chip (S, S, 3) uint8 RGB."""
    grey = cv2.cvtColor(chip, cv2.COLOR_RGB2GRAY)
    return float(np.log(cv2.Laplacian(grey, cv2.CV_64F).var() + 1))


def leave_one_out(rows: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each row's cosine (N,) to the mean of the person's other photos, and whether no other mean is nearer."""
    totals = np.zeros((labels.max() + 1, rows.shape[1]))
    np.add.at(totals, labels, rows)
    own = (rows * unit(totals[labels] - rows)).sum(axis=1)
    similarities = rows @ unit(totals).T
    similarities[np.arange(len(rows)), labels] = own
    return own, similarities.argmax(axis=1) == labels


def measure(root: Path) -> list[dict[str, float | str]]:
    """Measure each quality measure and return its row."""
    data = read_training_set(root)
    rows = np.flatnonzero(data.is_photo)
    yaw = np.array(read_manifest(root / "manifest.parquet")["yaw"].to_pylist(), float)[rows]
    embedder = load_embedder(("dlib",))

    def embedded(chips: np.ndarray) -> np.ndarray:
        return embedder.compared(embedder.once(chips))["dlib"]

    plain, turned, moved, measures = [], [], [], []
    for start in tqdm(range(0, len(rows), CHUNK), "photos", unit="chunk"):
        chips = data.chips(rows[start : start + CHUNK])
        plain.append(embedded(chips))
        turned.append(embedded(mirrored(chips)))
        moved.append(embedded(jittered(chips, start)))
        measures += [(sharpness(chip), float(chip.std())) for chip in chips]
    a, b, c = (np.concatenate(parts) for parts in (plain, turned, moved))
    sharp, contrast = np.array(measures).T
    measured = {
        "cosine with the mirror image": (a * b).sum(axis=1),
        "cosine with a jittered copy": (a * c).sum(axis=1),
        "sharpness": sharp,
        "contrast": contrast,
        "frontality": -np.abs(yaw),
    }
    labels = data.labels[rows]
    own, right = leave_one_out(unit(a + b), labels)
    with_others = np.bincount(labels)[labels] >= 2
    table: list[dict[str, float | str]] = []
    for name, values in measured.items():
        order = np.flatnonzero(with_others)[np.argsort(values[with_others], kind="stable")]
        tenth = len(order) // 10
        table.append(
            {
                "measure": name,
                "rank_correlation": float(spearmanr(values[with_others], own[with_others])[0]),
                "wrong_lowest_tenth": float(1 - right[order[:tenth]].mean()),
                "wrong_others": float(1 - right[order[tenth:]].mean()),
                "lowest_tenth_below": float(values[order[tenth]]),
            }
        )
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.face_quality", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="balanced set of jobs/augment.py")
    parser.add_argument("--json", action="store_true", help="one JSON array on the last line")
    options = parser.parse_args(arguments)
    try:
        table = measure(options.data)
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    print("| measure | rank correlation | wrong, lowest tenth | wrong, others | lowest tenth below |")
    print("|---|---|---|---|---|")
    for row in table:
        cells = f"{row['rank_correlation']:.2f} | {row['wrong_lowest_tenth']:.1%} | {row['wrong_others']:.1%}"
        print(f"| {row['measure']} | {cells} | {row['lowest_tenth_below']:.3g} |")
    if options.json:
        print(json.dumps(table))
    return 0


if __name__ == "__main__":
    sys.exit(main())
