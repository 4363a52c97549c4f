"""A balanced set for training: its rows, people and photos, and which photos are held out.

Everything is split by photo: a render goes where the photo goes from which it was made, and files with the same content
are one photo.

A set is read where `jobs/augment.py` wrote it, in any of its formats. Single files on disk are read as they are; shards
and files in a bucket are unpacked first (`TrainingSet.fetched`).
"""

import hashlib
import shlex
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from augmentor.balanced_set.layout import LANDMARK_SET, MANIFEST
from augmentor.balanced_set.manifest import detector_of, read_manifest
from augmentor.errors import InputError, PhotoError
from augmentor.faces.face_source import SOURCES
from augmentor.photos.images import load_image
from augmentor.photos.place import FolderPlace, Place, place_of
from identity.decisions.pose_templates import nearest_renders, wanted_yaws
from identity.training.unpacked_images import UnpackedImages, shards_of

MIN_PHOTOS_TO_HOLD_OUT = 3
_READERS = 4
_CHECKED_FILES = 16


@dataclass(frozen=True)
class TrainingSet:
    """The rows of a manifest.

    Attributes:
        root: folder of the set; for a set in a bucket only its name for messages.
        files: path of each row's image relative to `root`.
        names: the people, sorted.
        labels: (N,) int32 index into `names`.
        is_photo: (N,) bool, aligned photo rather than render.
        photos: (N,) int32, number of the photo that a row shows; equal for files of equal content.
        yaws: (N,) float32 degrees, of the head in the image; NaN where it is not known.
        sources: table of `photo, sha256, phash, identity`, one row for each photo file.
        size: height and width of the images in pixels.
        digest: SHA-256 of the manifest.
        detector: name of the face source by whose points the images were cut out.
    """

    root: Path
    files: tuple[str, ...]
    names: tuple[str, ...]
    labels: np.ndarray
    is_photo: np.ndarray
    photos: np.ndarray
    yaws: np.ndarray
    sources: pa.Table
    size: int
    digest: str
    detector: str

    def __len__(self) -> int:
        return len(self.files)

    def chips(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return the images of some rows: (n, size, size, 3) uint8 RGB.

        Raises:
            InputError: an image is missing, damaged or of another size.
        """
        with ThreadPoolExecutor(_READERS) as readers:
            images = list(readers.map(self._chip, rows))
        return np.stack(images) if images else np.zeros((0, self.size, self.size, 3), np.uint8)

    def fetched(self, work: Path) -> "TrainingSet":
        """Return the same set with its images on disk, readable in any order; the set itself if they are.

        Args:
            work: folder into which images are unpacked; made if missing.

        Raises:
            InputError: there is too little room, or the set is damaged or cannot be reached.
        """
        return self

    def _chip(self, row: int) -> np.ndarray:
        source, name, way_out = self._image(row)
        try:
            image = load_image(source, name=name)
        except PhotoError as error:
            raise InputError(f"{error}; the set is damaged, {way_out}") from error
        if image.shape != (self.size, self.size, 3):
            raise InputError(
                f"{name}: {image.shape[1]}x{image.shape[0]} pixels, the manifest says {self.size}; {way_out}"
            )
        return image

    def _image(self, row: int) -> tuple[Path | bytes, str, str]:
        """Return the file of a row or its content, its name for messages, and what to do if it is damaged."""
        path = self.root / self.files[row]
        return path, str(path), "run jobs/augment.py again"


@dataclass(frozen=True)
class PackedSet(TrainingSet):
    """A set whose images are in shards or in a bucket: `fetched` before `chips`.

    Attributes:
        place: where the set is.
        lengths: (N,) int64 bytes of each image.
        images: the file to which they are unpacked; None before.
    """

    place: Place
    lengths: np.ndarray
    images: UnpackedImages | None = None

    def fetched(self, work: Path) -> TrainingSet:
        """Unpack the images, except those of the same manifest that are there already."""
        images = UnpackedImages(work, self.digest, self.files, self.lengths)
        images.fill(self.place)
        return replace(self, images=images)

    def _image(self, row: int) -> tuple[Path | bytes, str, str]:
        name = self.place.name(self.files[row])
        if self.images is None:
            raise InputError(
                f"{self.place.name()}: this set is in shards or in a bucket, which identity.train reads; "
                "make it in a folder on disk with --format folder"
            )
        return self.images.read(row), name, f"run jobs/augment.py again and delete {self.images.file}"


def located(data: Path | str) -> Path | str:
    """Return a folder on disk, named by a path or a file:// URI, as its path, and a place in a bucket as its URI.

    Raises:
        InputError: a URI of another kind.
    """
    try:
        place = place_of(data)
    except ValueError as error:  # raised by pyarrow for a text that is no URI
        raise InputError(f"{data}: cannot be used ({error})") from error
    return place.folder if isinstance(place, FolderPlace) else str(data)


def read_training_set(root: Path | str) -> TrainingSet:
    """Read the set that `jobs/augment.py` wrote to `root`, a path or a URI.

    Raises:
        InputError: there is no manifest, it is empty, or it has images of several sizes or fewer than two people.
    """
    place = place_of(located(root))
    if isinstance(place, FolderPlace):
        path = place.folder / MANIFEST
        table = read_manifest(path)
        data = _set_of(place.folder, table, hashlib.sha256(path.read_bytes()).hexdigest())
        labelled = replace(data, root=place.folder / LANDMARK_SET)
        if not _has_single_files(data, table) and _has_single_files(labelled, table):
            return labelled
        if not shards_of(place) or _has_single_files(data, table):
            return data
    else:
        table, digest = _fetched_manifest(place)
        data = _set_of(Path(place.name()), table, digest)
    known = {field.name: getattr(data, field.name) for field in fields(data)}
    return PackedSet(**known, place=place, lengths=_lengths(table))


def _lengths(table: pa.Table) -> np.ndarray:
    return table["bytes"].fill_null(0).to_numpy().astype(np.int64)


def _has_single_files(data: TrainingSet, table: pa.Table) -> bool:
    """Return whether the images lie beside the shards, which are then of an earlier job; some files are checked."""
    lengths = _lengths(table)
    rows = np.linspace(0, len(data) - 1, min(_CHECKED_FILES, len(data))).astype(int)
    paths = [data.root / data.files[row] for row in rows]
    return all(p.is_file() and p.stat().st_size == lengths[r] for p, r in zip(paths, rows, strict=True))


def _fetched_manifest(place: Place) -> tuple[pa.Table, str]:
    """Return the manifest of a set in a bucket, and its SHA-256."""
    name = place.name(MANIFEST)
    try:
        content = place.read(MANIFEST)
    except FileNotFoundError as error:
        raise InputError(f"{name}: no manifest; make the set with jobs/augment.py") from error
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error})") from error
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / MANIFEST
        path.write_bytes(content)
        try:
            return read_manifest(path), hashlib.sha256(content).hexdigest()
        except InputError as error:
            raise InputError(str(error).replace(str(path), name)) from error


def _set_of(root: Path, table: pa.Table, digest: str) -> TrainingSet:
    """Return the set that a manifest describes, after checking it."""
    path = root / MANIFEST
    if not table.num_rows:
        raise InputError(f"{path}: no image in this set")
    detector = detector_of(table)
    if detector is None:
        raise InputError(
            f"{path}: made by an earlier version, whose images show the faces a little shifted; make the set again "
            "with jobs/augment.py, into another folder"
        )
    if detector not in SOURCES:
        raise InputError(f"{path}: made with --detector {detector}, which this program does not have")
    sizes = set(table["size"].to_pylist())
    if len(sizes) != 1:
        raise InputError(f"{path}: images of several sizes ({sorted(sizes)}); make the set with one --size")
    identities = table["identity"].to_pylist()
    names = sorted(set(identities))
    if len(names) < 2:
        raise InputError(
            f"{path}: only one person in this set, a classifier needs two or more; for a run of one person: "
            f"identity.train --person {shlex.quote(names[0])} --data PHOTOS --strangers DIR --out RUN"
        )
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
        yaws=table["yaw"].to_numpy().astype(np.float32),
        sources=sources,
        size=int(sizes.pop()),
        digest=digest,
        detector=detector,
    )


def held_out_rows(data: TrainingSet, seed: int) -> np.ndarray:
    """Return (N,) bool: the aligned photos that are held out.

    These are one photo in ten, and at least one, of each person who has three or more. Every other row of the same
    photo must be left out of the training as well (`rows_of_photos`).
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
    """Return (N,) bool: all rows, renders included, of the photos that the rows marked in `rows` show."""
    return np.isin(data.photos, data.photos[rows])


def spread_renders(data: TrainingSet, per_person: int, seed: int) -> np.ndarray:
    """Return the rows of `per_person` renders of each person (or all of them), spread over yaws and over photos.

    See `identity.decisions.pose_templates.nearest_renders`; of renders of the same yaw, `seed` draws.

    Returns:
        Sorted row numbers.
    """
    rows = np.random.default_rng([seed, 2]).permutation(np.flatnonzero(~data.is_photo))
    rows = rows[np.argsort(data.labels[rows], kind="stable")]
    people = np.split(rows, np.searchsorted(data.labels[rows], np.arange(1, len(data.names))))
    wanted = wanted_yaws(per_person)
    chosen = [own[nearest_renders(data.yaws[own], data.photos[own], wanted)] for own in people]
    return np.sort(np.concatenate(chosen)).astype(np.int64)
