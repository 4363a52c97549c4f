"""Keep track of the pages and thumbnails that this software wrote into the albums, so that no other file is touched."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from augmentor.errors import InputError
from augmentor.photos.images import write_whole
from identity.runs.collection import PeopleFile


class WrittenFiles:
    """The pages and thumbnails that this software wrote into the albums of one collection.

    A file counts as written by this software only while its content has the digest that was recorded when it was
    written. All other files belong to the user and are neither overwritten nor removed.

    Args:
        people: people file of the run.
        collection: number of the collection.
        albums: folder of the albums.
    """

    def __init__(self, people: PeopleFile, collection: int, albums: Path) -> None:
        self._people, self._collection, self._albums = people, collection, albums
        self._known = people.written(collection)

    def files(self) -> list[str]:
        """Return the files that were written, relative to the albums; some may be changed or gone by now."""
        return sorted(self._known)

    def is_ours(self, file: str) -> bool:
        """Return whether a file exists and was not changed since this software wrote it."""
        path = self._albums / file
        if file not in self._known or path.is_symlink() or not path.is_file():
            return False
        return hashlib.sha256(path.read_bytes()).hexdigest() in self._known[file]

    def write(self, file: str, content: bytes) -> str:
        """Write a file; if the user has a file of that name, a number is added to the name.

        Args:
            file: path relative to the albums.
            content: what to write.

        Returns:
            The path that was used, relative to the albums.

        Raises:
            InputError: The file cannot be written.
        """
        name = self._free_name(file)
        self.write_all({name: content})
        return name

    def write_all(self, contents: Mapping[str, bytes]) -> None:
        """Write several files.

        Args:
            contents: contents by path relative to the albums. A path must not exist yet, or must be a file that this
                software wrote.

        Raises:
            InputError: A file cannot be written.
        """
        digests = {file: hashlib.sha256(content).hexdigest() for file, content in contents.items()}
        self._people.keep_written(
            self._collection, digests
        )  # recorded first, so that no file is without a record
        for file, digest in digests.items():
            self._known.setdefault(file, set()).add(digest)
            write_whole(self._albums / file, contents[file])
            self._known[file] = {digest}
        self._people.settle_written(self._collection, digests)

    def remove_others(self, kept: Iterable[str] = ()) -> list[str]:
        """Remove the files that this software wrote, except some.

        Args:
            kept: files to keep, relative to the albums.

        Returns:
            Files that stay because they were changed since they were written.
        """
        kept = set(kept)
        gone = [file for file in self._known if file not in kept]
        left = []
        for file in gone:
            path = self._albums / file
            if self.is_ours(file):
                path.unlink()
            elif os.path.lexists(path):
                left.append(file)
            folder = path.parent
            if (
                folder != self._albums
                and folder.is_dir()
                and not folder.is_symlink()
                and not any(folder.iterdir())
            ):
                folder.rmdir()
        self._people.settle_written(self._collection, dict.fromkeys(gone))
        for file in gone:
            del self._known[file]
        return left

    def _free_name(self, file: str) -> str:
        path = PurePosixPath(file)
        for turn in range(1, 10_000):
            name = file if turn == 1 else str(path.with_name(f"{path.stem} ({turn}){path.suffix}"))
            if not os.path.lexists(self._albums / name) or self.is_ours(name):
                return name
        raise InputError(f"{self._albums / file}: too many files with this name; move some of them elsewhere")
