"""Lists of photos for commands. Files that are left out are reported in one line on stderr."""

import sys
from collections.abc import Sequence
from pathlib import Path

from augmentor.photos.images import LeftOut, list_identities, list_photos


def photos_in(folder: Path) -> list[Path]:
    """Return the photos below a folder; see `augmentor.photos.images.list_photos`.

    Raises:
        InputError: the folder cannot be read.
    """
    left_out = LeftOut()
    photos = list_photos(folder, left_out)
    _report(folder, left_out)
    return photos


def photos_at(given: Sequence[Path]) -> list[Path]:
    """Return the photos that a command line names: all photos below each folder, and each file whatever its name.

    Raises:
        InputError: a folder cannot be read.
    """
    return [photo for path in given for photo in (photos_in(path) if path.is_dir() else [path])]


def photos_by_person(folder: Path) -> dict[str, list[Path]]:
    """Return the photos of each person; see `augmentor.photos.images.list_identities`.

    Raises:
        InputError: the folder cannot be read, or it is not a folder of photos by person.
    """
    left_out = LeftOut()
    people = list_identities(folder, left_out)
    _report(folder, left_out)
    return people


def _report(folder: Path, left_out: LeftOut) -> None:
    if line := left_out.line():
        print(f"{folder}: {line}", file=sys.stderr)
