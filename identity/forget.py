"""Forget a person: `python -m identity.forget --model RUN --name NAME`.

`identity.forgetting.forget_person` does the work. As soon as the run is saved, it never answers with this name again.
If the command is interrupted, repeat it: it continues where it stopped.

Exit codes: 0, nothing of the person is left; 1, the person is no longer named, but traces are left, which are listed on
stderr: remove them and repeat the command; 2, wrong call or unusable run, explained by one line on stderr.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from augmentor.command_line import CommandParser, called_as
from augmentor.errors import LikenessError
from augmentor.photos.names import printable
from augmentor.photos.private_files import private_files
from identity.networks.tensorflow_loading import load_tensorflow

_LISTED = 20  # the user's own files that are listed; more are only counted


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = CommandParser(
        prog=called_as("python -m identity.forget"),
        description="Delete a person and everything made from their photos.",
    )
    parser.add_argument("--model", type=Path, required=True, metavar="RUN", help="a trained run")
    parser.add_argument("--name", required=True, help="name of the person")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="a balanced set that the run does not know, or the run's own set if it was moved",
    )
    parser.add_argument(
        "--deleted",
        type=Path,
        action="append",
        default=[],
        metavar="PATH",
        help="a set, albums, a cache, a report or an export that you deleted for good; can be given several times",
    )
    return parser


@private_files()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = make_parser().parse_args(arguments)
    try:
        load_tensorflow()
        from identity.forgetting.forget_person import forget
        from identity.runs.bundle import Bundle
        from identity.runs.collection import PeopleFile

        bundle = Bundle.load(options.model)
        with PeopleFile(options.model) as people:
            forgotten = forget(
                options.model, options.name, people, data=options.data, deleted=options.deleted
            )
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    for line in forgotten.removed:
        print(f"deleted: {line}")
    for path in forgotten.originals[:_LISTED]:
        print(f"your own file, not touched: {path}")
    if len(forgotten.originals) > _LISTED:
        print(f"your own files, not touched: {len(forgotten.originals) - _LISTED} more")
    if bundle.head is not None:
        print(
            "The head was trained on these images together with others; its weights keep their influence until the "
            "run is trained again."
        )
    for line in forgotten.left:
        print(f"left: {line}", file=sys.stderr)
    name = printable(options.name)
    print(
        f"{name}: forgotten"
        if not forgotten.left
        else f"{name}: no longer named, but traces are left; they are listed above"
    )
    return 1 if forgotten.left else 0


if __name__ == "__main__":
    sys.exit(main())
