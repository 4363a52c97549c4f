"""Calibrate the comparison of two photos by bare features: `python -m identity.training.bare_calibration`.

The result ships with the package:

    python -m identity.training.bare_calibration --mated DIR --strangers DIR --out identity/weights/same_person.json

`--mated` has a folder for each person, `--strangers` one photo each of other people. Only the probability depends on
the mated pairs; the thresholds do not.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from augmentor.errors import InputError, LikenessError
from augmentor.photos.images import write_whole
from identity.chips.photo_lists import photos_by_person, photos_in
from identity.decisions.same_person import FILE, fit_same_person, mated_cosines


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m identity.training.bare_calibration",
        description="Calibrate the comparison of two photos by bare features.",
    )
    parser.add_argument("--mated", type=Path, required=True, help="photos of people, a folder each")
    parser.add_argument("--strangers", type=Path, required=True, help="one photo each of other people")
    parser.add_argument("--out", type=Path, default=FILE)
    options = parser.parse_args(arguments)
    try:
        people = {name: paths for name, paths in photos_by_person(options.mated).items() if len(paths) > 1}
        strangers = photos_in(options.strangers)
        if not people or not strangers:
            raise InputError(f"{options.strangers if people else options.mated}: no photos to calibrate with")
        from identity.networks.tensorflow_loading import load_tensorflow

        load_tensorflow()
        from identity.chips.many_photos import find_chips
        from identity.networks.backbone import load_weights
        from identity.runs.bare_features import BARE_MODELS, BareFeatures

        paths = [path for photos in people.values() for path in photos]
        who = np.array([k for k, photos in enumerate(people.values()) for _ in photos])
        found = find_chips([*paths, *strangers], progress="finding faces")
        has_face = np.array([probe.chip is not None for probe in found])
        chips = np.stack([probe.chip for probe in found if probe.chip is not None])
        mated = np.arange(len(found))[has_face] < len(paths)
        models = {}
        for name in BARE_MODELS:
            rows = BareFeatures(name).embed(chips)
            same = fit_same_person(
                mated_cosines(rows[mated], who[has_face[: len(paths)]]),
                rows[~mated],
                np.full((~mated).sum(), -1),
            )
            if same is None:
                raise InputError(
                    f"{options.strangers}: too few photos of strangers to estimate a false match rate"
                )
            models[name] = same.as_dict()
            print(
                f"{name}: cosine {same.threshold(0.001):.3f} at FMR 0.1 %, {same.threshold(0.01):.3f} at 1 %"
            )
        stored = {"face_weights": load_weights("face").digest, "models": models}
        write_whole(options.out, (json.dumps(stored, indent=1) + "\n").encode())
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
