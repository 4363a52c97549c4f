"""What the teacher, dlib's net, says of unlabelled faces: an npz with `paths` (N,) and `embeddings` (N, 128)."""

from pathlib import Path

import numpy as np

from augmentor.errors import InputError


def read_teacher(file: Path) -> tuple[list[str], np.ndarray]:
    """Paths inside the zip or folder of faces, and their (N, 128) float32 embeddings.

    Raises:
        InputError: missing, or not such a file.
    """
    try:
        with np.load(file, allow_pickle=False) as stored:
            paths, embeddings = stored["paths"].tolist(), stored["embeddings"].astype(np.float32)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{file}: no npz with `paths` and `embeddings` ({error})") from error
    if len(paths) != len(embeddings) or not len(paths):
        raise InputError(f"{file}: {len(paths)} paths for {len(embeddings)} embeddings")
    return paths, embeddings
