"""Sort photos into albums by person: `python -m identity.organise --model RUN PHOTOS ALBUMS`.

PHOTOS is a folder of photos, which stay as they are; ALBUMS gets a folder for each person, and others for the doubtful,
the unknown and photos without a face, see `identity.albums.sorting`; besides `index.html` to look at, `albums.json` and
`albums.csv`. The same command again takes in what is new; `--undo` takes everything out of ALBUMS again.

Exit code 0: done; 2: wrong call or unusable input, one line on stderr.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from augmentor.errors import LikenessError
from identity.chips.many_photos import available_cores
from identity.networks.tensorflow_loading import load_tensorflow


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m identity.organise", description="Sort photos into albums by person."
    )
    parser.add_argument("--model", type=Path, required=True, metavar="RUN", help="a trained run")
    parser.add_argument(
        "--fpir",
        type=float,
        default=0.01,
        help="share of strangers who may be put into somebody's album (0.01)",
    )
    parser.add_argument(
        "--link",
        choices=("hard", "symlink", "copy"),
        default="hard",
        help="what the albums hold; a hard link takes no room, and is a copy where there can be none (hard)",
    )
    parser.add_argument("--workers", type=int, help="processes that look for faces (all cores)")
    parser.add_argument("--undo", action="store_true", help="take out of ALBUMS what was put there")
    parser.add_argument(
        "photos", type=Path, nargs="?", metavar="PHOTOS", help="folder of photos; not with --undo"
    )
    parser.add_argument("albums", type=Path, metavar="ALBUMS", help="folder of the albums")
    options = parser.parse_args(arguments)
    if options.undo == (options.photos is not None):
        parser.error("give PHOTOS and ALBUMS, or --undo and ALBUMS")
    try:
        return _undo(options) if options.undo else _organise(options)
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
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
        found = organise(
            recogniser,
            photos,
            albums,
            people,
            how=options.link,
            workers=options.workers or available_cores(),
            progress=True,
        )
        page = write_pages(found, people, photos, albums, progress=True)
        while holder.outdated:  # somebody was enrolled, renamed or forgotten meanwhile
            bundle = recogniser.bundle.as_it_is_now()
            again = decide(bundle, people, found.collection, bundle.decision.threshold(options.fpir))
            again.new, again.gone, again.left = found.new, found.gone, found.left
            place_again(again, people, photos, albums)
            found, page = again, write_pages(again, people, photos, albums)
            holder.catch_up(bundle.saved or 0)
    counts = found.counts()
    kinds = {REVIEW: 0, UNKNOWN: 0, NO_FACE: 0}
    people_count = 0
    for album, count in counts.items():
        kind = album.split("/")[0]
        if kind in kinds:
            kinds[kind] += count
        else:
            people_count += 1
    errors = sum(photo.status == "error" for photo in found.photos.values())
    for file in found.left:
        print(f"{options.albums / file}: not as it was put there, left alone", file=sys.stderr)
    if found.only_copies:
        print(_told_only_copies(options.albums, found.only_copies), file=sys.stderr)
    for copies, how in ((found.copies(), "exact"), (found.near_copies(), "near")):
        if copies:
            print(
                f"{len(copies)} photos have {how} copies, see albums.json: {', '.join(copies[0])} ...",
                file=sys.stderr,
            )
    print(
        f"{len(found.photos)} photos ({found.new} looked at now): {people_count} people; {kinds[REVIEW]} to review, "
        f"{kinds[UNKNOWN]} unknown, {kinds[NO_FACE]} without a face, {errors} not readable; {page}"
    )
    return 0


def _undo(options: argparse.Namespace) -> int:
    from identity.albums.sorting import undo
    from identity.runs.collection import PeopleFile

    with PeopleFile(options.model) as people:
        undone = undo(options.albums, people)
    for file in undone.left:
        print(f"{options.albums / file}: not as it was put there, left alone", file=sys.stderr)
    if undone.only_copies:
        print(_told_only_copies(options.albums, undone.only_copies), file=sys.stderr)
    print(f"{undone.removed} files taken out of {options.albums}")
    return 0


def _told_only_copies(albums: Path, files: Sequence[str]) -> str:
    """A line about files whose originals are gone."""
    return (
        f"{len(files)} files in the albums stay, because their photos are not there any more and they may be the only "
        f"copies: {albums / files[0]}{', ...' if len(files) > 1 else ''}; if a drive is missing, connect it and give "
        "the command again"
    )


if __name__ == "__main__":
    sys.exit(main())
