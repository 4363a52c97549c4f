"""Measure which linkage and which threshold group unnamed faces best.

    python -m benchmarks.likeness_groups --model RUN --people DIR --strangers DIR [--most 5] [--json]

Protocol: the photos below `--people` (a folder for each person, at most `--most` photos of each, chosen by seed) and
`--strangers` (one photo of each) are grouped as `identity.organise` groups the faces it cannot name: by the run's
embeddings, above the cosine that a given share of pairs of different people reaches (FMR). The run's own people are
grouped as if they were not enrolled. Precision and recall are B-cubed (Bagga and Baldwin 1998): the share of a photo's
group that shows the same person, and the share of that person's photos that is in the group; means over photos. `alien`
is the number of photos in groups of two or more that do not show the group's most frequent person. `whispers` is dlib's
clustering (Chinese whispers) on pairs above the same cosine.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dlib
import numpy as np

from augmentor.errors import InputError, LikenessError
from augmentor.photos.images import list_identities, list_photos
from identity.albums.likeness_groups import likeness_groups
from identity.albums.sorting import GROUP_FMR
from identity.networks.tensorflow_loading import load_tensorflow

RATES = (GROUP_FMR, 3e-4, 1e-3)
WAYS = ("average", "complete", "single", "whispers")
_CHUNK = 256


def whispers(embeddings: np.ndarray, threshold: float) -> np.ndarray:
    """Return the group numbers (N,) of dlib's Chinese whispers."""
    rows, columns = np.nonzero(np.triu(embeddings @ embeddings.T >= threshold))
    return np.array(dlib.chinese_whispers(list(zip(rows.tolist(), columns.tolist(), strict=True))))


def judge(groups: np.ndarray, who: np.ndarray) -> dict[str, float]:
    """Return B-cubed precision and recall, and how many photos are in groups of other people."""
    both = Counter(zip(groups.tolist(), who.tolist(), strict=True))
    in_group, of_person = Counter(groups.tolist()), Counter(who.tolist())
    precision = sum(n * n / in_group[group] for (group, _), n in both.items()) / len(who)
    recall = sum(n * n / of_person[person] for (_, person), n in both.items()) / len(who)
    most: dict[int, int] = {}
    for (group, _), n in both.items():
        most[group] = max(n, most.get(group, 0))
    alien = {group: in_group[group] - n for group, n in most.items() if in_group[group] > 1}
    mixed = [in_group[group] for group, n in alien.items() if n]
    return {
        "precision": precision,
        "recall": recall,
        "grouped": sum(n for n in in_group.values() if n > 1),
        "alien": sum(alien.values()),
        "largest_mixed": max(mixed, default=0),
    }


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure each way and rate, and return a row for each."""
    from identity.chips.many_photos import find_chips
    from identity.runs.bundle import Bundle

    bundle = Bundle.load(options.model)
    if bundle.same_person is None:
        raise InputError(f"{options.model}: was calibrated with too few people to compare photos")
    rng = np.random.default_rng(options.seed)
    paths: list[Path] = []
    people: list[int] = []
    for number, photos in enumerate(list_identities(options.people).values()):
        chosen = rng.permutation(len(photos))[: options.most]
        paths += [photos[k] for k in chosen.tolist()]
        people += [number] * len(chosen)
    strangers = list_photos(options.strangers)
    people += range(len(people), len(people) + len(strangers))
    detected = find_chips([*paths, *strangers], bundle.size, cache=options.cache, progress="detecting faces")
    chips = [probe.chip for probe in detected if probe.chip is not None]
    who = np.array([person for person, probe in zip(people, detected, strict=True) if probe.chip is not None])
    parts = [bundle.embed(np.stack(chips[k : k + _CHUNK])) for k in range(0, len(chips), _CHUNK)]
    embeddings = np.concatenate(parts)
    rows = []
    for way in WAYS:
        for rate in RATES:
            cosine = bundle.same_person.threshold(rate)
            if way == "whispers":
                groups = whispers(embeddings, cosine)
            else:
                groups = likeness_groups(embeddings, cosine, way)
            rows.append({"way": way, "fmr": rate, "photos": len(who)} | judge(groups, who))
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.likeness_groups", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--model", type=Path, required=True, metavar="RUN", help="a trained run")
    parser.add_argument("--people", type=Path, required=True, help="one folder of photos per person")
    parser.add_argument("--strangers", type=Path, required=True, help="one photo each of other people")
    parser.add_argument("--most", type=int, default=5, help="largest number of photos of one person (5)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the choice of photos (%(default)s)")
    parser.add_argument(
        "--cache", type=Path, default=Path("runs/faces"), help="cache of detected faces (%(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON array on the last line")
    options = parser.parse_args(arguments)
    try:
        load_tensorflow()
        rows = measure(options)
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    print("| linkage | FMR | precision | recall | photos in groups | alien | largest mixed group |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['way']} | {row['fmr']:.2%} | {row['precision']:.1%} | {row['recall']:.1%} "
            f"| {row['grouped']} | {row['alien']} | {row['largest_mixed']} |"
        )
    if options.json:
        print(json.dumps(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
