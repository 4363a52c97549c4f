"""The memory of a run between calls: the photos that it organised, their faces, and the files that it wrote.

It is one SQLite file in the folder of the run. It holds embeddings of faces, so it is biometric data like the run
itself, and deleted rows are overwritten. Several processes may use it at once: a change is one transaction, and the
second process waits.
"""

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from augmentor.errors import InputError

FILE = "people.sqlite"
_WAIT_SECONDS = 30.0
# Deleted rows are overwritten, VACUUM copies to memory, and a committed change survives a power failure.
_SETTINGS = (
    "journal_mode = WAL",
    "foreign_keys = ON",
    "secure_delete = ON",
    "temp_store = MEMORY",
    "synchronous = FULL",
)
# Statement k brings a file of version k to version k + 1. Released statements never change; new ones are added.
_MIGRATIONS = (
    """
    CREATE TABLE collections (
        id INTEGER PRIMARY KEY, albums TEXT NOT NULL UNIQUE, photos TEXT NOT NULL, space TEXT NOT NULL);
    CREATE TABLE photos (
        id INTEGER PRIMARY KEY, collection INTEGER NOT NULL REFERENCES collections ON DELETE CASCADE,
        path TEXT NOT NULL, sha256 TEXT NOT NULL, phash TEXT, bytes INTEGER NOT NULL, changed INTEGER NOT NULL,
        status TEXT NOT NULL, reason TEXT, UNIQUE (collection, path));
    CREATE TABLE faces (
        photo INTEGER NOT NULL REFERENCES photos ON DELETE CASCADE, number INTEGER NOT NULL, box TEXT NOT NULL,
        quality REAL NOT NULL, embedding BLOB NOT NULL, PRIMARY KEY (photo, number));
    CREATE TABLE placed (
        collection INTEGER NOT NULL REFERENCES collections ON DELETE CASCADE, file TEXT NOT NULL, album TEXT NOT NULL,
        photo TEXT NOT NULL, sha256 TEXT NOT NULL, how TEXT NOT NULL, PRIMARY KEY (collection, file));
    """,
    """
    CREATE TABLE moved (
        photo INTEGER NOT NULL REFERENCES photos ON DELETE CASCADE, number INTEGER NOT NULL, album TEXT NOT NULL,
        PRIMARY KEY (photo, number));
    """,
    """
    ALTER TABLE placed ADD COLUMN source TEXT NOT NULL DEFAULT '';
    UPDATE placed SET source = (SELECT photos FROM collections WHERE id = collection);
    CREATE TABLE written (
        collection INTEGER NOT NULL REFERENCES collections ON DELETE CASCADE, file TEXT NOT NULL, sha256 TEXT NOT NULL,
        PRIMARY KEY (collection, file, sha256));
    CREATE TABLE forgetting (name TEXT PRIMARY KEY, record TEXT NOT NULL);
    CREATE TABLE outputs (path TEXT PRIMARY KEY, kind TEXT NOT NULL);
    CREATE TABLE holders (
        id INTEGER PRIMARY KEY, process TEXT NOT NULL, saved INTEGER NOT NULL);
    ALTER TABLE collections ADD COLUMN home TEXT NOT NULL DEFAULT '';
    """,
)


@dataclass(frozen=True)
class StoredFace:
    """A face of a photo.

    Attributes:
        box: (x, y, width, height) in photo pixels.
        quality: see `identity.runs.recogniser`.
        embedding: (D,) float32 unit row, as the run compares it.
    """

    box: tuple[float, float, float, float]
    quality: float
    embedding: np.ndarray


@dataclass(frozen=True)
class StoredPhoto:
    """A photo of a collection.

    Attributes:
        path: relative to the collection's folder of photos.
        sha256: of the file; empty where it could not be read.
        phash: perceptual hash, or None.
        bytes, changed: size of the file and time of its last change in nanoseconds, to notice when it is another file.
        status, reason: see `identity.runs.recogniser`.
        faces: the largest first.
    """

    path: str
    sha256: str
    phash: int | None
    bytes: int
    changed: int
    status: str
    reason: str | None
    faces: tuple[StoredFace, ...] = field(default=())


