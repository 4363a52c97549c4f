"""Train the landmark net: `python -m identity.landmark_training examples | train`.

    python -m identity.landmark_training examples --photos ZIP --points NPZ --out DIR [--count 4000] [--people 700]
    python -m identity.landmark_training train --examples DIR --out FILE.tflite [--minutes 30]

`examples` writes .npz files of crops with their landmarks: of photos, of renders of them, and of made-up people.
`train` trains on them and writes the net; `augmentor/data/landmarks68.tflite` is such a file. NPZ has `paths` and
`points` (N, 5, 2) of the photos in ZIP, as CenterFace finds them. See docs/decisions/0033-landmarks.md.
"""

import argparse
import io
import sys
import zipfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from augmentor.command_line import CommandParser
from augmentor.errors import InputError, LikenessError
from augmentor.faces.centerface import centerface
from augmentor.faces.face_search import choose_faces
from augmentor.head.head_model import load_head_model
from augmentor.made_up.render import Studio
from identity.landmark_training.examples import Examples, examples_of, joined, read_examples
from identity.landmark_training.from_made_up import made_up_examples
from identity.landmark_training.from_photos import PhotoExamples, Row, training_views

_VIEWS, _RENDERS = 240, 4
_PHOTOS_OF_MADE_UP = 6
_AT_ONCE = 100  # people whose examples are in one file
_FIRST_MADE_UP = 1_000_000  # their numbers follow those of the photos
_LEAST_SCORE = 0.25


def find_points(image: np.ndarray) -> np.ndarray | None:
    """Return CenterFace's five points (5, 2) of the central face of a picture (H, W, 3), or None if it finds none."""
    found = centerface(image, 1.0, _LEAST_SCORE)
    chosen, _ = choose_faces(found, "central", 1, image.shape[:2])
    return chosen[0].points if chosen else None


def make_examples(options: argparse.Namespace) -> None:
    """Write the examples that the options ask for.

    Raises:
        InputError: the photos or their points cannot be read.
    """
    cv2.setNumThreads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    head = load_head_model()
    views = training_views(head, _VIEWS, options.seed) if options.count else []
    maker = PhotoExamples(head, views, find_points, _RENDERS, options.seed)
    photos = islice(_photos(options), options.count)
    by_photo = (list(maker.of(image, points, number)) for number, image, points in photos)
    _write(options.out, "photos", by_photo, options.count)
    studio = Studio(head)
    by_person = (
        list(made_up_examples(studio, find_points, options.seed, _FIRST_MADE_UP + person, _PHOTOS_OF_MADE_UP))
        for person in range(options.people)
    )
    _write(options.out, "made_up", by_person, options.people)


def _photos(options: argparse.Namespace) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield number, picture (H, W, 3) and five points (5, 2) of the photos, in a random order.

    Raises:
        InputError: they cannot be read.
    """
    try:
        with np.load(options.points, allow_pickle=False) as stored:
            paths, points, scores = (stored[name] for name in ("paths", "points", "score"))
        archive = zipfile.ZipFile(options.photos)
        for number in np.random.default_rng(options.seed).permutation(len(paths)).tolist():
            path = str(paths[number])
            if scores[number] >= options.least_score and not path.startswith(tuple(options.leave_out)):
                with Image.open(io.BytesIO(archive.read(path))) as picture:
                    yield number, np.array(picture.convert("RGB")), points[number].astype(float)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{options.photos}, {options.points}: cannot be read ({error})") from error


def _write(out: Path, name: str, rows: Iterator[list[Row]], count: int) -> None:
    """Write the examples of people, some people a file."""
    with tqdm(total=count, desc=name, unit="") as bar:
        for number in range(0, count, _AT_ONCE):
            part: list[Row] = []
            for of_one in islice(rows, _AT_ONCE):
                part += of_one
                bar.update()
            if part:
                examples_of(part).write(out / f"{name}_{number:06d}.npz")


def read_all(folder: Path) -> Examples:
    """Read all examples of a folder.

    Raises:
        InputError: there are none, or a file is damaged.
    """
    files = sorted(folder.glob("*.npz"))
    if not files:
        raise InputError(f"{folder}: no examples here; make them with the command `examples`")
    return joined([read_examples(file) for file in files])


def train(options: argparse.Namespace) -> None:
    """Train a net and write it.

    Raises:
        InputError: there are no examples.
    """
    from identity.landmark_training.net import lite_file
    from identity.landmark_training.training import Schedule, train_net

    examples = read_all(options.examples)
    net = train_net(examples, Schedule(minutes=options.minutes, seed=options.seed), say=print)
    options.out.write_bytes(lite_file(net))
    if options.weights:
        net.save_weights(options.weights)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = CommandParser(
        prog="python -m identity.landmark_training", description=(__doc__ or "").split("\n")[0]
    )
    commands = parser.add_subparsers(required=True)
    making = commands.add_parser("examples", help="make examples")
    making.add_argument("--photos", type=Path, required=True, help="zip file of face photos")
    making.add_argument(
        "--points", type=Path, required=True, help=".npz with paths, points and score of the photos"
    )
    making.add_argument("--count", type=int, default=4000, help="number of photos (4000)")
    making.add_argument("--people", type=int, default=700, help="number of made-up people (700)")
    making.add_argument("--least-score", type=float, default=0.6, help="lowest score of a photo's face (0.6)")
    making.add_argument(
        "--leave-out", nargs="*", default=["mask12k"], help="folders of photos to leave out (mask12k)"
    )
    making.add_argument("--seed", type=int, default=0, help="the same seed gives the same examples (0)")
    making.add_argument("--out", type=Path, required=True, help="folder to write")
    making.set_defaults(run=make_examples)
    training = commands.add_parser("train", help="train a net on examples")
    training.add_argument("--examples", type=Path, required=True, help="folder of examples")
    training.add_argument("--minutes", type=float, default=30.0, help="how long to train (30)")
    training.add_argument("--seed", type=int, default=0, help="of all random choices (0)")
    training.add_argument("--weights", type=Path, help="write the Keras weights, too (.weights.h5)")
    training.add_argument("--out", type=Path, required=True, help=".tflite file to write")
    training.set_defaults(run=train)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    options = make_parser().parse_args(arguments)
    try:
        options.run(options)
    except (LikenessError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
