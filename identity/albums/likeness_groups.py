"""Which unnamed faces are the same person's: groups by likeness, for naming a whole group at once.

Average linkage (Sokal and Michener 1958): the two groups whose faces are most alike on average become one, until no two
are alike enough. What else was tried: docs/decisions/0021-likeness-groups.md.
"""

from typing import Any

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import squareform

_BLOCK = 1024


def likeness_groups(embeddings: np.ndarray, threshold: float, method: str = "average") -> np.ndarray:
    """Group numbers, the largest group being 0.

    Two groups can only become one if some face of one and some face of the other are that much alike: what hangs
    together by such pairs is grouped on its own. That gives the same groups as all faces at once, and needs memory for
    the pairs of the largest such part instead of all pairs.

    Args:
        embeddings: (N, D) unit rows.
        threshold: mean cosine between the faces of two groups from which they are one.
        method: another linkage of scipy's, for comparison: `single` or `complete`.

    Returns:
        (N,) int; groups of equal size are numbered by their first face.
    """
    if not len(embeddings):
        return np.zeros(0, np.int64)
    _count, part = connected_components(_alike(embeddings, threshold), directed=False)
    group = np.zeros(len(embeddings), np.int64)
    order = np.argsort(part, kind="stable")
    begun = 0
    for rows in np.split(order, np.flatnonzero(np.diff(part[order])) + 1):
        group[rows] = begun + (_linked(embeddings[rows], threshold, method) if len(rows) > 1 else 0)
        begun = int(group[rows].max()) + 1
    numbers, first, sizes = np.unique(group, return_index=True, return_counts=True)
    place = np.zeros(begun, np.int64)
    place[numbers[np.lexsort((first, -sizes))]] = np.arange(len(numbers))
    return place[group]


def _alike(embeddings: np.ndarray, threshold: float) -> Any:
    """(N, N) sparse: pairs with at least this cosine."""
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for start in range(0, len(embeddings), _BLOCK):
        rows, columns = np.nonzero(embeddings[start : start + _BLOCK] @ embeddings.T >= threshold)
        upper = rows + start < columns
        found.append((rows[upper] + start, columns[upper]))
    pairs = tuple(np.concatenate(side) for side in zip(*found, strict=True))
    shape = (len(embeddings), len(embeddings))
    return coo_matrix((np.ones(len(pairs[0]), bool), pairs), shape=shape)


def _linked(embeddings: np.ndarray, threshold: float, method: str) -> np.ndarray:
    """Groups among faces that hang together, from 0."""
    cosines = embeddings.astype(np.float64) @ embeddings.T
    tree = linkage(squareform(1 - cosines, checks=False), method)
    return np.asarray(fcluster(tree, 1 - threshold, "distance") - 1, np.int64)
