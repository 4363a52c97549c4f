"""Who is enrolled in a run, and other names for them.

    python -m identity.people --model RUN [--rename OLD NEW | --merge ONE INTO | --moved]

Without more it prints every name and the number of photos, a tab between them. `--merge` makes two people one, under
the second name. Albums follow at the next `identity.organise`. `--moved` says that the folder of the run was moved, not
copied: its training set and its albums are its own. Exit code 0: done; 2: wrong call, one line on stderr.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from augmentor.command_line import called_as
from augmentor.errors import LikenessError
from augmentor.photos.private_files import private_files
from identity.networks.tensorflow_loading import load_tensorflow


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog=called_as("python -m identity.people"), description="List, rename or merge the people of a run."
    )
    parser.add_argument("--model", type=Path, required=True, metavar="RUN", help="a trained run")
    change = parser.add_mutually_exclusive_group()
    change.add_argument("--rename", nargs=2, metavar=("OLD", "NEW"), help="call a person otherwise")
    change.add_argument("--merge", nargs=2, metavar=("ONE", "INTO"), help="two names of the same person")
    change.add_argument(
        "--moved",
        action="store_true",
        help="the run was moved to this folder, and is not a copy of another one",
    )
    return parser


@private_files()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = make_parser().parse_args(arguments)
    try:
        load_tensorflow()
        from identity.forgetting.forget_person import refuse_forgotten
        from identity.runs.bundle import Bundle
        from identity.runs.collection import PeopleFile
        from identity.runs.renaming import merged, photo_counts, renamed

        if not (options.rename or options.merge or options.moved):
            for name, photos in photo_counts(Bundle.load(options.model)).items():
                print(f"{name}\t{photos}")
            return 0
        with PeopleFile(options.model) as people, people.exclusive():
            bundle = Bundle.load(options.model)
            if options.moved:
                people.moved_here()
                changed = replace(bundle, about=bundle.about | {"home": str(options.model.resolve())})
            else:
                refuse_forgotten(people, (options.rename or options.merge)[1])
                change_of = renamed if options.rename else merged
                changed = change_of(bundle, *(options.rename or options.merge))
            changed.save(options.model)
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{options.model}: {len(changed.labels)} people")
    return 0


if __name__ == "__main__":
    sys.exit(main())
