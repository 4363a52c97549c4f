"""Forget a person: `python -m identity.forget --model RUN --name NAME`; see `identity.forgetting.forget_person`.

From the moment the run is written the name is never answered again. Exit code 0: nothing is left; 1: the person is not
named any more, but traces are left, which are listed: deal with them and give the same command again; 2: wrong call or
an unusable run, one line on stderr. An interrupted call goes on when it is repeated.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from augmentor.command_line import called_as
from augmentor.errors import LikenessError
from augmentor.photos.names import printable
from augmentor.photos.private_files import private_files
from identity.networks.tensorflow_loading import load_tensorflow

_SHOWN = 20


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog=called_as("python -m identity.forget"),
        description="Delete a person, and all that was made of the person.",
    )
    parser.add_argument("--model", type=Path, required=True, metavar="RUN", help="a trained run")
    parser.add_argument("--name", required=True, help="of the person")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="the balanced set, if the run does not know where it is, or is a copy and the set is its own all the same",
    )
    return parser


@private_files()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = make_parser().parse_args(arguments)
    try:
        load_tensorflow()
        from identity.forgetting.forget_person import forget
        from identity.runs.bundle import Bundle
        from identity.runs.collection import PeopleFile

        bundle = Bundle.load(options.model)
        with PeopleFile(options.model) as people:
            told = forget(options.model, options.name, people, data=options.data)
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    for line in told.removed:
        print(f"deleted: {line}")
    for path in told.originals[:_SHOWN]:
        print(f"yours, not touched: {path}")
    if len(told.originals) > _SHOWN:
        print(f"yours, not touched: {len(told.originals) - _SHOWN} more")
    if bundle.head is not None:
        print(
            "the head's shared weights were trained with these images among others; they forget at the next training"
        )
    for line in told.left:
        print(f"left: {line}", file=sys.stderr)
    name = printable(options.name)
    print(
        f"{name}: forgotten"
        if not told.left
        else f"{name}: not named any more, but not all is gone, see `left`"
    )
    return 1 if told.left else 0


if __name__ == "__main__":
    sys.exit(main())
