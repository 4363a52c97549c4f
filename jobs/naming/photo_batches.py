"""An archive of photos as batches, drawn one by one: a batch is what one worker reads, names and remembers.

A batch is some photos that follow each other in the order of their paths. Nothing is held of those that were drawn
but their number and one digest, so that an archive may be of any size.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from augmentor.photos.file_kinds import is_no_photo
from augmentor.photos.images import LeftOut
from augmentor.photos.place import FileStamp, Place

BATCH = 64  # photos: some ten seconds of work


@dataclass(frozen=True)
class Batch:
    """Photos that follow each other.

    Attributes:
        number: from 0 on.
        photos: paths, relative to the archive.
        fingerprint: of the photos, by path, size and time of change, and of what they are named with.
    """

    number: int
    photos: tuple[str, ...]
    fingerprint: str


class PhotoBatches:
    """The batches of an archive; iterate once.

    Args:
        data: the archive.
        made_with: what else the answers depend on; plain values.

    Attributes:
        photos, batches: how many were drawn.
        left_out: counts the files that are no photos.
    """

    def __init__(self, data: Place, made_with: Mapping[str, object]) -> None:
        self.photos = 0
        self.batches = 0
        self.left_out = LeftOut()
        self._data, self._made_with = data, made_with
        self._whole = hashlib.sha256()

    def __iter__(self) -> Iterator[Batch]:
        """Draw them.

        Raises:
            InputError: a folder cannot be read.
        """
        found = photos_below(self._data, self.left_out)
        while own := list(islice(found, BATCH)):
            told = json.dumps(
                [self._made_with, [[path, stamp.size, stamp.changed] for path, stamp in own]], sort_keys=True
            )
            batch = Batch(
                self.batches, tuple(path for path, _ in own), hashlib.sha256(told.encode()).hexdigest()
            )
            self.photos += len(own)
            self.batches += 1
            self._whole.update(batch.fingerprint.encode())
            yield batch

    @property
    def fingerprint(self) -> str:
        """Of all batches drawn; `whole_fingerprint` of theirs."""
        return self._whole.hexdigest()


def photos_below(data: Place, left_out: LeftOut | None = None) -> Iterator[tuple[str, FileStamp]]:
    """Yield every file of an archive that may be a photo, in the order of paths; count the others.

    Raises:
        InputError: a folder cannot be read.
    """
    for path, stamp in data.walk():
        if not is_no_photo(path):
            yield path, stamp
        elif left_out is not None:
            left_out.not_photos += 1


def whole_fingerprint(fingerprints: Iterable[str]) -> str:
    """Of an archive, from those of its batches in order."""
    whole = hashlib.sha256()
    for fingerprint in fingerprints:
        whole.update(fingerprint.encode())
    return whole.hexdigest()
