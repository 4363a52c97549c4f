"""Put photos into albums as links or copies, and remove them again without destroying anything.

Each file is recorded before it is made, so that an interrupted call leaves no file without a record. A file is removed
only if it was not changed since it was placed and its original still holds the same photo. A file whose original is
gone, or holds something else, may be the last copy of a photo, so it stays. A changed file stays, too.
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
    """The outcome of removing files from the albums.

    Attributes:
        removed: files that were removed, or were gone already.
        changed: files that were changed since they were placed; they belong to the user now and stay.
        only_copies: files whose originals are gone or hold something else; they stay and remain recorded.
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
    """Remove files from the albums, as far as that destroys nothing.

    Args:
        files: the files.
        people: people file of the run.
        collection: number of the collection.
        albums: folder of the albums.
        replaced: paths of photos that can be read at present. If one of them differs from its copies in the albums, the
            user has replaced it, and its old copies are removed.

    Returns:
        Which files were removed and which stay.

    Raises:
        InputError: The albums cannot be changed.
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
            raise InputError(f"{path}: cannot be removed ({error.strerror or error})") from error
    people.drop_placed(collection, [file.file for file in (*result.removed, *result.changed)])
    remove_empty_folders(albums, {(albums / file.file).parent for file in result.removed})
    return result


def put(photo: Path, file: Path, how: str) -> None:
    """Link or copy a photo to a path that does not exist yet.

    If a hard link cannot be made, for instance because the folders are on different file systems, the photo is copied.

    Args:
        photo: the photo.
        file: path in the albums; its folder is made if missing.
        how: one of `HOW`.

    Raises:
        InputError: The album cannot be written, the photo is gone, or the path exists.
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
    """Return a free path for a photo in an album, relative to the albums.

    Args:
        albums: folder of the albums.
        folder: the album.
        photo: path of the photo, whose name is kept as far as possible.
        taken: paths that are not free even if they do not exist.

    Raises:
        InputError: Too many photos have this name.
    """
    name = Path(photo)
    for turn in range(1, 1_000_000):
        number = "" if turn == 1 else f" ({turn})"
        room = _LONGEST_FILE_NAME - len(f"{number}{name.suffix}".encode())
        stem = name.stem.encode()[: max(1, room)].decode("utf-8", "ignore")
        file = f"{folder}/{stem}{number}{name.suffix}"
        if file not in taken and not os.path.lexists(albums / file):
            return file
    raise InputError(f"{albums / folder}: too many photos have the name {name.name}")


def remove_empty_folders(albums: Path, folders: Collection[Path]) -> None:
    """Remove folders that are empty or contain only partial files of killed calls, and then their parents likewise.

    Args:
        albums: folder of the albums, which is kept.
        folders: folders in it.
    """
    for folder in sorted(folders, key=lambda f: -len(f.parts)):
        while folder != albums and folder.is_dir() and not folder.is_symlink():
            remove_half_written(folder)
            if any(folder.iterdir()):
                break
            folder.rmdir()
            folder = folder.parent


def _as_placed(path: Path, file: Placed) -> bool:
    """Return whether a file is still what was placed there."""
    if file.how == "symlink" or path.is_symlink():
        return file.how == "symlink" and path.is_symlink() and path.readlink() == file.original
    if not path.is_file():
        return False
    try:
        return _same_file(path, file.original) or sha256_of(path) == file.sha256
    except PhotoError:
        return False


def _has_original(path: Path, file: Placed, replaced: bool) -> bool:
    """Return whether the photo would still exist without this file in the albums.

    A damaged or empty original does not count, because a full or failing disk may have left it.
    """
    original = file.original
    try:
        if original.resolve() == path.resolve():  # the original was replaced by a link to its copy
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
    """Make a hard link; return False if the file system does not allow it."""
    try:
        os.link(
            photo.resolve(), file
        )  # to the file itself, because a link to a symbolic link may break later
    except FileExistsError:
        raise
    except OSError:
        return False
    return True


def _copy(photo: Path, file: Path) -> None:
    """Copy a photo so that the copy appears completely or not at all, and never replaces another file."""
    partial = file.parent / f"{PARTIAL_PREFIX}{secrets.token_hex(8)}{PARTIAL_SUFFIX}"
    try:
        shutil.copyfile(photo, partial)
        shutil.copystat(photo, partial)
        if not _linked(partial, file):  # the file system has no hard links
            if os.path.lexists(file):
                raise FileExistsError(f"{file} appeared meanwhile")
            partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
