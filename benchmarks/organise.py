"""Put photos that a run has never met into albums, and count how many lie in the right one.

    python -m benchmarks.organise --model RUN --people DIR --strangers DIR [--no-face DIR] --work WORK [--json]

Protocol: the photos below `--people` (a folder for each person of the run), `--strangers` and `--no-face` are copied
into WORK/photos in random order under meaningless names (by seed), and organised into WORK/albums with the default
settings of `identity.organise`. A photo of a person is `right` if it is in that person's album, even if it is also
elsewhere because of another face in it. `wrong album` counts photos of all kinds in an album of a person they do not
show. Intervals: 95 %, Wilson. `wrongly grouped` counts the photos in `unknown` albums with others, without the most
frequent person of each; each stranger is a person. The time is that of the whole call with networks loaded, the memory
is the peak of the main process.
"""

import argparse
import json
import resource
import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from augmentor.errors import InputError, LikenessError
from augmentor.photos.images import list_identities, list_photos
from augmentor.photos.names import folder_of
from benchmarks.face_gate import wilson
from identity.albums.sorting import NO_FACE, REVIEW, SINGLE, UNKNOWN, Albums, organise
from identity.chips.many_photos import available_cores
from identity.networks.tensorflow_loading import load_tensorflow
from identity.runs.collection import PeopleFile

STRANGER, THING = "stranger", "thing"


def shuffled(options: argparse.Namespace, folder: Path) -> dict[str, tuple[str, str]]:
    """Copy all photos under random names, and return name of the copy → (kind, person)."""
    people = list_identities(options.people)
    photos = [(path, ("person", name)) for name, paths in people.items() for path in paths]
    photos += [(path, (STRANGER, str(path))) for path in list_photos(options.strangers)]
    if options.no_face:
        photos += [(path, (THING, str(path))) for path in list_photos(options.no_face)]
    folder.mkdir(parents=True)
    truth = {}
    for number, k in enumerate(np.random.default_rng([options.seed, 60]).permutation(len(photos)).tolist()):
        path, shows = photos[k]
        name = f"{number:06d}{path.suffix.lower()}"
        shutil.copyfile(path, folder / name)
        truth[name] = shows
    return truth


def judge(sorted_albums: Albums, truth: dict[str, tuple[str, str]]) -> dict[str, Any]:
    """Return counts by kind, and counts over all photos."""
    counts = {kind: Counter[str]() for kind in ("person", STRANGER, THING)}
    groups: dict[str, Counter[str]] = {}
    wrong = 0
    for photo, (kind, who) in truth.items():
        albums = sorted_albums.albums_of(photo)
        named = [album for album in albums if "/" not in album and album != NO_FACE]
        own = folder_of(who) if kind == "person" else None
        counted = counts[kind]
        counted["photos"] += 1
        in_wrong = any(album != own for album in named)
        wrong += in_wrong
        if own in named:
            counted["right"] += 1
        elif in_wrong:
            counted["wrong"] += 1
        elif any(album.startswith(f"{REVIEW}/") for album in albums):
            counted["review"] += 1
            counted["review of the right name"] += f"{REVIEW}/{own}" in albums
        elif any(album.startswith(f"{UNKNOWN}/") for album in albums):
            counted["unknown"] += 1
        else:
            counted["no face"] += 1
        for album in albums:
            if album.startswith(f"{UNKNOWN}/") and album != f"{UNKNOWN}/{SINGLE}":
                groups.setdefault(album, Counter())[who] += 1
    sizes = [sum(members.values()) for members in groups.values()]
    return {
        "kinds": {kind: dict(counted) for kind, counted in counts.items()},
        "wrong_album": wrong,
        "photos": len(truth),
        "groups": len(groups),
        "largest_group": max(sizes, default=0),
        "wrongly_grouped": sum(sizes) - sum(max(members.values()) for members in groups.values()),
    }


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Organise the photos, and judge the albums."""
    from identity.runs.bundle import Bundle
    from identity.runs.recogniser import Recogniser

    if options.work.exists():
        raise InputError(f"{options.work}: exists already; choose a new folder with --work")
    truth = shuffled(options, options.work / "photos")
    recogniser = Recogniser(Bundle.load(options.model))
    strange = {who for kind, who in truth.values() if kind == "person"} - set(recogniser.bundle.labels)
    if strange:
        raise InputError(f"{options.people}: {len(strange)} people are not in this run ({min(strange)}, ...)")
    started = time.monotonic()
    with PeopleFile(options.work) as people:
        sorted_albums = organise(
            recogniser,
            options.work / "photos",
            options.work / "albums",
            people,
            workers=options.workers or available_cores(),
            progress=True,
        )
    seconds = time.monotonic() - started
    result = judge(sorted_albums, truth)
    # ru_maxrss is in KiB, but on macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
    return result | {"seconds": seconds, "photos_per_second": len(truth) / seconds, "peak_mb": peak}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.organise", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--model", type=Path, required=True, metavar="RUN", help="a trained run")
    parser.add_argument(
        "--people", type=Path, required=True, help="new photos of the run's people, by person"
    )
    parser.add_argument("--strangers", type=Path, required=True, help="one photo each of other people")
    parser.add_argument("--no-face", type=Path, help="photos without a person")
    parser.add_argument("--work", type=Path, required=True, help="new folder for copies and albums")
    parser.add_argument("--workers", type=int, help="number of processes (one per core)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the order of photos (%(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    options = parser.parse_args(arguments)
    try:
        load_tensorflow()
        result = measure(options)
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    kinds = ("right", "wrong", "review", "review of the right name", "unknown", "no face")
    print("| kind | photos | " + " | ".join(kinds) + " |")
    print("|---" * (2 + len(kinds)) + "|")
    for kind, counted in result["kinds"].items():
        if counted:
            shares = (f"{counted.get(k, 0) / counted['photos']:.1%}" for k in kinds)
            print(f"| {kind} | {counted['photos']} | " + " | ".join(shares) + " |")
    low, high = wilson(result["wrong_album"], result["photos"])
    print(
        f"\nin a wrong album: {result['wrong_album']} of {result['photos']}, "
        f"{result['wrong_album'] / result['photos']:.2%} ({low:.2%} to {high:.2%}); groups of unknown: "
        f"{result['groups']}, the largest has {result['largest_group']} photos; "
        f"{result['wrongly_grouped']} photos wrongly grouped\n{result['seconds']:.0f} s, "
        f"{result['photos_per_second']:.1f} photos/s, peak {result['peak_mb']:.0f} MB"
    )
    if options.json:
        print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
