"""Measure runs for one person, for everybody with enough photos: how often the person is named, and who else is.

    python -m benchmarks.one_person --train DIR --test DIR --calibration DIR --strangers DIR [--no-face DIR]
        [--features both|b0|dlib] [--photos 10] [--json]

Protocol: each person with at least `--photos` + 2 photos in `--train` is one run as `identity.train --person` makes it.
A seeded choice of `--photos` photos makes the template, `--calibration` sets the threshold (FPIR 1 %). Positives are
the person's other photos, including those in `--test`. Negatives are the photos of `--strangers`, and those of
`--no-face` (at any depth) in which a face was detected. A photo without a face gets no name. Means over people;
intervals: 95 %, bootstrap over people.
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
from identity.decisions.templates import Choice, calibration_of, settle
from identity.networks.embedding import join
from identity.networks.sources import FEATURES
from identity.runs.bare_features import BareFeatures
from identity.training.one_person import CONFIDENCE, embeddings_of_one

MORE = 2  # photos besides those that make the template
RATES = ("named", "strangers", "no_face")


def chips_of(probes: Sequence[PhotoFaces]) -> np.ndarray:
    """Return the chips (N, 150, 150, 3) of the probes with a face."""
    chips = [probe.chip for probe in probes if probe.chip is not None]
    return np.stack(chips) if chips else np.zeros((0, 150, 150, 3), np.uint8)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return means over people with their intervals, and what they were measured on."""
    people = {
        name: paths
        for name, paths in list_identities(options.train).items()
        if len(paths) >= options.photos + MORE
    }
    if not people:
        raise InputError(f"{options.train}: nobody has {options.photos + MORE} photos or more")
    tests = list_identities(options.test)
    bare = BareFeatures(options.features)
    embedder, choice = bare.embedder, Choice(bare.shares, 0.0)

    def detected(paths: Sequence[Path], title: str) -> list[PhotoFaces]:
        return find_chips(paths, cache=options.cache, progress=title)

    def embedded(probes: Sequence[PhotoFaces]) -> dict[str, np.ndarray]:
        return embedder.probes(chips_of(probes))

    calibration_rows = embedded(detected(list_photos(options.calibration), "calibration"))
    negatives = {}
    for kind, folder in (("strangers", options.strangers), ("no_face", options.no_face)):
        if folder:
            others = detected(list_photos(folder), kind)
            negatives[kind] = (join(embedded(others), bare.shares), len(others))
    outcomes: dict[str, list[float]] = {kind: [] for kind in RATES if kind == "named" or kind in negatives}
    rng = np.random.default_rng(options.seed)
    for name, paths in tqdm(people.items(), "people", unit="person"):
        order = [paths[k] for k in rng.permutation(len(paths))]
        enrolled = [p for p in find_chips(order[: options.photos], cache=options.cache) if p.chip is not None]
        positives = find_chips([*order[options.photos :], *tests.get(name, [])], cache=options.cache)
        probes, photos = embedder.probes_and_gallery(chips_of(enrolled), options.seed)
        gallery = embeddings_of_one(probes, photos, np.arange(len(enrolled)))
        calibration = calibration_of(gallery, np.zeros(len(enrolled), bool), calibration_rows)
        decision = settle(gallery, calibration, choice).with_confidence(CONFIDENCE)
        template = join(gallery.templates(0.0), bare.shares)
        measured = {"named": (join(embedded(positives), bare.shares), len(positives)), **negatives}
        for kind, (rows, count) in measured.items():
            _, score = decision.score(rows @ template.T)
            outcomes[kind].append(float((score >= decision.thresholds["fpir_1"]).sum()) / count)
    result: dict[str, Any] = {"people": len(people), "photos": options.photos, "features": options.features}
    for kind, values in outcomes.items():
        samples = np.array(values)[rng.integers(0, len(values), (1000, len(values)))].mean(axis=1)
        low, high = np.quantile(samples, [0.025, 0.975])
        result |= {kind: float(np.mean(values)), f"{kind}_ci": [float(low), float(high)]}
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.one_person", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--train", type=Path, required=True, help="one folder of photos per person")
    parser.add_argument("--test", type=Path, required=True, help="more photos of the same people")
    parser.add_argument("--calibration", type=Path, required=True, help="strangers that set the threshold")
    parser.add_argument("--strangers", type=Path, required=True, help="other strangers, to measure")
    parser.add_argument("--no-face", type=Path, help="photos without a person, to measure")
    parser.add_argument("--features", choices=tuple(FEATURES), default="both", help="features (%(default)s)")
    parser.add_argument("--photos", type=int, default=10, help="photos in a template (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the choice of photos (%(default)s)")
    parser.add_argument(
        "--cache", type=Path, default=Path("runs/faces"), help="cache of detected faces (%(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    options = parser.parse_args(arguments)
    try:
        result = measure(options)
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(result))
        return 0
    print(f"{result['people']} people, {result['photos']} photos each, features {result['features']}")
    for kind in RATES:
        if kind in result:
            low, high = result[f"{kind}_ci"]
            print(f"{kind:10} {result[kind]:7.2%} ({low:.2%} to {high:.2%})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
