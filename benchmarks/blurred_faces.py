"""Measure what distinguishes blurred faces from sharp ones: `python -m benchmarks.blurred_faces --people DIR`.

DIR has a folder of photos for each person; it is ../shared/data/lfw1013/train in the table of
docs/decisions/0020-quality.md. One photo of every ninth person is blurred or reduced, and its face is detected and
cropped. For each way a row gives the quantiles of the cosine with the mirror image and of
`identity.chips.sharpness.detail`, and the share of photos that enrolment would warn about.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from augmentor.faces.chip import cut_chip
from augmentor.faces.face_source import face_source
from augmentor.photos.images import list_identities, load_image
from identity.chips.sharpness import LITTLE_DETAIL, detail
from identity.networks.tensorflow_loading import load_tensorflow
from identity.runs.bare_features import BareFeatures

_FACE = 110  # width in pixels of a face in LFW's photos
Change = Callable[[np.ndarray], np.ndarray]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.blurred_faces", description=__doc__)
    parser.add_argument(
        "--people", type=Path, required=True, metavar="DIR", help="one folder of photos per person"
    )
    options = parser.parse_args(arguments)
    load_tensorflow()
    features = BareFeatures("both")
    find = face_source()
    photos = [load_image(own[0]) for own in list(list_identities(options.people).values())[::9] if own]
    print("| faces | detected | mirror 2 / 50 / 98 % | detail 2 / 50 / 98 % | warned about |")
    print("|---|---|---|---|---|")
    for name, change in _changes().items():
        images = [np.ascontiguousarray(change(photo)) for photo in photos]
        searches = [(image, find(image)) for image in images]
        chips = [
            cut_chip(image, search.faces[0].points, features.size) for image, search in searches if search
        ]
        if not chips:
            print(f"| {name} | 0 of {len(photos)} | | | |")
            continue
        _, alike = features.embedder.probes_and_likeness(np.stack(chips))
        mirror = np.sum([features.shares[part] * alike[part] for part in alike], axis=0)
        details = np.array([detail(chip) for chip in chips])
        quantiles = [
            " / ".join(f"{v:.3f}" for v in np.quantile(values, [0.02, 0.5, 0.98]))
            for values in (mirror, details)
        ]
        warned = np.mean(details < LITTLE_DETAIL)
        print(
            f"| {name} | {len(chips)} of {len(photos)} | {quantiles[0]} | {quantiles[1]} | {warned:.0%} |",
            flush=True,
        )
    return 0


def _changes() -> dict[str, Change]:
    changes: dict[str, Change] = {"unchanged": lambda photo: photo}
    for sigma in (1, 2, 3, 4, 6):
        changes[f"blurred by {sigma} px"] = lambda photo, s=sigma: cv2.GaussianBlur(photo, (0, 0), s)  # type: ignore[misc]
    for side in (64, 48, 40):
        changes[f"{side} px wide"] = lambda photo, w=side: cv2.resize(  # type: ignore[misc]
            photo, None, fx=w / _FACE, fy=w / _FACE, interpolation=cv2.INTER_AREA
        )
    return changes


if __name__ == "__main__":
    sys.exit(main())
