"""Same person or not: `python -m identity.verify [--model RUN|face|dlib|both] [--fmr 0.001] PHOTO PHOTO`.

Prints one JSON object: `fmr` (as asked for), `distance` (1 - cosine, lower is more alike), `threshold` (the distance up
to which two faces are taken for one person's), `same`, `probability` (that they are the same person, at even odds) and
`confidence` (that the answer is right, at even odds). Where a photo shows no face, `same` is null and `reason` says
which. Nothing is skipped.

With several faces on a photo `--face largest` compares the largest ones; `best-pair` compares all with all and takes
the most alike, with a threshold so much stricter that chance has no more tries; `reject` gives `several_faces`.

Exit code 0: done; 2: wrong call or an unreadable photo, one line on stderr.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from augmentor.command_line import called_as
from augmentor.errors import LikenessError
from augmentor.photos.images import load_image
from identity.networks.tensorflow_loading import load_tensorflow
from identity.runs.comparison import FACES, load_comparer, verify


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog=called_as("python -m identity.verify"),
        description="Whether two photos show the same person, as one JSON line.",
    )
    parser.add_argument("--model", default="both", help="a trained run, or bare features: face, dlib, both")
    parser.add_argument(
        "--fmr", type=float, default=0.001, help="share of pairs of different people let through"
    )
    parser.add_argument(
        "--face", choices=tuple(FACES), default="largest", help="which face of a photo counts"
    )
    parser.add_argument("photos", type=Path, nargs=2, metavar="PHOTO")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = make_parser().parse_args(arguments)
    try:
        images = [load_image(path) for path in options.photos]
        load_tensorflow()
        answer = verify(load_comparer(options.model), images, options.fmr, options.face)
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    named = {"photo_a": str(options.photos[0]), "photo_b": str(options.photos[1])}
    print(json.dumps(named | answer, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
