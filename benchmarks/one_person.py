"""One person against the world, for everybody with enough photos: how often named, and who else is.

    python -m benchmarks.one_person --train DIR --test DIR --calibration DIR --strangers DIR [--no-face DIR]
        [--features both|b0|dlib] [--photos 10] [--json]

Protocol: each person with at least `--photos` + 2 photos in `--train` is one run as `identity.train --person` makes it:
a seeded choice of `--photos` photos makes the template, `--calibration` the threshold (FPIR 1 %). Positives are the
person's other photos, those in `--test` included; negatives the photos of `--strangers`, and those of `--no-face` (any
depth) in which a face was found. A photo without a face is named nobody. Means over people; intervals: 95 %, bootstrap
over them.
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
from augmentor.photos.images import list_identities, list_photos
from identity.chips.many_photos import find_chips
from identity.chips.photo_faces import PhotoFaces
from identity.decisions.open_set import accept_score
from identity.decisions.templates import Choice, calibration_of, settle
from identity.networks.embedding import join
from identity.runs.bare_features import BareFeatures
from identity.training.one_person import BARE, CONFIDENCE, gallery_of_one

MORE = 2  # photos beside those that make the template
RATES = ("named", "strangers", "no_face")


def chips_of(found: Sequence[PhotoFaces]) -> np.ndarray:
    """(N, 150, 150, 3) of those with a face."""
    chips = [probe.chip for probe in found if probe.chip is not None]
    return np.stack(chips) if chips else np.zeros((0, 150, 150, 3), np.uint8)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Means over people, and what they are of."""
    people = {
        name: paths
        for name, paths in list_identities(options.train).items()
        if len(paths) >= options.photos + MORE
    }
    if not people:
        raise InputError(f"{options.train}: nobody with {options.photos + MORE} photos or more")
    tests = list_identities(options.test)
    bare = BareFeatures(BARE[options.features])
    embedder, choice = bare.embedder, Choice(bare.shares, 0.0)

    def found(paths: Sequence[Path], title: str) -> list[PhotoFaces]:
        return find_chips(paths, cache=options.cache, progress=title)

    def embedded(probes: Sequence[PhotoFaces]) -> dict[str, np.ndarray]:
        return embedder.probes(chips_of(probes))

    calibration_rows = embedded(found(list_photos(options.calibration), "calibration"))
    negatives = {}
    for kind, folder in (("strangers", options.strangers), ("no_face", options.no_face)):
        if folder:
            others = found(list_photos(folder), kind)
            negatives[kind] = (join(embedded(others), bare.shares), len(others))
    outcomes: dict[str, list[float]] = {kind: [] for kind in RATES if kind == "named" or kind in negatives}
    rng = np.random.default_rng(options.seed)
    for name, paths in tqdm(people.items(), "people", unit="person"):
        order = [paths[k] for k in rng.permutation(len(paths))]
        enrolled = [p for p in find_chips(order[: options.photos], cache=options.cache) if p.chip is not None]
        positives = find_chips([*order[options.photos :], *tests.get(name, [])], cache=options.cache)
        probes, photos = embedder.probes_and_gallery(chips_of(enrolled), options.seed)
        gallery = gallery_of_one(probes, photos, np.arange(len(enrolled)))
        calibration = calibration_of(gallery, np.zeros(len(enrolled), bool), calibration_rows)
        decision, crowding = settle(gallery, calibration, choice)
        decision = decision.with_confidence(CONFIDENCE)
        template = join(gallery.templates(0.0), bare.shares)
        looked_at = {"named": (join(embedded(positives), bare.shares), len(positives)), **negatives}
        for kind, (rows, count) in looked_at.items():
            _, score = accept_score(rows @ template.T, crowding, decision.constants)
            outcomes[kind].append(float((score >= decision.thresholds["fpir_1"]).sum()) / count)
    told: dict[str, Any] = {"people": len(people), "photos": options.photos, "features": options.features}
    for kind, values in outcomes.items():
        samples = np.array(values)[rng.integers(0, len(values), (1000, len(values)))].mean(axis=1)
        low, high = np.quantile(samples, [0.025, 0.975])
        told |= {kind: float(np.mean(values)), f"{kind}_ci": [float(low), float(high)]}
    return told


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.one_person", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--train", type=Path, required=True, help="photos by person")
    parser.add_argument("--test", type=Path, required=True, help="more photos by person")
    parser.add_argument("--calibration", type=Path, required=True, help="strangers that set the threshold")
    parser.add_argument("--strangers", type=Path, required=True, help="other strangers, to measure")
    parser.add_argument("--no-face", type=Path, help="photos without a person, to measure")
    parser.add_argument("--features", choices=tuple(BARE), default="both")
    parser.add_argument("--photos", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--cache", type=Path, default=Path("runs/faces"), help="where found faces are remembered"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    try:
        told = measure(options)
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(told))
        return 0
    print(f"{told['people']} people, {told['photos']} photos each, features {told['features']}")
    for kind in RATES:
        if kind in told:
            low, high = told[f"{kind}_ci"]
            print(f"{kind:10} {told[kind]:7.2%} ({low:.2%} to {high:.2%})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
