"""Put photos into albums as links or copies, and take them out again without destroying anything.

What was placed is remembered before it is made, so that an interrupted call leaves no file that nobody knows of. A file
is taken out only if it is as it was placed and its original still holds the same photo. A file whose original is gone,
or holds something else, may be the last copy of a photo: it stays. So does a file that somebody changed.
"""

import os
import secrets
import shutil
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from augmentor.errors import InputError, PhotoError
from augmentor.photos.images import PARTIAL_PREFIX, PARTIAL_SUFFIX, remove_half_written, sha256_of
from identity.runs.collection import PeopleFile, Placed

HOW = ("hard", "symlink", "copy")
_LONGEST_FILE_NAME = 255  # bytes, on every common file system


@dataclass
class TakenOut:
    """What became of files that were to be taken out of the albums.

    Attributes:
        removed: they are gone.
        changed: they are not as they were placed; they are the user's now and stay.
        only_copies: their originals are gone or hold something else; they stay and remain known.
    """

    removed: list[Placed] = field(default_factory=list)
    changed: list[Placed] = field(default_factory=list)
    only_copies: list[Placed] = field(default_factory=list)


def take_out(
    files: Iterable[Placed],
    people: PeopleFile,
    collection: int,
    albums: Path,
    replaced: Collection[str] = (),
) -> TakenOut:
    """Take files out of the albums; see `TakenOut`.

    Args:
        files: what was placed.
        people: the file that remembers it.
        collection: number of the collection in that file.
        albums: folder of the albums.
        replaced: paths of photos that were read just now. If they hold another photo than the albums, then somebody
            replaced them, and the old copies can go.

    Raises:
        InputError: the albums cannot be changed.
    """
    result = TakenOut()
    for file in files:
        path = albums / file.file
        try:
            if not os.path.lexists(path):
                result.removed.append(file)
            elif not _as_placed(path, file):
                result.changed.append(file)
            elif file.how != "symlink" and not _has_original(path, file, file.photo in replaced):
                result.only_copies.append(file)
            else:
                path.unlink()
                result.removed.append(file)
        except OSError as error:
            raise InputError(f"{path}: cannot be taken out ({error.strerror or error})") from error
    people.drop_placed(collection, [file.file for file in (*result.removed, *result.changed)])
    remove_empty_folders(albums, {(albums / file.file).parent for file in result.removed})
    return result


def put(photo: Path, file: Path, how: str) -> None:
    """Link or copy a photo to a name that nothing has yet.

    A hard link that cannot be made, because the folders lie on different file systems, becomes a copy.

    Raises:
        InputError: the album cannot be written, the photo is gone, or the name is taken.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if how == "symlink":
            file.symlink_to(photo)
        elif how == "copy" or not _linked(photo, file):
            _copy(photo, file)
    except OSError as error:
        raise InputError(f"{file}: cannot be written ({error.strerror or error})") from error


def free_name(albums: Path, folder: str, photo: str, taken: Collection[str]) -> str:
    """Return a path for a photo in a folder of the albums that nothing has yet, relative to the albums.

    Raises:
        InputError: there are too many photos of this name.
    """
    name = Path(photo)
    for turn in range(1, 1_000_000):
        number = "" if turn == 1 else f" ({turn})"
        room = _LONGEST_FILE_NAME - len(f"{number}{name.suffix}".encode())
        stem = name.stem.encode()[: max(1, room)].decode("utf-8", "ignore")
        file = f"{folder}/{stem}{number}{name.suffix}"
        if file not in taken and not os.path.lexists(albums / file):
            return file
    raise InputError(f"{albums / folder}: too many photos are called {name.name}")


def remove_empty_folders(albums: Path, folders: Collection[Path]) -> None:
    """Remove folders in which nothing is left but half-written files of killed calls; those above them likewise."""
    for folder in sorted(folders, key=lambda f: -len(f.parts)):
        while folder != albums and folder.is_dir():
            remove_half_written(folder)
            if any(folder.iterdir()):
                break
            folder.rmdir()
            folder = folder.parent


def _as_placed(path: Path, file: Placed) -> bool:
    """Whether there is what was placed."""
    if file.how == "symlink" or path.is_symlink():
        return file.how == "symlink" and path.is_symlink() and path.readlink() == file.original
    if not path.is_file():
        return False
    try:
        return _same_file(path, file.original) or sha256_of(path) == file.sha256
    except PhotoError:
        return False


def _has_original(path: Path, file: Placed, replaced: bool) -> bool:
    """Return whether the photo would still be there without this file of the albums.

    A damaged or emptied original does not count: it may be what a full or failing disk left.
    """
    original = file.original
    try:
        if original.resolve() == path.resolve():  # the original became a link to its copy
            return False
        if not original.is_file():
            return False
        return replaced or _same_file(path, original) or sha256_of(original) == file.sha256
    except (OSError, PhotoError):
        return False


def _same_file(path: Path, original: Path) -> bool:
    try:
        return path.samefile(original)
    except OSError:
        return False


def _linked(photo: Path, file: Path) -> bool:
    """Make a hard link; False if there can be none."""
    try:
        os.link(photo.resolve(), file)  # a link to a link would lead nowhere once that is gone
    except FileExistsError:
        raise
    except OSError:
        return False
    return True


def _copy(photo: Path, file: Path) -> None:
    """Copy a photo so that the copy appears whole or not at all, and never in place of another file."""
    partial = file.parent / f"{PARTIAL_PREFIX}{secrets.token_hex(8)}{PARTIAL_SUFFIX}"
    try:
        shutil.copyfile(photo, partial)
        shutil.copystat(photo, partial)
        if not _linked(partial, file):  # a file system without links
            if os.path.lexists(file):
                raise FileExistsError(f"{file} appeared meanwhile")
            partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
