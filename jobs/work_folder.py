"""`OUT/.work`: what a run remembers, so that it can be killed and go on, or run again and change nothing.

settings.json       what the set was made with; another set needs another folder
lock                held while a run works on the folder
scan.parquet        what the scan found out about each photo (`jobs.scan_table`)
scan-N, rows-N      the same and manifest rows of a run that is not finished yet
"""

import fcntl
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from augmentor.errors import InputError
from augmentor.images import PARTIAL_PREFIX, PARTIAL_SUFFIX, RESERVED_NAMES, write_whole
from augmentor.manifest import SCHEMA, read_manifest, sorted_table, write_manifest
from jobs.scan_table import ScannedFace, read_scan, write_scan

FOLDER = ".work"
# augmentor.balance.output_file: a name, eight hexadecimal digits, and what was made of the photo.
_OUR_FILE = re.compile(r".*-[0-9a-f]{8}(-[^/]*)?\.jpg")


class WorkFolder:
    """The memory of the runs that made one output folder; a context manager that holds the folder's lock.

    Args:
        out: the output folder; made if missing.
        settings: what the images depend on; plain values.

    Raises:
        InputError: the folder cannot be written, is in use, holds something else, or was made with other settings.
    """

    def __init__(self, out: Path, settings: Mapping[str, object]) -> None:
        self.out = out
        self._folder = out / FOLDER
        self._next_part = 0
        try:
            if not self._folder.is_dir() and out.is_dir() and any(out.iterdir()):
                raise InputError(
                    f"{out}: not empty and not made by this job; choose another --out, or empty it first"
                )
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise InputError(
                f"{out}: cannot write there ({error.strerror or error}); choose another --out"
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise InputError(
                f"{out}: another run is working on it; wait for it or choose another --out"
            ) from error
        try:
            self._check_settings(settings)
        except BaseException:
            os.close(self._lock)
            raise

    def __enter__(self) -> "WorkFolder":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._lock)

    def _check_settings(self, settings: Mapping[str, object]) -> None:
        path = self._folder / "settings.json"
        text = json.dumps(settings, indent=1, sort_keys=True) + "\n"
        if not path.exists():
            write_whole(path, text.encode())
            return
        made_with = json.loads(path.read_text("utf-8"))
        other = [
            f"{k} {made_with.get(k)!r} instead of {v!r}" for k, v in settings.items() if made_with.get(k) != v
        ]
        if other:
            raise InputError(
                f"{self.out}: made with {', '.join(other)}; choose another --out, delete this one, "
                "or call the job as before"
            )

    def scanned(self) -> dict[str, list[ScannedFace]]:
        """Photo → its faces, of all runs so far."""
        found: dict[str, list[ScannedFace]] = {}
        for path in [self._folder / "scan.parquet", *self._parts("scan")]:
            newer: dict[str, list[ScannedFace]] = {}
            for face in read_scan(path) if path.exists() else []:
                newer.setdefault(face.photo, []).append(face)
            found |= newer
        return found

    def rows(self) -> pa.Table:
        """The manifest rows of all runs so far, one per file: the newest."""
        tables = []
        if (self.out / "manifest.parquet").exists():
            tables.append(read_manifest(self.out / "manifest.parquet"))
        for path in self._parts("rows"):
            try:
                tables.append(pq.read_table(path, schema=SCHEMA))
            except (pa.ArrowException, OSError):
                continue  # damaged: its images are made again
        joined = pa.concat_tables([SCHEMA.empty_table(), *tables])
        newest = {file: number for number, file in enumerate(joined["file"].to_pylist())}
        return joined.take(pa.array(sorted(newest.values()), pa.int64()))

    def save_part(self, faces: Iterable[ScannedFace], rows: list[pa.Table]) -> None:
        """Remember what was done since the last time."""
        for kind in ("scan", "rows"):
            for path in self._parts(kind):
                self._next_part = max(self._next_part, _number(path) + 1)
        write_scan(self._folder / f"scan-{self._next_part}.parquet", faces)
        write_manifest(self._folder / f"rows-{self._next_part}.parquet", sorted_table(rows))
        self._next_part += 1

    def finish(self, faces: Iterable[ScannedFace], rows: pa.Table) -> None:
        """Write manifest and scan table whole; what the parts held is in them now."""
        fresh = self._folder / "finished.parquet"
        for path, write in (
            (self.out / "manifest.parquet", lambda to: write_manifest(to, rows)),
            (self._folder / "scan.parquet", lambda to: write_scan(to, faces)),
        ):
            write(fresh)
            if path.exists() and path.read_bytes() == fresh.read_bytes():
                fresh.unlink()
            else:
                fresh.replace(path)
        for path in [*self._parts("scan"), *self._parts("rows")]:
            path.unlink()

    def _parts(self, kind: str) -> list[Path]:
        return sorted(self._folder.glob(f"{kind}-*.parquet"), key=_number)

    def remove_partial_files(self) -> None:
        """Remove what a killed run left half-written."""
        for folder in [self.out, self._folder, *_below(self.out)]:
            for entry in os.scandir(folder):
                if entry.name.startswith(PARTIAL_PREFIX) and entry.name.endswith(PARTIAL_SUFFIX):
                    Path(entry.path).unlink()

    def remove_stale(self, images: Path, planned: set[str], holdout: set[str]) -> int:
        """Remove images that the plan does not (or no longer) hold, and folders that are empty then.

        Args:
            images: the folder of images.
            planned: files below it that stay.
            holdout: files below `OUT/holdout` that stay.

        Returns:
            how many images were removed.
        """
        removed = 0
        for folder in identity_folders(images):
            for entry in list(os.scandir(folder)):
                if f"{folder.name}/{entry.name}" not in planned and _OUR_FILE.fullmatch(entry.name):
                    Path(entry.path).unlink()
                    removed += 1
            _remove_if_empty(folder)
        aside = self.out / "holdout"
        if aside.is_dir():
            for path in sorted(aside.rglob("*"), reverse=True):
                if path.is_dir():
                    _remove_if_empty(path)
                elif path.relative_to(aside).as_posix() not in holdout:
                    path.unlink()
            _remove_if_empty(aside)
        return removed


def identity_folders(out: Path) -> list[Path]:
    """The folders of identities in an output folder, sorted."""
    if not out.is_dir():
        return []
    names = [
        e.name for e in os.scandir(out) if e.is_dir() and e.name.lower() not in RESERVED_NAMES | {FOLDER}
    ]
    return [out / name for name in sorted(names)]


def sizes_of_files(images: Path) -> dict[str, int]:
    """Path relative to the folder of images → bytes, of everything in its folders of identities."""
    return {
        f"{folder.name}/{entry.name}": entry.stat().st_size
        for folder in identity_folders(images)
        for entry in os.scandir(folder)
    }


def _below(out: Path) -> Iterator[Path]:
    """All folders below, those of identities and the others."""
    for folder, folders, _ in os.walk(out):
        yield from (Path(folder) / name for name in folders)


def _remove_if_empty(folder: Path) -> None:
    if not any(folder.iterdir()):
        folder.rmdir()


def _number(path: Path) -> int:
    """The number of a part: `rows-12.parquet` → 12."""
    return int(path.stem.rpartition("-")[2])
