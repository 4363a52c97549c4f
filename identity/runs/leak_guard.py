"""Guard against measuring on training photos: the same file, or the same picture with another encoding or size.

A picture counts as the same when the 64 bits of `augmentor.photos.images.perceptual_hash` differ in at most
`SAME_PICTURE`. Measured on LFW (`../shared/data/lfw1013`): among the 13 million comparisons of 4,192
training photos with 3,141 other photos of all its sets, the nearest two unrelated photos differ in 3 bits (4 between
training and test photos). Of copies of 250 training photos, these shares lie within 2 bits: 99 and 98 % at JPEG quality
90 and 50, 95 % at quality 20, 99 % at half and double size. A cropped copy (2 % less on each side: 4.5 bits) is not
recognised: no threshold separates it from strangers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from identity.chips.hash_distance import SAME_PICTURE, nearest_hashes


@dataclass(frozen=True)
class TrainingPhotos:
    """The photos that a run was trained on, as far as the guard needs them.

    Attributes:
        names: names for messages, one for each photo.
        sha256: of the files, hexadecimal.
        phash: (T,) uint64 perceptual hashes of the whole photos.
    """

    names: Sequence[str]
    sha256: Sequence[str]
    phash: np.ndarray

    def __post_init__(self) -> None:
        if not len(self.names) == len(self.sha256) == len(self.phash):
            raise ValueError("training photos need a name, a SHA-256 and a perceptual hash each")

    @classmethod
    def of_sources(cls, sources: pa.Table) -> "TrainingPhotos":
        """Return the photos of a table with the columns `photo`, `sha256` and `phash`, as a run keeps it."""
        columns = sources.select(["photo", "sha256", "phash"]).to_pydict()
        return cls(columns["photo"], columns["sha256"], np.array(columns["phash"], np.uint64))


@dataclass(frozen=True)
class Leak:
    """A photo that was trained on.

    Attributes:
        photo: its position among the photos given.
        training: position of the training photo.
        same_file: whether the files are identical; otherwise only the pictures are.
        distance: differing bits of the perceptual hashes; 0 for the same file.
    """

    photo: int
    training: int
    same_file: bool
    distance: int


def find_leaks(
    sha256: Sequence[str],
    phash: Sequence[int | None],
    training: TrainingPhotos,
    max_distance: int = SAME_PICTURE,
) -> list[Leak]:
    """Return the photos that are training photos, each with the training photo most like it, in the order given.

    Args:
        sha256: of the files to be measured on; empty strings match nothing.
        phash: their perceptual hashes; None (a file that cannot be read) matches nothing.
        training: photos of the training.
        max_distance: number of bits that may differ.
    """
    position = {digest: i for i, digest in enumerate(training.sha256)}
    leaks = {
        i: Leak(i, position[digest], True, 0)
        for i, digest in enumerate(sha256)
        if position.get(digest, -1) >= 0
    }
    compared = [i for i, value in enumerate(phash) if value is not None and i not in leaks]
    if compared and len(training.phash):
        hashes = np.array([phash[i] for i in compared], np.uint64)
        nearest, distance = nearest_hashes(hashes, np.asarray(training.phash, np.uint64))
        for i, j, bits in zip(compared, nearest.tolist(), distance.tolist(), strict=True):
            if bits <= max_distance:
                leaks[i] = Leak(i, j, False, bits)
    return [leaks[i] for i in sorted(leaks)]
