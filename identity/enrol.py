"""Enrol a new person in a trained run, without training: `python -m identity.enrol --model RUN --name NAME PHOTO...`.

PHOTO is a photo or a folder of photos of this one person. Photos without a face are left out, and a line on stderr
names each of them. The run is changed only at the end, when everything else has succeeded.

With `--group`, the one PHOTO is an album of an unknown person that `identity.organise` made, for instance
ALBUMS/unknown/001. The faces that were grouped into this album are enrolled.

Exit codes: 0, done; 2, wrong call or unusable photos, explained by one line on stderr.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from augmentor.command_line import CommandParser, called_as
from augmentor.errors import InputError, LikenessError
from augmentor.path_text import shown
from augmentor.photos.names import checked_name
from augmentor.photos.private_files import private_files
from identity.chips.many_photos import OneFace, find_chips
from identity.chips.photo_faces import PhotoFaces
from identity.chips.photo_lists import photos_at
from identity.chips.sharpness import blurred_line
from identity.networks.tensorflow_loading import load_tensorflow
from identity.runs.collection import PeopleFile

if TYPE_CHECKING:
    from identity.runs.bundle import Bundle


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = CommandParser(
        prog=called_as("python -m identity.enrol"), description="Enrol a new person without training."
    )
    parser.add_argument("--model", type=Path, required=True, metavar="RUN", help="a trained run")
    parser.add_argument("--name", required=True, help="name of the person")
    parser.add_argument(
        "--face",
        choices=("central", "largest", "reject"),
        default="central",
        help="which face to use in a photo with several; reject leaves such photos out (central)",
    )
    parser.add_argument(
        "--group",
        action="store_true",
        help="PHOTO is an album of an unknown person that identity.organise made",
    )
    parser.add_argument(
        "photos", type=Path, nargs="+", metavar="PHOTO", help="a photo or a folder of photos of the person"
    )
    return parser


@private_files()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = make_parser().parse_args(arguments)
    try:
        name = checked_name(options.name)
        photos, people = _enrol(options, name)
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{name}: enrolled from {photos} photos; {people} people in {options.model}")
    return 0


def _enrol(options: argparse.Namespace, name: str) -> tuple[int, int]:
    """Enrol a person; return the number of photos and the number of people who are enrolled then."""
    paths = [] if options.group else _listed(options.photos)
    load_tensorflow()
    from identity.forgetting.forget_person import refuse_forgotten
    from identity.runs.bundle import Bundle
    from identity.runs.enrolment import enrol, taken_for

    bundle = Bundle.load(options.model)  # needed for the size and alignment of its chips
    photos = (
        _grouped(bundle, options.model, options.photos) if options.group else _cropped(bundle, paths, options)
    )
    with PeopleFile(options.model) as people, people.exclusive():
        refuse_forgotten(people, name)
        bundle = Bundle.load(options.model)  # again, because another program may have changed it meanwhile
        grown = enrol(bundle, name, photos)
        grown.save(options.model)
    if bundle.align == "face" and (
        line := blurred_line(name, photos, [shown(photo.path) for photo in photos])
    ):
        print(line, file=sys.stderr)
    for other, photo in taken_for(bundle, photos):
        print(
            f"{shown(photo.path)}: looks like {other}, who is already enrolled. Is it the same person?",
            file=sys.stderr,
        )
    return len(photos), len(grown.labels)


def _cropped(bundle: "Bundle", paths: Sequence[Path], options: argparse.Namespace) -> list[PhotoFaces]:
    """Return the photos with a face; print a line for each photo that is left out."""
    looking: OneFace = "whole" if bundle.align == "whole" else options.face
    probes = find_chips(paths, bundle.size, looking, progress="detecting faces", source=bundle.faces)
    for photo in probes:
        if photo.chip is None:
            reason = f"{photo.reason}: {photo.detail}" if photo.detail else photo.reason
            print(f"{shown(photo.path)}: left out ({reason})", file=sys.stderr)
        elif photo.detail:
            print(f"{shown(photo.path)}: {photo.detail}", file=sys.stderr)
    return [photo for photo in probes if photo.chip is not None]


def _grouped(bundle: "Bundle", run: Path, given: Sequence[Path]) -> list[PhotoFaces]:
    """Return the chips of the faces that were grouped into an album of an unknown person.

    Raises:
        InputError: More than one path is given, or the album was not made with this run.
    """
    from identity.albums.group_enrolment import group_photos
    from identity.albums.photo_work import InProcess
    from identity.albums.sorting import decide

    if len(given) != 1:
        raise InputError("--group takes one album, such as ALBUMS/unknown/001")
    album = given[0].resolve()
    with PeopleFile(run) as people:
        collection = people.find_collection(album.parent.parent)
        if collection is None:
            raise InputError(f"{album}: not an album that identity.organise made with this run")
        number, photos = collection
        albums = decide(bundle, people, number, bundle.thresholds["fpir_1"])
    return group_photos(
        albums, f"{album.parent.name}/{album.name}", photos, bundle.size, InProcess(bundle.faces)
    )


def _listed(given: Sequence[Path]) -> list[Path]:
    """Return every photo once, those in folders included.

    Raises:
        InputError: A path does not exist.
    """
    if missing := [path for path in given if not path.exists()]:
        raise InputError(f"{missing[0]}: no such photo or folder")
    return list(dict.fromkeys(photos_at(given)))


if __name__ == "__main__":
    sys.exit(main())
