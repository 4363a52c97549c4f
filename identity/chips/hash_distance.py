"""Comparison of perceptual hashes: finds pictures that are the same one, encoded or resized again.

Two pictures count as the same if the 64 bits of their `augmentor.photos.images.perceptual_hash` differ in at most
`SAME_PICTURE` places; `identity.runs.leak_guard` says how that number was chosen.
"""

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

SAME_PICTURE = 2
_ROWS = 2048  # Photos compared at once; 2048 of them with 10,000 others take 80 MB.


def nearest_hashes(hashes: np.ndarray, among: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest other hash for each hash.

    Args:
        hashes: (N,) uint64.
        among: (T,) uint64, the others.

    Returns:
        (N,) int64 positions in `among` and (N,) int64 numbers of differing bits.
    """
    # With bits as +1 and -1, the product of two hashes is 64 - 2 * distance, so one matrix product compares all.
    signs = _signs(among).T
    nearest, distance = [], []
    for start in range(0, len(hashes), _ROWS):
        agreement = _signs(hashes[start : start + _ROWS]) @ signs
        best = agreement.argmax(axis=1)
        nearest.append(best)
        distance.append(np.rint((64 - agreement[np.arange(len(best)), best]) / 2).astype(np.int64))
    return np.concatenate(nearest), np.concatenate(distance)


def same_pictures(hashes: np.ndarray, max_distance: int = SAME_PICTURE) -> list[list[int]]:
    """Return groups of pictures that are the same.

    Args:
        hashes: (N,) uint64.
        max_distance: how many bits may differ.

    Returns:
        For each group the positions of its pictures, two or more. Pictures that are connected by a chain of pairs are
        one group.
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
    """Return the bits of (N,) hashes as (N, 64) float32 of +1 and -1."""
    octets = np.ascontiguousarray(hashes, np.uint64)[:, None].view(np.uint8)
    return np.unpackbits(octets, axis=1).astype(np.float32) * 2 - 1
