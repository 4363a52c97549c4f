"""`OUT/.work`: what the output was made with, and a lock so that only one run works on it.

settings.json       settings that the set was made with; another set needs another folder
lock                held while a run works on a folder. A bucket has none; two runs at once do the same work twice
                    there and write the same files
parts/              what is remembered of each partition (`augmentor.balanced_set.part_records`)
finished.json       what the last run completed
"""

import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from augmentor.balanced_set.layout import LOCK, SETTINGS, WORK
from augmentor.errors import InputError
from augmentor.photos.file_kinds import PARTIAL_PREFIX, PARTIAL_SUFFIX
from augmentor.photos.place import FolderPlace, Place

_EARLIER_FORM = re.compile(r"(scan|scan-\d+|rows-\d+|finished)\.parquet")


class WorkFolder:
    """The memory of the runs that made one output; a context manager that holds its lock.

    Args:
        out: the output; a missing folder is made.
        settings: plain values that the images depend on.

    Raises:
        InputError: the output cannot be written, is in use, holds something else, or was made with other settings.
    """

    def __init__(self, out: Place, settings: Mapping[str, object]) -> None:
        self.out = out
        self._lock = _lock(out) if isinstance(out, FolderPlace) else None
        try:
            self._check_settings(settings)
        except BaseException:
            self._unlock()
            raise

    def __enter__(self) -> "WorkFolder":
        return self

    def __exit__(self, *_: object) -> None:
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)

    def _check_settings(self, settings: Mapping[str, object]) -> None:
        text = json.dumps(settings, indent=1, sort_keys=True) + "\n"
        try:
            made_with = json.loads(self.out.read(SETTINGS))
        except FileNotFoundError:
            if any(self.out.entries()) and not isinstance(self.out, FolderPlace):
                raise InputError(
                    f"{self.out.name()}: not empty and not made by this job; choose another --out"
                ) from None
            self.out.write(SETTINGS, text.encode())
            return
        except (OSError, ValueError) as error:
            raise InputError(
                f"{self.out.name(SETTINGS)}: cannot be read ({error}); choose another --out"
            ) from error
        other = [
            f"{k} {made_with.get(k)!r} instead of {settings.get(k)!r}"
            for k in {**settings, **made_with}
            if made_with.get(k) != settings.get(k)
        ]
        if other:
            raise InputError(
                f"{self.out.name()}: made with {', '.join(other)}; choose another --out, delete this one, "
                "or run the job with the earlier settings"
            )

    def remove_partial_files(self) -> None:
        """Remove the files that killed runs left half-written; a bucket never has any."""
        if not isinstance(self.out, FolderPlace):
            return
        for folder in _below(self.out.folder):
            for entry in os.scandir(folder):
                if entry.name.startswith(PARTIAL_PREFIX) and entry.name.endswith(PARTIAL_SUFFIX):
                    Path(entry.path).unlink()

    def remove_earlier_form(self) -> None:
        """Remove files of versions without partitions: tables of the whole set, and images beside shards."""
        for name in self.out.entries(WORK)[1]:
            if _EARLIER_FORM.fullmatch(name):
                self.out.remove(f"{WORK}/{name}")
        self.out.remove_folder(f"{WORK}/images")


def _lock(out: FolderPlace) -> int:
    """Lock a folder and return the descriptor; the lock is held as long as the descriptor is open.

    Raises:
        InputError: the folder cannot be written, is in use, or holds something else.
    """
    work = out.folder / WORK
    try:
        if not work.is_dir() and out.folder.is_dir() and any(out.folder.iterdir()):
            raise InputError(
                f"{out.folder}: not empty and not made by this job; choose another --out, or empty it first"
            )
        work.mkdir(parents=True, exist_ok=True)
        lock = os.open(out.folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise InputError(
            f"{out.folder}: cannot write there ({error.strerror or error}); choose another --out"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise InputError(
            f"{out.folder}: another run is working on it; wait for it or choose another --out"
        ) from error
    return lock


def _below(out: Path) -> Iterator[Path]:
    """Yield the folder and all folders below it."""
    for folder, _, _ in os.walk(out):
        yield Path(folder)
