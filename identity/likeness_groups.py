"""Which unnamed faces are the same person's: groups by likeness, for naming a whole group at once.

Faces are taken in turn, the best seen first, and join the nearest group whose mean they are like, or begin one; then
groups whose means are alike are joined. That needs memory for the groups' means only, and the same faces give the same
groups.
"""

import numpy as np

from identity.face_space import unit


def likeness_groups(embeddings: np.ndarray, quality: np.ndarray, threshold: float) -> np.ndarray:
    """Group numbers, the largest group being 0.

    Args:
        embeddings: (N, D) unit rows.
        quality: (N,) how well each face is seen; the best begin groups.
        threshold: cosine from which a face and the mean of a group, or the means of two groups, are taken for one
            person's.

    Returns:
        (N,) int; groups of equal size are numbered by their first face.
    """
    sums = np.zeros((0, embeddings.shape[1] if embeddings.ndim == 2 else 0))
    group = np.full(len(embeddings), -1)
    for row in np.argsort(-quality, kind="stable"):
        cosines = unit(sums) @ embeddings[row] if len(sums) else np.zeros(0)
        if len(cosines) and cosines.max() >= threshold:
            group[row] = int(cosines.argmax())
            sums[group[row]] += embeddings[row]
        else:
            group[row] = len(sums)
            sums = np.concatenate([sums, embeddings[row][None]])
    group = _joined(group, sums, threshold)
    numbers, first, sizes = np.unique(group, return_index=True, return_counts=True)
    order = numbers[np.lexsort((first, -sizes))]
    place = np.zeros(len(sums), np.int64)
    place[order] = np.arange(len(order))
    return place[group]


def _joined(group: np.ndarray, sums: np.ndarray, threshold: float) -> np.ndarray:
    """Groups whose means are alike made one, the most alike first; a group that grew is compared by its new mean."""
    if len(sums) < 2:
        return group
    means, totals = unit(sums), sums.copy()
    cosines = means @ means.T
    first, second = np.nonzero(np.triu(cosines >= threshold, 1))
    into = np.arange(len(sums))
    for k in np.argsort(-cosines[first, second], kind="stable"):
        a, b = (_root(into, int(number)) for number in (first[k], second[k]))
        if a != b and float((unit(totals[a]) * unit(totals[b])).sum()) >= threshold:
            into[b] = a
            totals[a] += totals[b]
    return np.array([_root(into, int(number)) for number in group])


def _root(into: np.ndarray, number: int) -> int:
    while into[number] != number:
        number = int(into[number])
    return number
