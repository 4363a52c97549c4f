"""The space in which embeddings are compared: centred, with its directions evened out.

dlib's unit vectors have a mean of length 0.91, and a few directions carry most of the differences between faces. Angles
between such vectors are mostly angles to the mean. A face space subtracts a part of the mean, divides every principal
direction by its variance to the power of `evenness` / 2, and scales the result to length 1. Mean and directions are
those of unlabelled faces, never of the people on whom a model is trained or measured, so the same space serves every
run.

The space of dlib's embedding has a file of its own:

    python -m identity.pretraining.dlib_space --teacher faces_unlabelled_dlib.npz --out identity/weights/dlib_space.npz

The space of the B0's pooled maps belongs to its weights; `identity.pretrain` writes both. The choice of constants is
described in docs/decisions/0016-face-space.md and 0019-b0-space.md.

Source:
    Mu and Viswanath, "All-but-the-Top: Simple and Effective Postprocessing for Word Representations", ICLR 2018, remove
    the mean and the first directions; differs: the mean is removed in part, directions by a power of their variance.
"""

import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from identity.networks.shipped import read_shipped

CENTRE = 0.8
EVENNESS = 0.25
FILE = Path(__file__).parent.parent / "weights" / "dlib_space.npz"


@dataclass(frozen=True, eq=False)
class FaceSpace:
    """A linear map of unit vectors, whose results are scaled to length 1 again.

    Args:
        origin: (D,) float32, which is subtracted first.
        matrix: (D, K) float32; symmetric where no direction was left out.
        digest: SHA-256 of the file, hexadecimal.
    """

    origin: np.ndarray
    matrix: np.ndarray
    digest: str

    def __call__(self, embeddings: np.ndarray) -> np.ndarray:
        """Return (N, K) float32 unit rows of (N, D) embeddings of any length."""
        return unit((unit(embeddings) - self.origin) @ self.matrix)


def face_space(
    embeddings: np.ndarray, centre: float = CENTRE, evenness: float = EVENNESS, keep: int | None = None
) -> FaceSpace:
    """Return the space of some faces.

    Args:
        embeddings: (N, D) of many people, N several times D.
        centre: share of the mean that is subtracted.
        evenness: 0 keeps the variances as they are, 1 makes them all the same.
        keep: number of directions, those of the largest variance, that become the coordinates of the result. None keeps
            all and turns them back, so that the matrix is symmetric.
    """
    rows = embeddings.astype(np.float64)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    mean = rows.mean(0)
    variance, directions = np.linalg.eigh(np.cov((rows - mean).T))
    if keep is not None:
        matrix = directions[:, -keep:] * np.maximum(variance[-keep:], 1e-12) ** (-evenness / 2)
        return FaceSpace((centre * mean).astype(np.float32), matrix.astype(np.float32), "")
    # Directions that dlib's net does not use vary only by rounding errors; they must not be enlarged.
    floor = np.maximum(variance / variance.max(), _LEAST_VARIANCE)
    matrix = (directions * floor ** (-evenness / 2)) @ directions.T
    return FaceSpace((centre * mean).astype(np.float32), matrix.astype(np.float32), "")


_LEAST_VARIANCE = 1e-3  # of the largest


def unit(rows: np.ndarray) -> np.ndarray:
    """Return (N, D) rows scaled to length 1, float32; a row of zeros stays zero."""
    return (rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)).astype(np.float32)


@lru_cache(maxsize=1)
def load_face_space() -> FaceSpace:
    """Return the space of dlib's embedding that ships with the package.

    Raises:
        InputError: the file is missing or damaged.
    """
    content, digest = read_shipped(FILE)
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        return FaceSpace(stored["origin"], stored["matrix"], digest)
