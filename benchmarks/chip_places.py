"""Compare places for the five points of a face in its chip: which let people be told apart best?

    python -m benchmarks.chip_places --pairs ../shared/data/lfw1013/train --turned ../shared/data/turned [--model dlib]

For each variant of `augmentor.faces.chip.USUAL_PLACES`, faces are cut out and embedded by bare features. Frontal faces:
two photos each of the first people with two or more in --pairs; `separation` is the difference of the mean cosines of
mated and other pairs, in standard deviations, beside it the share of mated pairs that are accepted where one of a
hundred, or of a thousand, other pairs is. Turned faces: the photos of --turned, named as `benchmarks.turned` names
them; share of first places among its people, with the frontal photo alone as template.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from augmentor.errors import LikenessError
from augmentor.faces.chip import CHIP_SIZE, USUAL_PLACES, warp_chip
from augmentor.faces.face_source import face_source
from augmentor.faces.five_points import MEAN_FACE, MIRROR5, similarity
from augmentor.photos.images import list_identities, load_image
from benchmarks.turned import KEYS, pose_of, read_people
from identity.networks.tensorflow_loading import load_tensorflow
from identity.runs.bare_features import BARE_MODELS, BareFeatures

_BATCH = 64
_Found = Mapping[Path, tuple[np.ndarray, np.ndarray]]


def variants() -> dict[str, np.ndarray]:
    """Return the places to compare, (5, 2) pixels of a chip of 150 px, by name."""
    middle = (CHIP_SIZE - 1) / 2
    mirrored = USUAL_PLACES[MIRROR5] * (-1, 1) + (CHIP_SIZE - 1, 0)
    return {
        "as used": USUAL_PLACES,
        "symmetric": (USUAL_PLACES + mirrored) / 2,
        "of the mean face": MEAN_FACE,
        "3 % smaller": (USUAL_PLACES - middle) * 0.97 + middle,
        "4 % larger": (USUAL_PLACES - middle) * 1.04 + middle,
        "1.5 px higher": USUAL_PLACES - (0, 1.5),
        "1.5 px lower": USUAL_PLACES + (0, 1.5),
    }


def found_in(paths: Sequence[Path]) -> dict[Path, tuple[np.ndarray, np.ndarray]]:
    """Return image and five points of the photos in which a face is found."""
    source, found = face_source(second_opinion=True), {}
    for path in paths:
        image = load_image(path)
        search = source(image, "central", landmarks=None)
        if search:
            found[path] = image, search.faces[0].points
    return found


def embedded(features: BareFeatures, found: _Found, places: np.ndarray) -> dict[Path, np.ndarray]:
    """Return the embedding of each face, cut out with its points at `places`."""
    chips = np.stack([warp_chip(image, similarity(points, places)) for image, points in found.values()])
    rows = [features.embed(chips[k : k + _BATCH]) for k in range(0, len(chips), _BATCH)]
    return dict(zip(found, np.concatenate(rows), strict=True))


def frontal_rates(rows: Mapping[Path, np.ndarray], pairs: Sequence[Sequence[Path]]) -> list[float]:
    """Return the separation, and the shares of mated pairs accepted at one of 100 and one of 1,000 other pairs."""
    both = [pair for pair in pairs if pair[0] in rows and pair[1] in rows]
    mated = np.array([rows[a] @ rows[b] for a, b in both])
    first = np.stack([rows[a] for a, _ in both])
    others = (first @ first.T)[np.triu_indices(len(first), 1)]
    apart = (mated.mean() - others.mean()) / np.sqrt((mated.var() + others.var()) / 2)
    return [float(apart), *(float((mated > np.quantile(others, 1 - rate)).mean()) for rate in (0.01, 0.001))]


def turned_rates(
    rows: Mapping[Path, np.ndarray], people: Mapping[str, Mapping[tuple[int, int], Path]]
) -> list[float]:
    """Return the share of first places at each of `KEYS`; a face that is not found counts as an error."""
    gallery = {name: rows[photos[0, 0]] for name, photos in people.items() if photos.get((0, 0)) in rows}
    names, templates = list(gallery), np.stack(list(gallery.values()))
    right: dict[str, list[bool]] = {key: [] for key in KEYS}
    for name, photos in people.items():
        for (yaw, pitch), path in photos.items():
            key = f"{abs(yaw)}/{abs(pitch)}"
            if key in right:
                right[key].append(path in rows and names[int(np.argmax(templates @ rows[path]))] == name)
    return [float(np.mean(right[key])) for key in KEYS]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chip_places", description=__doc__)
    parser.add_argument("--pairs", type=Path, required=True, help="folder of people with two photos or more")
    parser.add_argument("--turned", type=Path, required=True, help="folder as for benchmarks.turned")
    parser.add_argument("--people", type=int, default=150, help="number of people in --pairs to use (150)")
    parser.add_argument("--model", action="append", choices=BARE_MODELS, help="features (dlib and face)")
    options = parser.parse_args(arguments)
    try:
        load_tensorflow()
        listed = [sorted(photos)[:2] for photos in list_identities(options.pairs).values() if len(photos) > 1]
        pairs, people = listed[: options.people], read_people(options.turned)
        turned = [path for photos in people.values() for path in photos.values() if pose_of(path)]
        found = found_in([*turned, *(path for pair in pairs for path in pair)])
        print(f"| features | places | separation | at 1 % | at 0.1 % | {' | '.join(KEYS)} |")
        print("|---" * (5 + len(KEYS)) + "|")
        for model in options.model or ("dlib", "face"):
            features = BareFeatures(model)
            for name, places in variants().items():
                rows = embedded(features, found, places)
                apart, *rates = [*frontal_rates(rows, pairs), *turned_rates(rows, people)]
                cells = " | ".join(f"{rate:.1%}" for rate in rates)
                print(f"| {model} | {name} | {apart:.2f} | {cells} |", flush=True)
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
