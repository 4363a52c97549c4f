"""Compare two photos: `python -m identity.verify [--model RUN|face|dlib|both] [--fmr 0.001] PHOTO PHOTO`.

The command prints one JSON object:

    fmr          the requested share of pairs of different people that may be accepted
    distance     1 - cosine of the two embeddings; lower is more similar
    threshold    largest distance at which two faces count as the same person
    same         whether the photos show the same person; null if a photo shows no face
    probability  probability that they show the same person, if half of all compared pairs do
    confidence   probability that `same` is right, if half of all compared pairs show the same person
    reason       why there is no answer, and because of which photo

If a photo shows several faces, `--face largest` compares the largest one. `best-pair` compares every face of one photo
with every face of the other and keeps the most similar pair; its threshold is stricter, so that the additional
comparisons accept no more pairs of different people by chance. `reject` answers `several_faces`.

Exit codes: 0, done; 2, wrong call or unreadable photo, explained by one line on stderr.
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
        description="Compare two photos and print as one line of JSON whether they show the same person.",
    )
    parser.add_argument(
        "--model", default="both", help="a trained run, or bare features: face, dlib, both (both)"
    )
    parser.add_argument(
        "--fmr",
        type=float,
        default=0.001,
        help="share of pairs of different people that may be accepted (0.001)",
    )
    parser.add_argument(
        "--face",
        choices=tuple(FACES),
        default="largest",
        help="which face to use in a photo with several (largest)",
    )
    parser.add_argument("photos", type=Path, nargs=2, metavar="PHOTO", help="the two photos to compare")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
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
