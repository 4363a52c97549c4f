"""Choose the faces that pre-training holds out: they are never trained on, but used for choices and measurements."""

import hashlib
from collections.abc import Sequence

import numpy as np

HELD_OUT = 0.025  # share of the faces that is held out


def held_out_faces(paths: Sequence[str]) -> np.ndarray:
    """Return the rows of the faces that are never trained on, in random order.

    A hash of its path decides about each face. Therefore the choice stays the same if faces are added or removed, and a
    training that starts from the weights of an earlier one does not measure on faces that the earlier one learnt from.

    Args:
        paths: paths of the photos, one per face.
    """
    hashes = np.array([int.from_bytes(hashlib.sha256(path.encode()).digest()[:8], "big") for path in paths])
    order = np.argsort(hashes)
    return order[hashes[order] < HELD_OUT * 2.0**64]
