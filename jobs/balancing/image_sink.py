"""Where the images of a partition go: single files, or one shard.

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
        single_files: whether each image becomes a file of its own.
    """

    single_files: bool

    def there(self, partition: Partition) -> dict[str, int]:
        """Bytes of the images that need not be made again if what they show has not changed, by file."""
        ...

    def put(self, row: ManifestRow, image: bytes) -> None:
        """An image and its row."""
        ...

    def close(self, partition: Partition, planned: Collection[str], made: Collection[str]) -> int:
        """Everything is there; remove what was `made` and is not `planned`. Returns how many images were removed."""
        ...

    def digest(self, partition: Partition) -> str:
        """Of names and sizes of what lies there."""
        ...

    def reader(self, partition: Partition, people: Collection[str]) -> Callable[[str], bytes]:
        """Gives images of some of its people that are there, by file."""
        ...


def image_sink(kind: str, out: Place, seed: int) -> ImageSink:
    """The sink of one of `FORMATS`."""
    if kind == FOLDER:
        return FolderSink(out, "")
    return FolderSink(out, f"{LANDMARK_SET}/") if kind == LANDMARK_SET else ShardSink(out, kind, seed)


class FolderSink:
    """Single files; see `ImageSink`.

    Args:
        out: the output.
        prefix: of the folders of identities, with a slash; where there is one, labels are written beside the images.
    """

    single_files = True

    def __init__(self, out: Place, prefix: str) -> None:
        self._out = out
        self._prefix = prefix

    def _lies(self, partition: Partition) -> dict[str, int]:
        """Everything in the folders of these people, by path without prefix."""
        return {
            path[len(self._prefix) :]: stamp.size
            for name in partition.identities
            for path, stamp in self._out.files(self._prefix + name).items()
        }

    def there(self, partition: Partition) -> dict[str, int]:
        """See `ImageSink`."""
        found = self._lies(partition)
        if not self._prefix:
            return found
        return {file: size for file, size in found.items() if labels_file(file) in found}

    def put(self, row: ManifestRow, image: bytes) -> None:
        """See `ImageSink`."""
        if self._prefix:
            self._out.write(self._prefix + labels_file(row.file), labels_of_row(row))
        self._out.write(self._prefix + row.file, image)

    def close(self, partition: Partition, planned: Collection[str], made: Collection[str]) -> int:
        """See `ImageSink`."""
        images = set(made) - set(planned)
        unwanted = {*images, *map(labels_file, images if self._prefix else ())}
        stale = [file for file in self._lies(partition) if file in unwanted]
        for file in stale:
            self._out.remove(self._prefix + file)
        return sum(file.endswith(".jpg") for file in stale)

    def digest(self, partition: Partition) -> str:
        """See `ImageSink`."""
        lines = [f"{size} {file}" for file, size in sorted(self._lies(partition).items())]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def reader(self, partition: Partition, people: Collection[str]) -> Callable[[str], bytes]:
        """See `ImageSink`."""
        return lambda file: self._out.read(self._prefix + file)


class ShardSink:
    """A shard of all images of the partition, made as a whole; see `ImageSink`.

    Args:
        out: the output.
        kind: of the shard.
        seed: of the order in it.
    """

    single_files = False

    def __init__(self, out: Place, kind: str, seed: int) -> None:
        self._out, self._kind, self._seed = out, kind, seed
        self._images: list[Packed] = []

    def _path(self, partition: Partition) -> str:
        return shard_file(partition.name, self._kind)

    def there(self, partition: Partition) -> dict[str, int]:
        """See `ImageSink`; a shard is made whole, so that none can be kept."""
        self._images = []
        return {}

    def put(self, row: ManifestRow, image: bytes) -> None:
        """See `ImageSink`."""
        self._images.append(Packed(row, image))

    def close(self, partition: Partition, planned: Collection[str], made: Collection[str]) -> int:
        """See `ImageSink`."""
        images, self._images = self._images, []
        if images:
            labels = dict(zip(partition.identities, partition.labels, strict=True))
            self._out.write(self._path(partition), pack(self._kind, images, labels, self._seed))
        else:
            self._out.remove(self._path(partition))
        return 0

    def digest(self, partition: Partition) -> str:
        """See `ImageSink`."""
        stamp = self._out.stamp(self._path(partition))
        return f"{stamp.size} bytes" if stamp else ""

    def reader(self, partition: Partition, people: Collection[str]) -> Callable[[str], bytes]:
        """See `ImageSink`."""
        path = self._path(partition)
        images = read_shard(self._out.read(path), self._out.name(path))
        return {file: image for file, image in images if file.split("/")[0] in people}.__getitem__
