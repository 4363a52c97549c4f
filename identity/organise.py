"""Sort photos into albums by person: `python -m identity.organise --model RUN PHOTOS ALBUMS`.

PHOTOS is a folder of photos; they stay as they are. ALBUMS gets a folder for each person, and folders for doubtful
faces, unknown people and photos without a face (see `identity.albums.sorting`). It also gets `index.html` to open in a
browser, `albums.json` and `albums.csv`. Repeat the command to add new photos; `--undo` removes from ALBUMS everything
that the command put there.

Exit codes: 0, done; 2, wrong call or unusable input, explained by one line on stderr.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from augmentor.command_line import CommandParser, called_as
from augmentor.errors import LikenessError
from identity.chips.many_photos import available_cores
from identity.networks.tensorflow_loading import load_tensorflow


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = CommandParser(
        prog=called_as("python -m identity.organise"), description="Sort photos into albums by person."
    )
    parser.add_argument("--model", type=Path, required=True, metavar="RUN", help="a trained run")
    parser.add_argument(
        "--fpir",
        type=float,
        default=0.01,
        help="share of strangers who may be put into an enrolled person's album (0.01)",
    )
    parser.add_argument(
        "--link",
        choices=("hard", "symlink", "copy"),
        default="hard",
        help="how photos are put into the albums; hard links take no room, and where they are impossible the photo "
        "is copied (hard)",
    )
    parser.add_argument("--workers", type=int, help="number of processes that detect faces (all cores)")
    parser.add_argument("--undo", action="store_true", help="remove from ALBUMS what this command put there")
    parser.add_argument(
        "photos", type=Path, nargs="?", metavar="PHOTOS", help="folder of photos; not with --undo"
    )
    parser.add_argument("albums", type=Path, metavar="ALBUMS", help="folder for the albums")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    if options.undo == (options.photos is not None):
        parser.error("give PHOTOS and ALBUMS, or --undo and ALBUMS")
    try:
        return _undo(options) if options.undo else _organise(options)
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; repeat the command to continue from here", file=sys.stderr)
        return 130


def _organise(options: argparse.Namespace) -> int:
    load_tensorflow()
    from identity.albums.page import write_pages
    from identity.albums.sorting import NO_FACE, REVIEW, UNKNOWN, decide, organise, place_again
    from identity.runs.bundle import Bundle
    from identity.runs.collection import PeopleFile
    from identity.runs.holders import Holder
    from identity.runs.recogniser import Recogniser

    recogniser = Recogniser(Bundle.load(options.model), options.fpir)
    photos, albums = options.photos.resolve(), options.albums.resolve()
    with PeopleFile(options.model) as people, Holder(options.model, people, "identity.organise") as holder:
        contents = organise(
            recogniser,
            photos,
            albums,
            people,
            how=options.link,
            workers=options.workers or available_cores(),
            progress=True,
        )
        page = write_pages(contents, people, photos, albums, progress=True)
        while holder.outdated:  # a person was enrolled, renamed or forgotten meanwhile
            bundle = recogniser.bundle.as_it_is_now()
            again = decide(bundle, people, contents.collection, bundle.decision.threshold(options.fpir))
            again.new, again.gone, again.left = contents.new, contents.gone, contents.left
            place_again(again, people, photos, albums)
            contents, page = again, write_pages(again, people, photos, albums)
            holder.catch_up(bundle.saved or 0)
    counts = contents.counts()
    kinds = {REVIEW: 0, UNKNOWN: 0, NO_FACE: 0}
    people_count = 0
    for album, count in counts.items():
        kind = album.split("/")[0]
        if kind in kinds:
            kinds[kind] += count
        else:
            people_count += 1
    errors = sum(photo.status == "error" for photo in contents.photos.values())
    _warn_of_kept_files(options.albums, contents.left, contents.only_copies)
    for copies, how in ((contents.copies(), "exact"), (contents.near_copies(), "near")):
        if copies:
            print(
                f"{len(copies)} photos have {how} copies, see albums.json: {', '.join(copies[0])} ...",
                file=sys.stderr,
            )
    print(
        f"{len(contents.photos)} photos ({contents.new} of them new): {people_count} people; "
        f"{kinds[REVIEW]} to review, {kinds[UNKNOWN]} unknown, {kinds[NO_FACE]} without a face, {errors} unreadable; "
        f"{page}"
    )
    return 0


def _undo(options: argparse.Namespace) -> int:
    from identity.albums.sorting import undo
    from identity.runs.collection import PeopleFile

    with PeopleFile(options.model) as people:
        undone = undo(options.albums, people)
    _warn_of_kept_files(options.albums, undone.left, undone.only_copies)
    print(f"{undone.removed} files removed from {options.albums}")
    return 0


def _warn_of_kept_files(albums: Path, changed: Sequence[str], only_copies: Sequence[str]) -> None:
    """Print which files stay in the albums: those that were changed, and those whose originals are gone."""
    for file in changed:
        print(f"{albums / file}: left alone, because it was changed since it was put there", file=sys.stderr)
    if only_copies:
        print(
            f"{len(only_copies)} files in the albums were kept: their originals are gone, so these may be the only "
            f"copies: {albums / only_copies[0]}{', ...' if len(only_copies) > 1 else ''}. If a drive is missing, "
            "connect it and repeat the command.",
            file=sys.stderr,
        )


if __name__ == "__main__":
    sys.exit(main())
