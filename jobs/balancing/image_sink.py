"""Write the images of a partition, as single files or as one shard.

folder      OUT/<identity>/<image>.jpg
300w-lp     OUT/300w-lp/<identity>/<image>.jpg and .mat (`jobs.balancing.landmark_set`)
others      OUT/shards/<partition>.tar, .tfrecord or .parquet (`jobs.balancing.image_shards`)
"""

import hashlib
from collections.abc import Callable, Collection
from typing import Protocol

from augmentor.balanced_set.layout import LANDMARK_SET, SHARD_SUFFIXES, labels_file, shard_file
from augmentor.balanced_set.manifest import ManifestRow
from augmentor.balanced_set.shard_reader import read_shard
from augmentor.photos.place import Place
from jobs.balancing.image_shards import Packed, pack
from jobs.balancing.landmark_set import labels_of_row
from jobs.balancing.partition import Partition

FOLDER = "folder"
FORMATS = (FOLDER, *SHARD_SUFFIXES, LANDMARK_SET)


class ImageSink(Protocol):
    """Takes the images of one partition after the other.

    Attributes:
        single_files: true if each image becomes a file of its own.
    """

    single_files: bool

    def there(self, partition: Partition) -> dict[str, int]:
        """Return file → bytes of the images that need not be made again if what they show has not changed."""
        ...

    def put(self, row: ManifestRow, image: bytes) -> None:
        """Take an image and its row of the manifest.

        Raises:
            InputError: the image cannot be written.
        """
        ...

    def close(self, partition: Partition, planned: Collection[str], made: Collection[str]) -> int:
        """End a partition: write what is not written yet, and remove images that no longer belong to it.

        Args:
            partition: the partition.
            planned: the files that belong to it now.
            made: the files that this job made for it, now or earlier.

        Returns:
            The number of images that were removed.

        Raises:
            InputError: a shard cannot be written.
        """
        ...

    def digest(self, partition: Partition) -> str:
        """Return a digest of the names and sizes of the partition's files."""
        ...

    def reader(self, partition: Partition, people: Collection[str]) -> Callable[[str], bytes]:
        """Return a function that reads an image of some of the partition's people, given its file."""
        ...


def image_sink(kind: str, out: Place, seed: int) -> ImageSink:
    """Return the sink for one of `FORMATS`."""
    if kind == FOLDER:
        return FolderSink(out, "")
    return FolderSink(out, f"{LANDMARK_SET}/") if kind == LANDMARK_SET else ShardSink(out, kind, seed)


class FolderSink:
    """Writes single files. `ImageSink` documents the methods.

    Args:
        out: the output.
        prefix: prefix of the identities' folders, with a slash; if there is one, labels are written beside the images.
    """

    single_files = True

    def __init__(self, out: Place, prefix: str) -> None:
        self._out = out
        self._prefix = prefix

    def _lies(self, partition: Partition) -> dict[str, int]:
        """Return path without prefix → bytes, for everything in the folders of these people."""
        return {
            path[len(self._prefix) :]: stamp.size
            for name in partition.identities
            for path, stamp in self._out.files(self._prefix + name).items()
        }

    def there(self, partition: Partition) -> dict[str, int]:
        files = self._lies(partition)
        if not self._prefix:
            return files
        return {file: size for file, size in files.items() if labels_file(file) in files}

    def put(self, row: ManifestRow, image: bytes) -> None:
        if self._prefix:
            self._out.write(self._prefix + labels_file(row.file), labels_of_row(row))
        self._out.write(self._prefix + row.file, image)

    def close(self, partition: Partition, planned: Collection[str], made: Collection[str]) -> int:
        images = set(made) - set(planned)
        unwanted = {*images, *map(labels_file, images if self._prefix else ())}
        stale = [file for file in self._lies(partition) if file in unwanted]
        for file in stale:
            self._out.remove(self._prefix + file)
        return sum(file.endswith(".jpg") for file in stale)

    def digest(self, partition: Partition) -> str:
        lines = [f"{size} {file}" for file, size in sorted(self._lies(partition).items())]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def reader(self, partition: Partition, people: Collection[str]) -> Callable[[str], bytes]:
        return lambda file: self._out.read(self._prefix + file)


class ShardSink:
    """Collects all images of a partition and writes them as one shard. `ImageSink` documents the methods.

    Args:
        out: the output.
        kind: format of the shard.
        seed: seed of the order in it.
    """

    single_files = False

    def __init__(self, out: Place, kind: str, seed: int) -> None:
        self._out, self._kind, self._seed = out, kind, seed
        self._images: list[Packed] = []

    def _path(self, partition: Partition) -> str:
        return shard_file(partition.name, self._kind)

    def there(self, partition: Partition) -> dict[str, int]:
        """Return no files, because a shard is written as a whole and no image in it can be kept."""
        self._images = []
        return {}

    def put(self, row: ManifestRow, image: bytes) -> None:
        self._images.append(Packed(row, image))

    def close(self, partition: Partition, planned: Collection[str], made: Collection[str]) -> int:
        images, self._images = self._images, []
        if images:
            labels = dict(zip(partition.identities, partition.labels, strict=True))
            self._out.write(self._path(partition), pack(self._kind, images, labels, self._seed))
        else:
            self._out.remove(self._path(partition))
        return 0

    def digest(self, partition: Partition) -> str:
        stamp = self._out.stamp(self._path(partition))
        return f"{stamp.size} bytes" if stamp else ""

    def reader(self, partition: Partition, people: Collection[str]) -> Callable[[str], bytes]:
        path = self._path(partition)
        images = read_shard(self._out.read(path), self._out.name(path))
        return {file: image for file, image in images if file.split("/")[0] in people}.__getitem__
