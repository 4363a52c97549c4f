"""Train a model on a balanced set: `python -m identity.train --data OUT --out RUN`.

OUT is what `jobs/augment.py` wrote, in any format, named by a path or a URI (see `augmentor.photos.place`); with
`--person NAME` a folder of photos by person (see `identity.training.one_person`), with `--align whole` a folder of
photos of
anything by class (see `identity.training.whole_photos`). RUN becomes the model (see `identity.runs.bundle`), with
`curves.png` and what is needed to go on after a kill under `features/`.
Exit code 0: done; 2: wrong call or unusable input, one line on stderr.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from augmentor.command_line import called_as
from augmentor.errors import InputError, LikenessError
from augmentor.photos.private_files import private_files
from identity.networks.tensorflow_loading import load_tensorflow


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with a call."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{called_as('identity.train')}: {message} (--help lists the options)\n")


@private_files()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = make_parser().parse_args(arguments)
    try:
        if options.person is not None and (options.align != "face" or options.fine_tune):
            raise InputError("--person trains nothing and is about faces; leave --align and --fine-tune out")
        if options.fine_tune and options.features == "dlib":
            raise InputError(
                "--fine-tune trains the EfficientNet-B0, --features dlib has none; leave one out"
            )
        # imported here: worker processes that look for faces import this module and need no TensorFlow
        load_tensorflow()
        from identity.training.pipeline import TrainConfig, summary, train
        from identity.training.training_set import located

        if options.person is not None:
            from identity.training.one_person import train_person

            photos = located(options.data)
            if isinstance(photos, str):
                raise InputError("--person takes a folder of photos on disk, no bucket")
            bundle = train_person(
                options.person, photos, options.strangers, options.out, options.features, options.seed
            )
        else:
            names = TrainConfig.__dataclass_fields__
            bundle = train(TrainConfig(**{name: getattr(options, name) for name in names}))
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    print(summary(bundle))
    return 0


def make_parser() -> _Parser:
    """Return the parser of the command line."""
    parser = _Parser(
        prog=called_as("python -m identity.train"), description="Train a model on a balanced set."
    )
    add = parser.add_argument
    add("--data", required=True, metavar="OUT", help="balanced set of jobs/augment.py: a folder or a URI")
    add("--out", type=Path, required=True, metavar="RUN", help="folder of the model")
    add("--strangers", type=Path, metavar="DIR", help="photos of people not in the set, for the thresholds")
    add("--features", choices=("both", "b0", "dlib"), default="both", help="frozen features (both)")
    add(
        "--weights", default="face", metavar="face|imagenet|noisy-student|FILE", help="of the backbone (face)"
    )
    add("--head", choices=("cosine", "seed"), default="cosine", help="cosine, or the published head (cosine)")
    add("--epochs", type=_positive, metavar="N", help="at most (8, more for small sets)")
    add(
        "--embed-renders", type=_natural, default=16, metavar="N", help="renders per person in templates (16)"
    )
    add("--batch", type=_two_or_more, default=256, metavar="N", help="images per step (256)")
    add("--seed", type=_natural, default=0, metavar="N", help="of everything random (0)")
    add("--size", type=_positive, metavar="N", help="pixels the images must have (as they are)")
    add(
        "--cache", type=Path, metavar="DIR", help="where features and unpacked shards are kept (RUN/features)"
    )
    add("--no-cache", action="store_true", help="compute features anew in every epoch, keep none on disk")
    add(
        "--fine-tune",
        type=_natural,
        default=0,
        metavar="BLOCKS",
        help="train the last BLOCKS (1 to 7) of the backbone together with the head, after it (0)",
    )
    add(
        "--align",
        choices=("face", "whole"),
        default="face",
        help="face; whole: DATA has photos of anything in a folder for each class, the whole photo is looked at (face)",
    )
    add(
        "--person",
        metavar="NAME",
        help="a run of this one person, from the photos in the folder NAME of --data; --strangers is required",
    )
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def _two_or_more(text: str) -> int:
    value = int(text)
    if value < 2:
        raise argparse.ArgumentTypeError(f"{text} is not 2 or more")
    return value


def _natural(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return value


if __name__ == "__main__":
    sys.exit(main())
