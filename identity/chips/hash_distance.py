"""Perceptual hashes compared: which pictures are the same one, encoded or sized anew.

Pictures count as the same when the 64 bits of `augmentor.photos.images.perceptual_hash` differ in at most
`SAME_PICTURE`; how that was chosen: `identity.runs.leak_guard`.
"""

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

SAME_PICTURE = 2
_ROWS = 2048  # photos compared at once: 2048 x 10,000 others are 80 MB


def nearest_hashes(hashes: np.ndarray, among: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The most alike of `among` (T,) uint64 for each of `hashes` (N,) uint64.

    Returns:
        (N,) int64 positions and (N,) int64 numbers of differing bits.
    """
    # bits as +1 and -1: their product summed over 64 is 64 - 2 * distance, one matrix product for all
    signs = _signs(among).T
    nearest, distance = [], []
    for start in range(0, len(hashes), _ROWS):
        agreement = _signs(hashes[start : start + _ROWS]) @ signs
        best = agreement.argmax(axis=1)
        nearest.append(best)
        distance.append(np.rint((64 - agreement[np.arange(len(best)), best]) / 2).astype(np.int64))
    return np.concatenate(nearest), np.concatenate(distance)


def same_pictures(hashes: np.ndarray, max_distance: int = SAME_PICTURE) -> list[list[int]]:
    """Positions of pictures that are the same, two or more each; a chain of such pairs is one group.

    Args:
        hashes: (N,) uint64.
        max_distance: bits that may differ.
    """
    if not len(hashes):
        return []
    signs = _signs(hashes)
    rows, columns = [], []
    for start in range(0, len(hashes), _ROWS):
        near = np.argwhere(signs[start : start + _ROWS] @ signs.T >= 64 - 2 * max_distance - 0.5)
        rows.append(near[:, 0] + start)
        columns.append(near[:, 1])
    pairs = (np.concatenate(rows), np.concatenate(columns))
    shape = (len(hashes), len(hashes))
    _count, group = connected_components(
        coo_matrix((np.ones(len(pairs[0]), bool), pairs), shape=shape), directed=False
    )
    order = np.argsort(group, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
    return sorted(members.tolist() for members in groups if len(members) > 1)


def _signs(hashes: np.ndarray) -> np.ndarray:
    """(N, 64) float32 of +1 and -1."""
    octets = np.ascontiguousarray(hashes, np.uint64)[:, None].view(np.uint8)
    return np.unpackbits(octets, axis=1).astype(np.float32) * 2 - 1
