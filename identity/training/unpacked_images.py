"""The images of a balanced set in one local file, readable in any order, unpacked from shards or from a bucket.

`images.bin` holds the JPEG files one after the other in the order of the manifest, which states the length of each.
`images.json` states the manifest and which images are there already. Unpacking that was stopped goes on, and starts
again for another manifest. Nothing is read from the file before all images are there.
"""

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import numpy as np
from tqdm import tqdm

from augmentor.balanced_set.layout import SHARDS, is_shard
from augmentor.balanced_set.shard_reader import read_shard
from augmentor.errors import InputError
from augmentor.photos.images import write_whole
from augmentor.photos.place import FileStamp, Place

FILES = ("images.bin", "images.json")
_SHARDS_AT_ONCE = 3
_FILES_AT_ONCE = 16
_BLOCK = 1024
_SPARE_BYTES = 200_000_000
_AGAIN = "run jobs/augment.py again"


def shards_of(place: Place) -> dict[str, FileStamp]:
    """Return the shards of a set, in any format; none where its images are single files.

    Raises:
        InputError: the folder cannot be read.
    """
    return {path: stamp for path, stamp in place.files(SHARDS).items() if is_shard(path)}


class UnpackedImages:
    """The images of one balanced set in one local file.

    Args:
        folder: of the file; made if missing.
        manifest: digest of the manifest.
        files: the images, as the manifest names them.
        lengths: (N,) int64 bytes of each image.

    Raises:
        InputError: the manifest names an image twice.
    """

    def __init__(self, folder: Path, manifest: str, files: Sequence[str], lengths: np.ndarray) -> None:
        self._folder = folder
        self._manifest = manifest
        self._files = files
        self._rows = {file: row for row, file in enumerate(files)}
        if len(self._rows) < len(files):
            raise InputError(f"the manifest names an image twice; {_AGAIN}")
        self._starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
        self.file, self._progress = (folder / name for name in FILES)

    def __len__(self) -> int:
        return len(self._files)

    @property
    def total_bytes(self) -> int:
        """Size of the whole file in bytes."""
        return int(self._starts[-1])

    def read(self, row: int) -> bytes:
        """Return the JPEG file of a row.

        Raises:
            InputError: the file is gone or cannot be read.
        """
        start, end = (int(place) for place in self._starts[row : row + 2])
        try:
            with self.file.open("rb") as file:
                file.seek(start)
                return file.read(end - start)
        except OSError as error:
            raise InputError(f"{self.file}: cannot be read ({error.strerror or error}); run again") from error

    def fill(self, place: Place) -> None:
        """Unpack the images that are missing.

        Raises:
            InputError: there is too little room, a shard or an image cannot be read, or an image is in no shard.
        """
        found, done = self._noted()
        if found.all():
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._require_room()
            self._write(place, found, done)
        except OSError as error:
            raise InputError(
                f"{self._folder}: cannot write the images ({error.strerror or error}); "
                "name another folder with --cache"
            ) from error
        if not found.all():
            missing = np.flatnonzero(~found)
            raise InputError(
                f"{place.name(SHARDS)}: {len(missing)} of {len(self)} images of the manifest are in no shard, "
                f"the first is {self._files[missing[0]]}; {_AGAIN}"
            )

    def _noted(self) -> tuple[np.ndarray, dict[str, list[int]]]:
        """Return (N,) bool, which images are in the file, and the shards that were read, with their stamps."""
        nothing: tuple[np.ndarray, dict[str, list[int]]] = (np.zeros(len(self), bool), {})
        try:
            noted = json.loads(self._progress.read_text("utf-8"))
            if noted["manifest"] != self._manifest or self.file.stat().st_size != self.total_bytes:
                return nothing
            bits = np.frombuffer(bytes.fromhex(noted["found"]), np.uint8)
            found = np.unpackbits(bits, count=len(self)).astype(bool)
            return found, dict(noted["shards"])
        except (OSError, ValueError, KeyError, TypeError):
            return nothing

    def _note(self, found: np.ndarray, done: dict[str, list[int]]) -> None:
        noted = {"manifest": self._manifest, "found": np.packbits(found).tobytes().hex(), "shards": done}
        write_whole(self._progress, json.dumps(noted).encode())

    def _require_room(self) -> None:
        free = shutil.disk_usage(self._folder).free
        own = self.file.stat().st_blocks * 512 if self.file.exists() else 0
        if self.total_bytes + _SPARE_BYTES > free + own:
            raise InputError(
                f"{self._folder}: unpacked images need {self.total_bytes / 1e9:.1f} GB, "
                f"{free / 1e9:.1f} GB are free; make room, or name a folder on another disk with --cache"
            )

    def _write(self, place: Place, found: np.ndarray, done: dict[str, list[int]]) -> None:
        """Unpack shard by shard, and note each shard once its images are on disk."""
        shards = shards_of(place)
        if not found.any():
            self._note(found, {})  # what the file holds now is of another manifest
        with self.file.open("r+b" if found.any() else "wb") as file:
            file.truncate(self.total_bytes)
            with tqdm(total=len(self), initial=int(found.sum()), desc="unpacking", unit="image") as bar:
                if shards:
                    stamps = {path: [stamp.size, stamp.changed] for path, stamp in shards.items()}
                    left = [path for path, stamp in stamps.items() if done.get(path) != stamp]
                    parts = _of_shards(place, left)
                else:
                    parts = _of_files(place, [self._files[row] for row in np.flatnonzero(~found).tolist()])
                for path, images in parts:
                    before = int(found.sum())
                    self._put(file, images, found, place.name(path or ""))
                    file.flush()
                    os.fsync(file.fileno())
                    if path is not None:
                        done[path] = stamps[path]
                    self._note(found, done)
                    bar.update(int(found.sum()) - before)

    def _put(
        self, file: BinaryIO, images: Iterable[tuple[str, bytes]], found: np.ndarray, source: str
    ) -> None:
        """Write images to their places; those that the manifest does not name are left out."""
        for name, content in images:
            row = self._rows.get(name)
            if row is None:
                continue
            length = int(self._starts[row + 1] - self._starts[row])
            if len(content) != length:
                raise InputError(
                    f"{source}: {name} has {len(content)} bytes, the manifest says {length}; {_AGAIN}"
                )
            file.seek(int(self._starts[row]))
            file.write(content)
            found[row] = True


_Part = tuple[str | None, Iterable[tuple[str, bytes]]]


def _of_shards(place: Place, paths: list[str]) -> Iterator[_Part]:
    """Yield each shard with its images; a few shards are fetched together."""
    with ThreadPoolExecutor(_SHARDS_AT_ONCE) as readers:
        for start in range(0, len(paths), _SHARDS_AT_ONCE):
            some = paths[start : start + _SHARDS_AT_ONCE]
            for path, content in zip(some, readers.map(lambda p: _read(place, p), some), strict=True):
                yield path, read_shard(content, place.name(path))


def _of_files(place: Place, paths: list[str]) -> Iterator[_Part]:
    """Yield the images of single files, a block at a time."""
    with ThreadPoolExecutor(_FILES_AT_ONCE) as readers:
        for start in range(0, len(paths), _BLOCK):
            some = paths[start : start + _BLOCK]
            yield None, zip(some, readers.map(lambda p: _read(place, p), some), strict=True)


def _read(place: Place, path: str) -> bytes:
    try:
        return place.read(path)
    except OSError as error:
        raise InputError(
            f"{place.name(path)}: cannot be read ({error.strerror or error}); {_AGAIN}"
        ) from error
