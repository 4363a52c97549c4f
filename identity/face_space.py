"""The space in which dlib's embeddings are compared: less of what all faces share, its directions evened out a little.

dlib's unit vectors have a mean of length 0.91, and a few directions carry most of what differs. Angles between such
vectors are mostly angles to the mean. Here CENTRE of the mean is taken off, and every principal direction is divided by
its variance to the power of EVENNESS / 2; the result is scaled to length 1. Mean and directions are those of unlabelled
faces, never of the people a model is trained or measured on, so the same space serves every run.

    python -m identity.face_space --teacher faces_unlabelled_dlib.npz --out identity/weights/dlib_space.npz

What the two constants were chosen by: docs/decisions/0016-face-space.md.

Source:
    Mu and Viswanath, "All-but-the-Top: Simple and Effective Postprocessing for Word Representations", ICLR 2018, take
    the mean and the first directions off; differs: in part, and by a power of the variance.
"""

import argparse
import hashlib
import io
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from augmentor.errors import LikenessError
from augmentor.images import write_whole
from identity.features import unit
from identity.shipped import read_shipped
from identity.teacher_file import read_teacher

CENTRE = 0.8
EVENNESS = 0.25
FILE = Path(__file__).parent / "weights" / "dlib_space.npz"
_TERMS = "statistics (a mean, a covariance) of faces that may be used for non-commercial research; no person in them"


@dataclass(frozen=True, eq=False)
class FaceSpace:
    """A linear map of unit vectors, and back to length 1.

    Args:
        origin: (D,) float32, taken off.
        matrix: (D, D) float32, symmetric.
        digest: SHA-256 of the file, hexadecimal.
    """

    origin: np.ndarray
    matrix: np.ndarray
    digest: str

    def __call__(self, embeddings: np.ndarray) -> np.ndarray:
        """(N, D) embeddings of any length -> (N, D) float32 unit rows."""
        return unit((unit(embeddings) - self.origin) @ self.matrix)


def face_space(embeddings: np.ndarray, centre: float = CENTRE, evenness: float = EVENNESS) -> FaceSpace:
    """The space of some faces.

    Args:
        embeddings: (N, D), N several times D; of many people.
        centre: share of the mean that is taken off.
        evenness: 0 keeps the variances as they are, 1 makes them all the same.
    """
    rows = embeddings.astype(np.float64)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    mean = rows.mean(0)
    variance, directions = np.linalg.eigh(np.cov((rows - mean).T))
    # Directions in which dlib's net says nothing have a variance of rounding errors: they are not blown up.
    floor = np.maximum(variance / variance.max(), _LEAST_VARIANCE)
    matrix = (directions * floor ** (-evenness / 2)) @ directions.T
    return FaceSpace((centre * mean).astype(np.float32), matrix.astype(np.float32), "")


_LEAST_VARIANCE = 1e-3  # of the largest


@lru_cache(maxsize=1)
def load_face_space() -> FaceSpace:
    """The space that ships with the package.

    Raises:
        InputError: the file is missing or damaged.
    """
    content, digest = read_shipped(FILE)
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        return FaceSpace(stored["origin"], stored["matrix"], digest)


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the file that ships; exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m identity.face_space", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "--teacher", type=Path, required=True, help="npz with `embeddings` (N, 128) of unlabelled faces"
    )
    parser.add_argument("--out", type=Path, default=FILE, help="file to write; its card goes beside it")
    options = parser.parse_args(arguments)
    try:
        _, embeddings = read_teacher(options.teacher)
        space = face_space(embeddings)
        buffer = io.BytesIO()
        np.savez(buffer, origin=space.origin, matrix=space.matrix)
        digest = hashlib.sha256(buffer.getvalue()).hexdigest()
        card = {
            "name": "dlib_space",
            "faces": len(embeddings),
            "centre": CENTRE,
            "evenness": EVENNESS,
            "terms": _TERMS,
            "sha256": digest,
        }
        write_whole(options.out, buffer.getvalue())
        write_whole(options.out.with_suffix(".json"), (json.dumps(card, indent=2) + "\n").encode())
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{options.out}: {len(embeddings)} faces, sha256 {digest[:12]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
