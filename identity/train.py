"""Train a model on a balanced set: `python -m identity.train --data OUT --out RUN`.

OUT is a path or URI (see `augmentor.photos.place`) of a set that `jobs/augment.py` wrote, in any format. With
`--person NAME` it is a folder with one folder of photos per person (see `identity.training.one_person`); with
`--align whole` it is a folder with one folder of photos, of anything, per class (see `identity.training.whole_photos`).

The model is written to the folder RUN (see `identity.runs.bundle`), together with `curves.png` and, under `features/`,
what is needed to continue after a kill.

Exit codes: 0, done; 2, wrong call or unusable input, explained by one line on stderr.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from augmentor.command_line import CommandParser, called_as
from augmentor.errors import InputError, LikenessError
from augmentor.photos.private_files import private_files
from identity.networks.sources import FEATURES
from identity.networks.tensorflow_loading import load_tensorflow


@private_files()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = make_parser().parse_args(arguments)
    try:
        if options.person is not None and (options.align != "face" or options.fine_tune):
            raise InputError(
                "--person trains no network and works on faces only; leave out --align and --fine-tune"
            )
        if options.fine_tune and options.features == "dlib":
            raise InputError(
                "--fine-tune trains the EfficientNet-B0, which --features dlib does not use; leave out one of them"
            )
        # imported here, because the processes that detect faces import this module and need no TensorFlow
        load_tensorflow()
        from identity.training.pipeline import summary, train
        from identity.training.training_config import TrainConfig
        from identity.training.training_set import located

        if options.person is not None:
            from identity.training.one_person import train_person

            photos = located(options.data)
            if isinstance(photos, str):
                raise InputError("--person needs a folder of photos on a disk, not in a bucket")
            bundle = train_person(
                options.person, photos, options.strangers, options.out, options.features, options.seed
            )
        else:
            names = TrainConfig.__dataclass_fields__.keys() & vars(options).keys()
            bundle = train(TrainConfig(**{name: getattr(options, name) for name in names}))
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; repeat the command to continue from here", file=sys.stderr)
        return 130
    print(summary(bundle))
    return 0


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = CommandParser(
        prog=called_as("python -m identity.train"), description="Train a model on a balanced set."
    )
    add = parser.add_argument
    add(
        "--data",
        required=True,
        metavar="OUT",
        help="balanced set that jobs/augment.py wrote: a folder or a URI",
    )
    add("--out", type=Path, required=True, metavar="RUN", help="folder to write the model to")
    add(
        "--strangers",
        type=Path,
        metavar="DIR",
        help="photos of people who are not in the set, to calibrate the thresholds with",
    )
    add("--features", choices=tuple(FEATURES), default="both", help="frozen features (both)")
    add(
        "--weights",
        default="face",
        metavar="face|imagenet|noisy-student|FILE",
        help="weights of the backbone (face)",
    )
    add(
        "--head",
        choices=("cosine", "seed"),
        default="cosine",
        help="head to train: cosine, or seed for the published head (cosine)",
    )
    add(
        "--epochs",
        type=_positive,
        metavar="N",
        help="largest number of epochs (8, more for small sets)",
    )
    add(
        "--embed-renders",
        type=_natural,
        default=16,
        metavar="N",
        help="number of renders in each person's template (16)",
    )
    add("--batch", type=_two_or_more, default=256, metavar="N", help="images per step (256)")
    add("--seed", type=_natural, default=0, metavar="N", help="seed of all random choices (0)")
    add(
        "--size",
        type=_positive,
        metavar="N",
        help="side length that the images must have, in pixels (any)",
    )
    add(
        "--cache",
        type=Path,
        metavar="DIR",
        help="folder for computed features and unpacked shards (RUN/features)",
    )
    add(
        "--no-cache",
        action="store_true",
        help="compute the features again in every epoch and keep none on disk",
    )
    add(
        "--fine-tune",
        type=_natural,
        default=0,
        metavar="BLOCKS",
        help="after training the head, train the last BLOCKS (1 to 7) of the backbone together with it (0)",
    )
    add(
        "--align",
        choices=("face", "whole"),
        default="face",
        help="face: learn from face chips; whole: learn from whole photos of anything, in one folder per class (face)",
    )
    add(
        "--person",
        metavar="NAME",
        help="make a run of this one person, from the photos in the folder NAME of --data; needs --strangers",
    )
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return value


def _two_or_more(text: str) -> int:
    value = int(text)
    if value < 2:
        raise argparse.ArgumentTypeError(f"{text} is less than 2")
    return value


def _natural(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return value


if __name__ == "__main__":
    sys.exit(main())