@dataclass(frozen=True)
class Placed:
    """A file in the albums.

    Attributes:
        file: relative to the albums.
        album: name of the album.
        photo: relative to the folder of photos.
        sha256: of the photo.
        how: how the file was made, `hard` (link), `symlink` or `copy`.
        source: the folder of photos, an absolute path.
    """

    file: str
    album: str
    photo: str
    sha256: str
    how: str
    source: str

    @property
    def original(self) -> Path:
        """The photo that was linked or copied."""
        return Path(self.source) / self.photo


@dataclass(frozen=True)
class PhotoCollection:
    """A folder of photos and the albums that were made of it.

    Attributes:
        number: of the collection in the file.
        albums, photos: absolute paths of the folders.
        space: of the stored embeddings, see `identity.runs.bundle.Bundle.space`.
        own: whether this run made it; otherwise the run of which this one is a copy made it.
    """

    number: int
    albums: Path
    photos: Path
    space: str
    own: bool


class PeopleFile:
    """The file of a run, made if missing. Close it, or use it in a `with`.

    Args:
        run: folder of the run.
        wait_seconds: longest time to wait for another process that changes the file.

    Raises:
        InputError: the folder cannot be written, or the file is damaged, of a later version, or in use for too long.
    """

    def __init__(self, run: Path, wait_seconds: float = _WAIT_SECONDS) -> None:
        self.file = run / FILE
        self._home = str(run.resolve())
        try:
            # The file is made here so that only the user can read it; SQLite gives its other files the same mode.
            os.close(os.open(self.file, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as error:
            raise InputError(
                f"{self.file}: cannot be opened for writing ({error.strerror or error}); this command changes the run, "
                "so its folder must be writable"
            ) from error
        try:
            # this class begins and ends transactions, not the module sqlite3
            self._db = sqlite3.connect(self.file, timeout=wait_seconds, isolation_level=None)
            for setting in _SETTINGS:
                self._db.execute(f"PRAGMA {setting}")
            self._migrate()
        except sqlite3.OperationalError as error:
            raise InputError(
                f"{self.file}: cannot be used now ({error}); {_way_out(error)}, and try again"
            ) from error
        except sqlite3.Error as error:
            raise InputError(f"{self.file}: cannot be used ({error}); move it away to begin anew") from error

    def __enter__(self) -> "PeopleFile":
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; all changes are on disk."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make all changes inside it or none; inside of another transaction it is part of that one.

        Raises:
            InputError: another process held the file for too long, or the disk is full.
        """
        if self._db.in_transaction:
            yield
            return
        try:
            self._db.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise InputError(f"{self.file}: cannot be written ({error})") from error
        try:
            yield
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            raise InputError(f"{self.file}: cannot be written ({error})") from error
        except BaseException:
            self._roll_back()
            raise

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Let other processes wait that want to change the run, while this one changes it.

        Raises:
            InputError: another process held the file for too long.
        """
        with self.transaction():
            yield

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def _migrate(self) -> None:
        with self.transaction():  # two processes may open an old file at the same time
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if version > len(_MIGRATIONS):
                raise InputError(
                    f"{self.file}: version {version}, this program reads up to {len(_MIGRATIONS)}; update the program"
                )
            for number in range(version, len(_MIGRATIONS)):
                for statement in _MIGRATIONS[number].split(";"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {number + 1}")
            if version < len(_MIGRATIONS):  # collections of earlier versions count as this run's own
                self._db.execute("UPDATE collections SET home = ? WHERE home = ''", (self._home,))

    def collection(self, albums: Path, photos: Path, space: str) -> int:
        """Return the number of the collection with these albums; make it if there is none.

        If the stored embeddings are of another space, the photos of the collection are forgotten. If the folder of
        photos is another one now, they are kept: photos are recognised by path, size and time of their last change.

        Args:
            albums, photos: absolute paths.
            space: of the embeddings, see `identity.runs.bundle.Bundle.space`.

        Raises:
            InputError: the albums belong to the run of which this one is a copy.
        """
        with self.transaction():
            found = self._db.execute(
                "SELECT id, photos, space, home FROM collections WHERE albums = ?", (str(albums),)
            ).fetchone()
            if found is None:
                row = (str(albums), str(photos), space, self._home)
                added = self._db.execute(
                    "INSERT INTO collections (albums, photos, space, home) VALUES (?, ?, ?, ?)", row
                )
                return int(added.lastrowid or 0)
            number = int(found[0])
            if found[3] != self._home:
                raise InputError(
                    f"{albums}: made by the run in {found[3]}, of which this one is a copy; choose another folder for "
                    "the albums, or, if the run was moved here, say so with identity.people --moved"
                )
            if found[2] != space:
                self._db.execute("DELETE FROM photos WHERE collection = ?", (number,))
            self._db.execute(
                "UPDATE collections SET photos = ?, space = ? WHERE id = ?", (str(photos), space, number)
            )
            return number

    def find_collection(self, albums: Path) -> tuple[int, Path] | None:
        """Return number and folder of photos of this run's collection with these albums; None if there is none."""
        found = self._db.execute(
            "SELECT id, photos FROM collections WHERE albums = ? AND home = ?", (str(albums), self._home)
        ).fetchone()
        return (int(found[0]), Path(found[1])) if found else None

    def collections(self) -> list[PhotoCollection]:
        """Return all collections, also those of the run of which this one is a copy."""
        rows = self._db.execute("SELECT id, albums, photos, space, home FROM collections ORDER BY id")
        return [
            PhotoCollection(int(number), Path(albums), Path(photos), space, home == self._home)
            for number, albums, photos, space, home in rows
        ]

    def moved_here(self, moved: Callable[[str], str | None] = lambda place: None) -> None:
        """Take over the collections: the run was moved to this folder, not copied.

        Args:
            moved: where a folder is if it moved along with the run; None if it did not.
        """
        columns = (
            *(
                ("collections", "albums"),
                ("collections", "photos"),
                ("placed", "source"),
                ("outputs", "path"),
            ),
        )
        with self.transaction():
            self._db.execute("UPDATE collections SET home = ?", (self._home,))
            for table, column in columns:
                known = self._db.execute(f"SELECT DISTINCT {column} FROM {table}").fetchall()
                for (place,) in known:
                    if (there := moved(place)) is not None:
                        self._db.execute(
                            f"UPDATE OR IGNORE {table} SET {column} = ? WHERE {column} = ?", (there, place)
                        )

    def photos(self, collection: int) -> list[StoredPhoto]:
        """Return all photos by path, without their faces."""
        rows = self._db.execute(
            "SELECT path, sha256, phash, bytes, changed, status, reason FROM photos WHERE collection = ? ORDER BY path",
            (collection,),
        )
        return [StoredPhoto(r[0], r[1], None if r[2] is None else int(r[2]), *r[3:]) for r in rows]

    def faces(self, collection: int) -> Iterator[tuple[str, int, StoredFace]]:
        """Yield (path of the photo, number of the face, face) by path and number."""
        rows = self._db.execute(
            "SELECT path, number, box, quality, embedding FROM faces JOIN photos ON photos.id = photo "
            "WHERE collection = ? ORDER BY path, number",
            (collection,),
        )
        for path, number, box, quality, embedding in rows:
            x, y, width, height = json.loads(box)
            face = StoredFace((x, y, width, height), quality, np.frombuffer(embedding, np.float32))
            yield path, number, face

    def keep(self, collection: int, photos: Sequence[StoredPhoto]) -> None:
        """Store photos in place of earlier ones with the same paths."""
        with self.transaction():
            for p in photos:
                self._db.execute("DELETE FROM photos WHERE collection = ? AND path = ?", (collection, p.path))
                phash = None if p.phash is None else str(p.phash)
                row = (collection, p.path, p.sha256, phash, p.bytes, p.changed, p.status, p.reason)
                added = self._db.execute(
                    "INSERT INTO photos (collection, path, sha256, phash, bytes, changed, status, reason) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    row,
                )
                self._db.executemany(
                    "INSERT INTO faces (photo, number, box, quality, embedding) VALUES (?, ?, ?, ?, ?)",
                    [
                        (
                            added.lastrowid,
                            number,
                            json.dumps([round(v, 1) for v in face.box]),
                            face.quality,
                            face.embedding.astype(np.float32).tobytes(),
                        )
                        for number, face in enumerate(p.faces)
                    ],
                )

    def drop(self, collection: int, paths: Sequence[str]) -> None:
        """Forget photos and their faces."""
        with self.transaction():
            self._db.executemany(
                "DELETE FROM photos WHERE collection = ? AND path = ?", [(collection, path) for path in paths]
            )

    def moved(self, collection: int) -> dict[tuple[str, int], str]:
        """Return the albums that a user chose: (path, number of the face, or -1 without a face) -> album."""
        rows = self._db.execute(
            "SELECT path, number, album FROM moved JOIN photos ON photos.id = photo WHERE collection = ?",
            (collection,),
        )
        return {(path, int(number)): album for path, number, album in rows}

    def keep_moved(self, collection: int, path: str, numbers: Sequence[int], album: str) -> None:
        """Store the album that a user chose for faces of a photo."""
        with self.transaction():
            self._db.executemany(
                "INSERT OR REPLACE INTO moved (photo, number, album) "
                "SELECT id, ?, ? FROM photos WHERE collection = ? AND path = ?",
                [(number, album, collection, path) for number in numbers],
            )

    def drop_moved(self, collection: int, unwanted: Callable[[str], bool]) -> None:
        """Forget which faces a user put into some albums.

        Args:
            collection: number of the collection.
            unwanted: says of an album whether it is one of these.
        """
        with self.transaction():
            albums = {album for album in self.moved(collection).values() if unwanted(album)}
            self._db.executemany(
                "DELETE FROM moved WHERE album = ? AND photo IN (SELECT id FROM photos WHERE collection = ?)",
                [(album, collection) for album in sorted(albums)],
            )

    def placed(self, collection: int) -> list[Placed]:
        """Return all files in the albums, by name."""
        rows = self._db.execute(
            "SELECT file, album, photo, sha256, how, source FROM placed WHERE collection = ? ORDER BY file",
            (collection,),
        )
        return [Placed(*row) for row in rows]

    def add_placed(self, collection: int, files: Sequence[Placed]) -> None:
        """Store files that are about to be made."""
        with self.transaction():
            self._db.executemany(
                "INSERT OR REPLACE INTO placed (collection, file, album, photo, sha256, how, source) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(collection, f.file, f.album, f.photo, f.sha256, f.how, f.source) for f in files],
            )

    def drop_placed(self, collection: int, files: Sequence[str]) -> None:
        """Forget files that are gone."""
        with self.transaction():
            self._db.executemany(
                "DELETE FROM placed WHERE collection = ? AND file = ?", [(collection, file) for file in files]
            )

    def drop_collection(self, collection: int) -> None:
        """Forget a collection with all that belongs to it."""
        with self.transaction():
            self._db.execute("DELETE FROM collections WHERE id = ?", (collection,))

    def written(self, collection: int) -> dict[str, set[str]]:
        """Return the pages and thumbnails that were written into the albums: file -> possible SHA-256 values."""
        found: dict[str, set[str]] = {}
        for file, sha256 in self._db.execute(
            "SELECT file, sha256 FROM written WHERE collection = ?", (collection,)
        ):
            found.setdefault(file, set()).add(sha256)
        return found

    def keep_written(self, collection: int, files: Mapping[str, str]) -> None:
        """Store files that are about to be written, with their SHA-256; earlier SHA-256 values are kept as well."""
        with self.transaction():
            self._db.executemany(
                "INSERT OR REPLACE INTO written (collection, file, sha256) VALUES (?, ?, ?)",
                [(collection, file, sha256) for file, sha256 in files.items()],
            )

    def settle_written(self, collection: int, files: Mapping[str, str | None]) -> None:
        """Forget all SHA-256 values of files but this one; None: the file is gone, or it is the user's."""
        with self.transaction():
            self._db.executemany(
                "DELETE FROM written WHERE collection = ? AND file = ? AND sha256 IS NOT ?",
                [(collection, file, sha256) for file, sha256 in files.items()],
            )

    def forgetting(self) -> dict[str, dict[str, Any]]:
        """Return the people who are being forgotten: name -> the record that is kept until nothing is left."""
        rows = self._db.execute("SELECT name, record FROM forgetting ORDER BY name")
        return {name: json.loads(record) for name, record in rows}

    def keep_forgetting(self, name: str, record: Mapping[str, Any]) -> None:
        """Store that a person is being forgotten, and what has to be done for it."""
        with self.transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO forgetting (name, record) VALUES (?, ?)",
                (name, json.dumps(record, ensure_ascii=False)),
            )

    def end_forgetting(self, name: str) -> None:
        """Delete the record of a person who was forgotten completely."""
        with self.transaction():
            self._db.execute("DELETE FROM forgetting WHERE name = ?", (name,))

    def outputs(self) -> dict[str, str]:
        """Return files and folders outside of the run that were made with it: absolute path or URI -> kind."""
        return dict(self._db.execute("SELECT path, kind FROM outputs ORDER BY path").fetchall())

    def keep_output(self, path: str, kind: str) -> None:
        """Store a file or folder outside of the run that may hold names or faces."""
        with self.transaction():
            self._db.execute("INSERT OR REPLACE INTO outputs (path, kind) VALUES (?, ?)", (path, kind))

    def drop_output(self, path: str) -> None:
        """Forget a file or folder outside of the run."""
        with self.transaction():
            self._db.execute("DELETE FROM outputs WHERE path = ?", (path,))

    def hold(self, process: str, saved: int) -> int:
        """Register a process that keeps names or faces of the run.

        Args:
            process: its description, see `identity.runs.holders`.
            saved: the state of the run that it has, see `identity.runs.bundle.last_saved`.

        Returns:
            A number for `still_holds` and `release`.
        """
        with self.transaction():
            added = self._db.execute("INSERT INTO holders (process, saved) VALUES (?, ?)", (process, saved))
            return int(added.lastrowid or 0)

    def still_holds(self, holder: int, saved: int) -> None:
        """Store the state of the run that a registered process has now; it keeps nothing older."""
        with self.transaction():
            self._db.execute("UPDATE holders SET saved = ? WHERE id = ?", (saved, holder))

    def release(self, holder: int) -> None:
        """Unregister a process."""
        with self.transaction():
            self._db.execute("DELETE FROM holders WHERE id = ?", (holder,))

    def holders(self) -> list[tuple[int, str, int]]:
        """Return (number, description, state of the run) of all registered processes."""
        return [
            (int(number), process, int(saved))
            for number, process, saved in self._db.execute(
                "SELECT id, process, saved FROM holders ORDER BY id"
            )
        ]

    def clean(self, wait_seconds: float = 10.0) -> bool:
        """Remove deleted rows from the disk completely, also from the log of changes.

        Args:
            wait_seconds: longest time to wait for processes that read the file.

        Returns:
            False if another process kept reading the file for all that time: then deleted rows are still on disk.
        """
        until = time.monotonic() + wait_seconds
        (usual,) = self._db.execute("PRAGMA busy_timeout").fetchone()
        self._db.execute(
            "PRAGMA busy_timeout = 200"
        )  # otherwise each statement waits as long as a change may
        try:
            while True:
                try:
                    self._db.execute("VACUUM")
                    (busy, *_rest) = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                except sqlite3.OperationalError:  # locked
                    busy = 1
                if not busy:
                    return True
                if time.monotonic() >= until:
                    return False
                time.sleep(0.1)
        finally:
            self._db.execute(f"PRAGMA busy_timeout = {int(usual)}")


def _way_out(error: sqlite3.OperationalError) -> str:
    """Return what the user can do about an error of SQLite that passes."""
    full = any(word in str(error) for word in ("full", "disk I/O", "unable to open"))
    return "make room on its disk, or mend that" if full else "end the program that holds it"
