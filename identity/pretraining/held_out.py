"""Which faces of a pre-training are held out: never trained on, for choosing and measuring."""

import hashlib
from collections.abc import Sequence

import numpy as np

HELD_OUT = 0.025  # of the faces


def held_out_rows(paths: Sequence[str]) -> np.ndarray:
    """Rows of the faces that are never trained on, in an order drawn by lot.

    A face's lot is a hash of its path: where more faces are found, or fewer, those held out stay the same, and a run
    that goes on from an earlier one's weights does not measure on faces that one has seen.
    """
    lots = np.array([int.from_bytes(hashlib.sha256(path.encode()).digest()[:8], "big") for path in paths])
    order = np.argsort(lots)
    return order[lots[order] < HELD_OUT * 2.0**64]
