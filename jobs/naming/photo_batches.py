"""Batches of an archive's photos, drawn one by one; a batch is what one worker reads, names and remembers.

The photos of a batch follow each other in the order of their paths. Of the batches that were drawn, only their number
and one digest are kept, so an archive may have any size.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from augmentor.photos.file_kinds import is_no_photo
from augmentor.photos.images import LeftOut
from augmentor.photos.place import FileStamp, Place

BATCH = 64  # photos; about ten seconds of work


@dataclass(frozen=True)
class Batch:
    """Photos that follow each other in the order of their paths.

    Attributes:
        number: number of the batch, from 0 on.
        photos: paths relative to the archive.
        fingerprint: digest of the photos' paths, sizes and times of change, and of what they are named with.
    """

    number: int
    photos: tuple[str, ...]
    fingerprint: str


class PhotoBatches:
    """The batches of an archive; iterate only once.

    Args:
        data: the archive.
        made_with: plain values that the answers also depend on.

    Attributes:
        photos: number of photos that were drawn.
        batches: number of batches that were drawn.
        left_out: counts the files that are not photos.
    """

    def __init__(self, data: Place, made_with: Mapping[str, object]) -> None:
        self.photos = 0
        self.batches = 0
        self.left_out = LeftOut()
        self._data, self._made_with = data, made_with
        self._whole = hashlib.sha256()

    def __iter__(self) -> Iterator[Batch]:
        """Draw the batches.

        Raises:
            InputError: a folder cannot be read.
        """
        remaining = photos_below(self._data, self.left_out)
        while own := list(islice(remaining, BATCH)):
            content = json.dumps(
                [self._made_with, [[path, stamp.size, stamp.changed] for path, stamp in own]], sort_keys=True
            )
            batch = Batch(
                self.batches, tuple(path for path, _ in own), hashlib.sha256(content.encode()).hexdigest()
            )
            self.photos += len(own)
            self.batches += 1
            self._whole.update(batch.fingerprint.encode())
            yield batch

    @property
    def fingerprint(self) -> str:
        """The digest of all batches drawn so far, as `whole_fingerprint` computes it from theirs."""
        return self._whole.hexdigest()


def photos_below(data: Place, left_out: LeftOut | None = None) -> Iterator[tuple[str, FileStamp]]:
    """Yield every file of an archive that may be a photo, in the order of paths, and count the others.

    Raises:
        InputError: a folder cannot be read.
    """
    for path, stamp in data.walk():
        if not is_no_photo(path):
            yield path, stamp
        elif left_out is not None:
            left_out.not_photos += 1


def whole_fingerprint(fingerprints: Iterable[str]) -> str:
    """Return the fingerprint of an archive, from those of its batches in order."""
    whole = hashlib.sha256()
    for fingerprint in fingerprints:
        whole.update(fingerprint.encode())
    return whole.hexdigest()
