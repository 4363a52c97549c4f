"""A balanced set as training sees it: rows, people, photos, and which photos are held out.

Everything splits by photo: a render belongs where the photo it was made from belongs, and files with the same
content are one photo.
"""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from augmentor.errors import InputError, PhotoError
from augmentor.images import load_image
from augmentor.manifest import read_manifest

MIN_PHOTOS_TO_HOLD_OUT = 3
_READERS = 4


@dataclass(frozen=True)
class TrainingSet:
    """The rows of a manifest.

    Attributes:
        root: folder of the set.
        files: path of each row's image relative to `root`.
        names: the people, sorted.
        labels: (N,) int32 index into `names`.
        is_photo: (N,) bool, aligned photo rather than render.
        photos: (N,) int32, which photo a row shows; equal for files of equal content.
        sources: `photo, sha256, phash` of every photo file, one row each.
        size: height and width of the images in pixels.
        digest: SHA-256 of the manifest.
    """

    root: Path
    files: tuple[str, ...]
    names: tuple[str, ...]
    labels: np.ndarray
    is_photo: np.ndarray
    photos: np.ndarray
    sources: pa.Table
    size: int
    digest: str

    def __len__(self) -> int:
        return len(self.files)

    def chips(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Read the images of some rows: (n, size, size, 3) uint8 RGB.

        Raises:
            InputError: an image is missing, damaged or of another size.
        """
        with ThreadPoolExecutor(_READERS) as readers:
            images = list(readers.map(self._chip, rows))
        return np.stack(images) if images else np.zeros((0, self.size, self.size, 3), np.uint8)

    def _chip(self, row: int) -> np.ndarray:
        path = self.root / self.files[row]
        try:
            image = load_image(path)
        except PhotoError as error:
            raise InputError(f"{error}; the set is damaged, run jobs/augment.py again") from error
        if image.shape != (self.size, self.size, 3):
            raise InputError(
                f"{path}: {image.shape[1]}x{image.shape[0]} pixels, the manifest says {self.size}; "
                "run jobs/augment.py again"
            )
        return image


def read_training_set(root: Path) -> TrainingSet:
    """Read the set that `jobs/augment.py` wrote to `root`.

    Raises:
        InputError: no manifest, an empty one, images of several sizes, or fewer than two people.
    """
    path = root / "manifest.parquet"
    table = read_manifest(path)
    if not table.num_rows:
        raise InputError(f"{path}: no image in this set")
    sizes = set(table["size"].to_pylist())
    if len(sizes) != 1:
        raise InputError(f"{path}: images of several sizes ({sorted(sizes)}); make the set with one --size")
    identities = table["identity"].to_pylist()
    names = sorted(set(identities))
    if len(names) < 2:
        raise InputError(f"{path}: only one person in this set; a classifier needs two or more")
    index = {name: number for number, name in enumerate(names)}
    contents = table["source_sha256"].to_pylist()
    content_index = {content: number for number, content in enumerate(sorted(set(contents)))}
    sources = pa.table(
        {
            "photo": table["source"],
            "sha256": table["source_sha256"],
            "phash": table["source_phash"],
            "identity": table["identity"],
        }
    )
    sources = sources.group_by(sources.column_names, use_threads=False).aggregate([]).sort_by("photo")
    return TrainingSet(
        root=root,
        files=tuple(table["file"].to_pylist()),
        names=tuple(names),
        labels=np.array([index[name] for name in identities], np.int32),
        is_photo=np.array(table["kind"].to_pylist()) == "photo",
        photos=np.array([content_index[content] for content in contents], np.int32),
        sources=sources,
        size=int(sizes.pop()),
        digest=hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def held_out_rows(data: TrainingSet, seed: int) -> np.ndarray:
    """(N,) bool: the aligned photo of one photo in ten, at least one, of each person who has three or more.

    Every other row of the same photo is to be left out with it: `rows_of_photos`.
    """
    rng = np.random.default_rng([seed, 1])
    held = np.zeros(len(data), bool)
    photo_rows = np.flatnonzero(data.is_photo)
    for label in range(len(data.names)):
        own = photo_rows[data.labels[photo_rows] == label]
        photos, first = np.unique(data.photos[own], return_index=True)
        if len(photos) >= MIN_PHOTOS_TO_HOLD_OUT:
            drawn = rng.permutation(len(photos))[: max(1, len(photos) // 10)]
            held[own[first[drawn]]] = True
    return held


def rows_of_photos(data: TrainingSet, rows: np.ndarray) -> np.ndarray:
    """(N,) bool: all rows, renders included, of the photos that the rows marked in `rows` show."""
    return np.isin(data.photos, data.photos[rows])


def spread_renders(data: TrainingSet, per_person: int, seed: int) -> np.ndarray:
    """Rows of `per_person` renders of each person (all, where there are fewer), drawn evenly over photos.

    Returns:
        Sorted row numbers.
    """
    rng = np.random.default_rng([seed, 2])
    shuffled = rng.permutation(np.flatnonzero(~data.is_photo))
    # Round by round over each person's photos: sort by how many renders of the photo came before.
    turn = np.empty(len(shuffled), np.int64)
    seen: dict[tuple[int, int], int] = {}
    for position, row in enumerate(shuffled):
        key = (int(data.labels[row]), int(data.photos[row]))
        turn[position] = seen[key] = seen.get(key, -1) + 1
    order = shuffled[np.argsort(turn, kind="stable")]
    taken = np.zeros(len(data.names), np.int64)
    chosen = []
    for row in order:
        label = data.labels[row]
        if taken[label] < per_person:
            taken[label] += 1
            chosen.append(int(row))
    return np.array(sorted(chosen), np.int64)
