"""List, rename or merge the people who are enrolled in a run.

    python -m identity.people --model RUN [--rename OLD NEW | --merge ONE INTO | --moved]

Without an option the command prints each name and its number of photos, separated by a tab. `--merge` joins two people
under the second name. Albums change at the next `identity.organise`. `--moved` states that the run's folder was moved,
not copied, so that the training set and the albums still belong to it.

Exit codes: 0, done; 2, wrong call, explained by one line on stderr.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from augmentor.command_line import CommandParser, called_as
from augmentor.errors import LikenessError
from augmentor.photos.private_files import private_files
from identity.networks.tensorflow_loading import load_tensorflow


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = CommandParser(
        prog=called_as("python -m identity.people"), description="List, rename or merge the people of a run."
    )
    parser.add_argument("--model", type=Path, required=True, metavar="RUN", help="a trained run")
    change = parser.add_mutually_exclusive_group()
    change.add_argument("--rename", nargs=2, metavar=("OLD", "NEW"), help="give a person another name")
    change.add_argument(
        "--merge", nargs=2, metavar=("ONE", "INTO"), help="join two names of the same person under the second"
    )
    change.add_argument(
        "--moved",
        action="store_true",
        help="state that the run was moved to this folder and is not a copy of another one",
    )
    return parser


@private_files()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = make_parser().parse_args(arguments)
    try:
        load_tensorflow()
        from identity.forgetting.forget_person import refuse_forgotten
        from identity.runs.bundle import Bundle
        from identity.runs.collection import PeopleFile
        from identity.runs.moving import moved_here, moved_place
        from identity.runs.renaming import merged, photo_counts, renamed

        if not (options.rename or options.merge or options.moved):
            for name, photos in photo_counts(Bundle.load(options.model)).items():
                print(f"{name}\t{photos}")
            return 0
        with PeopleFile(options.model) as people, people.exclusive():
            bundle = Bundle.load(options.model)
            if options.moved:
                home = bundle.about.get("home")
                folder = options.model.resolve()
                people.moved_here(lambda place: moved_place(place, Path(home), folder) if home else None)
                changed = moved_here(bundle, options.model.resolve())
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
