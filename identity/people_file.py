"""What a run remembers between calls: the photos it organised, their faces, and which file it put where.

One SQLite file in the folder of the run. It holds embeddings of faces, so it is biometric data like the run itself:
deleted rows are overwritten. Several processes may use it at once: a change is one transaction, and whoever comes
second waits.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from augmentor.errors import InputError

FILE = "people.sqlite"
_WAIT_SECONDS = 30.0
# Statement k brings a file of version k to version k + 1; what was released is never changed, only added to.
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
)


@dataclass(frozen=True)
class StoredFace:
    """A face of a photo.

    Attributes:
        box: (x, y, width, height) in photo pixels.
        quality: see `identity.recognise`.
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
        bytes, changed: size of the file and time of its last change in nanoseconds, to see whether it is another.
        status, reason: see `identity.recognise`.
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
        album: which one.
        photo: relative to the folder of photos.
        sha256: of the photo.
        how: `hard`, `symlink` or `copy`.
    """

    file: str
    album: str
    photo: str
    sha256: str
    how: str


class PeopleFile:
    """The file of a run; made if missing. Close it, or use it in a `with`.

    Args:
        run: folder of the run.

    Raises:
        InputError: the folder cannot be written, or the file is damaged or of a later version.
    """

    def __init__(self, run: Path) -> None:
        self.file = run / FILE
        try:
            # transactions are begun and ended here, not by the module
            self._db = sqlite3.connect(self.file, timeout=_WAIT_SECONDS, isolation_level=None)
            for setting in ("journal_mode = WAL", "foreign_keys = ON", "secure_delete = ON"):
                self._db.execute(f"PRAGMA {setting}")
            self._migrate()
        except sqlite3.Error as error:
            raise InputError(f"{self.file}: cannot be used ({error}); move it away to begin anew") from error

    def __enter__(self) -> "PeopleFile":
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it; what was changed is on disk."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is changed inside happens, or nothing of it.

        Raises:
            InputError: another process held the file for too long, or the disk is full.
        """
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
        """While the run itself is changed: other processes that want to change it wait.

        Raises:
            InputError: another process held the file for too long.
        """
        with self.transaction():
            yield

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def _migrate(self) -> None:
        with self.transaction():  # two processes may both have found an old file
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if version > len(_MIGRATIONS):
                raise InputError(
                    f"{self.file}: of version {version}, this program knows {len(_MIGRATIONS)}; update it"
                )
            for number in range(version, len(_MIGRATIONS)):
                for statement in _MIGRATIONS[number].split(";"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {number + 1}")

    def collection(self, albums: Path, photos: Path, space: str) -> int:
        """The number of the collection whose albums are there; its photos are forgotten if they were others', or if
        their embeddings were of another space.

        Args:
            albums, photos: absolute paths.
            space: what embeddings can be compared with, see `identity.bundle.Bundle.space`.
        """
        with self.transaction():
            found = self._db.execute(
                "SELECT id, photos, space FROM collections WHERE albums = ?", (str(albums),)
            ).fetchone()
            if found is None:
                row = (str(albums), str(photos), space)
                added = self._db.execute(
                    "INSERT INTO collections (albums, photos, space) VALUES (?, ?, ?)", row
                )
                return int(added.lastrowid or 0)
            number = int(found[0])
            if found[1:] != (str(photos), space):
                self._db.execute("DELETE FROM photos WHERE collection = ?", (number,))
                self._db.execute(
                    "UPDATE collections SET photos = ?, space = ? WHERE id = ?", (str(photos), space, number)
                )
            return number

    def find_collection(self, albums: Path) -> tuple[int, Path] | None:
        """Number and folder of photos of the collection whose albums are there."""
        found = self._db.execute(
            "SELECT id, photos FROM collections WHERE albums = ?", (str(albums),)
        ).fetchone()
        return (int(found[0]), Path(found[1])) if found else None

    def collections(self) -> list[tuple[int, Path, Path]]:
        """(number, albums, photos) of all."""
        rows = self._db.execute("SELECT id, albums, photos FROM collections ORDER BY id")
        return [(int(number), Path(albums), Path(photos)) for number, albums, photos in rows]

    def photos(self, collection: int) -> list[StoredPhoto]:
        """All photos by path, without their embeddings."""
        rows = self._db.execute(
            "SELECT path, sha256, phash, bytes, changed, status, reason FROM photos WHERE collection = ? ORDER BY path",
            (collection,),
        )
        return [StoredPhoto(r[0], r[1], None if r[2] is None else int(r[2]), *r[3:]) for r in rows]

    def faces(self, collection: int) -> Iterator[tuple[str, int, StoredFace]]:
        """(path, number, face) by path and number."""
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
        """Remember photos, in place of what was known of these paths."""
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
        """Albums that somebody chose: (path, number of the face) to album; number -1 is the photo without a face."""
        rows = self._db.execute(
            "SELECT path, number, album FROM moved JOIN photos ON photos.id = photo WHERE collection = ?",
            (collection,),
        )
        return {(path, int(number)): album for path, number, album in rows}

    def keep_moved(self, collection: int, path: str, numbers: Sequence[int], album: str) -> None:
        """Remember the album that somebody chose for faces of a photo."""
        with self.transaction():
            self._db.executemany(
                "INSERT OR REPLACE INTO moved (photo, number, album) "
                "SELECT id, ?, ? FROM photos WHERE collection = ? AND path = ?",
                [(number, album, collection, path) for number in numbers],
            )

    def placed(self, collection: int) -> list[Placed]:
        """All files in the albums, by name."""
        rows = self._db.execute(
            "SELECT file, album, photo, sha256, how FROM placed WHERE collection = ? ORDER BY file",
            (collection,),
        )
        return [Placed(*row) for row in rows]

    def add_placed(self, collection: int, files: Sequence[Placed]) -> None:
        """Remember files that are about to be made."""
        with self.transaction():
            self._db.executemany(
                "INSERT OR REPLACE INTO placed (collection, file, album, photo, sha256, how) VALUES (?, ?, ?, ?, ?, ?)",
                [(collection, f.file, f.album, f.photo, f.sha256, f.how) for f in files],
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

    def clean(self) -> None:
        """Leave nothing of deleted rows on disk, in the log of changes neither."""
        self._db.execute("VACUUM")
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
