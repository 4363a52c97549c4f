"""What a teacher says of unlabelled faces: an npz with `paths` (N,) and `embeddings` (N, D), of some also `points`.

A row of zeros means that the teacher has no answer. `points` (N, 5, 2) are the five points of
`augmentor.faces.five_points` in the pixels of the picture, zeros where no face was found.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from augmentor.errors import InputError

# The nets that can be asked on a device, by the width of their answers: identity.pretraining.teacher_net.
NAMES = {128: "dlib", 192: "mobilefacenet"}


@dataclass(frozen=True, eq=False)
class Answers:
    """What one teacher says of faces.

    Attributes:
        name: of the teacher.
        paths: of the N faces inside the zip or folder.
        embeddings: (N, D) float32.
        points: (N, 5, 2) float32; None where the file has none.
    """

    name: str
    paths: list[str]
    embeddings: np.ndarray
    points: np.ndarray | None


def read_answers(file: Path) -> Answers:
    """Read a teacher's answers.

    Raises:
        InputError: missing, or not such a file.
    """
    try:
        with np.load(file, allow_pickle=False) as stored:
            paths, embeddings = stored["paths"].tolist(), stored["embeddings"].astype(np.float32)
            points = stored["points"].astype(np.float32) if "points" in stored.files else None
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{file}: no npz with `paths` and `embeddings` ({error})") from error
    if len(paths) != len(embeddings) or not len(paths) or embeddings.ndim != 2:
        raise InputError(f"{file}: {len(paths)} paths for {len(embeddings)} embeddings")
    if points is not None and points.shape != (len(paths), 5, 2):
        raise InputError(f"{file}: {points.shape} points for {len(paths)} paths")
    return Answers(NAMES.get(embeddings.shape[1], file.stem), paths, embeddings, points)


def read_teacher(file: Path) -> tuple[list[str], np.ndarray]:
    """Paths inside the zip or folder of faces, and their (N, D) float32 embeddings.

    Raises:
        InputError: missing, or not such a file.
    """
    answers = read_answers(file)
    return answers.paths, answers.embeddings


def blocks(widths: Sequence[int]) -> Iterator[slice]:
    """Yield the columns of each teacher, whose answers have these widths."""
    start = 0
    for width in widths:
        yield slice(start, start + width)
        start += width
