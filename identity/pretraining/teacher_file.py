"""Read a teacher's embeddings of unlabelled faces: an npz with `paths` (N,), `embeddings` (N, D) and maybe `points`.

A row of zeros means that the teacher did not embed the face. `points` (N, 5, 2) are the five points of
`augmentor.faces.five_points` as (x, y) in pixels of the photo, zeros where no face was detected.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from augmentor.errors import InputError

# Names of the teachers whose networks can run on a device (identity.pretraining.teacher_net), by their width.
NAMES = {128: "dlib", 192: "mobilefacenet"}


@dataclass(frozen=True, eq=False)
class Answers:
    """The embeddings of one teacher.

    Attributes:
        name: name of the teacher.
        paths: paths of the N photos inside the zip or folder.
        embeddings: (N, D) float32; zeros for faces that the teacher did not embed.
        points: (N, 5, 2) float32 five points of each face; None if the file contains none.
    """

    name: str
    paths: list[str]
    embeddings: np.ndarray
    points: np.ndarray | None


def read_answers(file: Path) -> Answers:
    """Read the file of a teacher.

    Args:
        file: the npz.

    Raises:
        InputError: The file cannot be read or does not have the described content.
    """
    try:
        with np.load(file, allow_pickle=False) as stored:
            paths, embeddings = stored["paths"].tolist(), stored["embeddings"].astype(np.float32)
            points = stored["points"].astype(np.float32) if "points" in stored.files else None
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{file}: not an npz with `paths` and `embeddings` ({error})") from error
    if len(paths) != len(embeddings) or not len(paths) or embeddings.ndim != 2:
        raise InputError(f"{file}: {len(paths)} paths, but embeddings of the shape {embeddings.shape}")
    if points is not None and points.shape != (len(paths), 5, 2):
        raise InputError(f"{file}: {len(paths)} paths, but points of the shape {points.shape}")
    return Answers(NAMES.get(embeddings.shape[1], file.stem), paths, embeddings, points)


def read_teacher(file: Path) -> tuple[list[str], np.ndarray]:
    """Return the paths of the N photos inside the zip or folder, and their embeddings (N, D) float32.

    Args:
        file: the npz.

    Raises:
        InputError: The file cannot be read or does not have the described content.
    """
    answers = read_answers(file)
    return answers.paths, answers.embeddings


def blocks(widths: Sequence[int]) -> Iterator[slice]:
    """Yield the columns of each teacher in an array of all teachers' embeddings side by side.

    Args:
        widths: number of columns of each teacher.

    Example:
        >>> list(blocks([128, 192]))
        [slice(0, 128, None), slice(128, 320, None)]
    """
    start = 0
    for width in widths:
        yield slice(start, start + width)
        start += width
