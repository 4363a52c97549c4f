"""Group unnamed faces that probably show the same person, so that a whole group can be named at once.

The method is average linkage (Sokal and Michener 1958): the two groups whose faces are most similar on average are
merged, until no two groups are similar enough. docs/decisions/0021-likeness-groups.md describes what else was tried.
"""

from typing import Any

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import squareform

_BLOCK = 1024


def likeness_groups(embeddings: np.ndarray, threshold: float, method: str = "average") -> np.ndarray:
    """Group faces by similarity.

    Two groups can only be merged if at least one face of each is as similar as the threshold. Therefore each connected
    part of the graph of such pairs is grouped separately. The groups are the same as those of all faces at once, but
    memory is needed only for the pairs within the largest part.

    Args:
        embeddings: (N, D) unit rows.
        threshold: smallest mean cosine between the faces of two groups at which the groups are merged.
        method: linkage of scipy, `average`, `single` or `complete`; the others are for comparison.

    Returns:
        (N,) int64 group numbers. The largest group is 0; groups of equal size are numbered by their first face.

    Example:
        >>> rows = np.array([[0.0, 1.0], [1.0, 0.0], [0.8, 0.6]])
        >>> likeness_groups(rows, 0.7).tolist()
        [1, 0, 0]
    """
    if not len(embeddings):
        return np.zeros(0, np.int64)
    _count, part = connected_components(_alike(embeddings, threshold), directed=False)
    group = np.zeros(len(embeddings), np.int64)
    order = np.argsort(part, kind="stable")
    count = 0
    for rows in np.split(order, np.flatnonzero(np.diff(part[order])) + 1):
        group[rows] = count + (_linked(embeddings[rows], threshold, method) if len(rows) > 1 else 0)
        count = int(group[rows].max()) + 1
    numbers, first, sizes = np.unique(group, return_index=True, return_counts=True)
    rank = np.zeros(count, np.int64)
    rank[numbers[np.lexsort((first, -sizes))]] = np.arange(len(numbers))
    return rank[group]


def _alike(embeddings: np.ndarray, threshold: float) -> Any:
    """Return the pairs with at least this cosine as a sparse (N, N) matrix; each pair is in the upper triangle."""
    blocks: list[tuple[np.ndarray, np.ndarray]] = []
    for start in range(0, len(embeddings), _BLOCK):
        rows, columns = np.nonzero(embeddings[start : start + _BLOCK] @ embeddings.T >= threshold)
        upper = rows + start < columns
        blocks.append((rows[upper] + start, columns[upper]))
    pairs = tuple(np.concatenate(side) for side in zip(*blocks, strict=True))
    shape = (len(embeddings), len(embeddings))
    return coo_matrix((np.ones(len(pairs[0]), bool), pairs), shape=shape)


def _linked(embeddings: np.ndarray, threshold: float, method: str) -> np.ndarray:
    """Return the group numbers, from 0, of the faces of one connected part."""
    cosines = embeddings.astype(np.float64) @ embeddings.T
    tree = linkage(squareform(1 - cosines, checks=False), method)
    return np.asarray(fcluster(tree, 1 - threshold, "distance") - 1, np.int64)
