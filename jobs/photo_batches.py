"""An archive of photos as batches, drawn one by one: a batch is what one worker reads, names and remembers.

A batch is some photos that follow each other in the order of their paths. Nothing is held of those that were drawn
but their number and one digest, so that an archive may be of any size.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from augmentor.place import Place

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
    """

    def __init__(self, data: Place, made_with: Mapping[str, object]) -> None:
        self.photos = 0
        self.batches = 0
        self._data, self._made_with = data, made_with
        self._whole = hashlib.sha256()

    def __iter__(self) -> Iterator[Batch]:
        """Draw them.

        Raises:
            InputError: a folder cannot be read, or a name is not valid Unicode.
        """
        found = self._data.walk()
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


def whole_fingerprint(fingerprints: Iterable[str]) -> str:
    """Of an archive, from those of its batches in order."""
    whole = hashlib.sha256()
    for fingerprint in fingerprints:
        whole.update(fingerprint.encode())
    return whole.hexdigest()
