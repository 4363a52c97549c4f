"""Measure how many photos with and without people pass as faces, with and without a second opinion.

    python -m benchmarks.face_gate --faces DIR --no-face DIR [--every 1] [--json]

Protocol: every `--every`-th photo below either folder (sorted by path), on one core, taking the most central face.
`right` is the share of photos of people in which a face is detected, and of photos without a person in which none is.
Times: median and 95 % quantile, in milliseconds a photo. Intervals: 95 %, Wilson.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from augmentor.errors import InputError, LikenessError, PhotoError
from augmentor.faces.face_source import face_source
from augmentor.photos.images import list_photos, load_image


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Return the 95 % interval (Wilson) of a share."""
    z, share = 1.96, successes / trials
    middle = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * np.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return float(middle - half), float(middle + half)


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure both folders with both finders, and return a row for each combination."""
    cv2.setNumThreads(1)
    rows = []
    for kind, folder in (("faces", options.faces), ("no_face", options.no_face)):
        paths = list_photos(folder)[:: options.every]
        if not paths:
            raise InputError(f"{folder}: no photo in it; name a folder of photos")
        finders = {opinion: face_source(second_opinion=opinion) for opinion in (False, True)}
        detected: dict[bool, list[bool]] = {opinion: [] for opinion in finders}
        seconds: dict[bool, list[float]] = {opinion: [] for opinion in finders}
        for path in tqdm(paths, kind):
            try:
                image = load_image(path)
            except PhotoError:
                continue
            for opinion, finder in finders.items():
                started = time.perf_counter()
                detected[opinion].append(bool(finder(image)))
                seconds[opinion].append(time.perf_counter() - started)
        for opinion in finders:
            right = [face == (kind == "faces") for face in detected[opinion]]
            low, high = wilson(sum(right), len(right))
            rows.append(
                {
                    "photos": kind,
                    "second_opinion": opinion,
                    "count": len(right),
                    "wrong": len(right) - sum(right),
                    "right": float(np.mean(right)),
                    "right_ci": [low, high],
                    "ms": 1000 * float(np.median(seconds[opinion])),
                    "ms_95": 1000 * float(np.quantile(seconds[opinion], 0.95)),
                }
            )
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.face_gate", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--faces", type=Path, required=True, help="photos of people, at any depth")
    parser.add_argument("--no-face", type=Path, required=True, help="photos without a person, at any depth")
    parser.add_argument("--every", type=int, default=1, help="use every n-th photo (%(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON array on the last line")
    options = parser.parse_args(arguments)
    try:
        rows = measure(options)
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    print("| photos | second opinion | right | wrong | ms, median | ms, 95 % |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        low, high = row["right_ci"]
        print(
            f"| {row['count']} {row['photos']} | {'yes' if row['second_opinion'] else 'no'} "
            f"| {row['right']:.2%} ({low:.2%} to {high:.2%}) | {row['wrong']} | {row['ms']:.0f} | {row['ms_95']:.0f} |"
        )
    if options.json:
        print(json.dumps(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
