"""Measure how well the student agrees with its teacher for groups of held-out faces.

The file names of UTKFace contain age, sex and ethnicity of each face (`AGE_SEX_ETHNICITY_TIME`), as people or programs
guessed them for that set. They are rough and use that set's own categories, but they show whether a student learnt some
groups less well. Photos with other names belong to no group.

Source:
    Zhang, Song and Qi, "Age Progression/Regression by Conditional Adversarial Autoencoder", CVPR 2017 (UTKFace).
"""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np

from identity.networks.face_space import unit

AGES = ((0, 12), (13, 24), (25, 44), (45, 64), (65, 116))
SEXES = ("male", "female")
ETHNICITIES = ("White", "Black", "Asian", "Indian", "other ethnicity")
_NAME = re.compile(r"(\d{1,3})_([01])_([0-4])_\d+")
_RESAMPLES = 1000


def groups_of(path: str) -> list[str]:
    """Return the groups of a face by the name of its file; none for photos of other sets.

    Example:
        >>> groups_of("utkface/30_1_2_20170116.jpg")
        ['aged 25 to 44', 'female', 'Asian']
    """
    match = _NAME.match(PurePosixPath(path).name)
    if not match:
        return []
    age, sex, ethnicity = (int(part) for part in match.groups())
    ages = [f"aged {low} to {high}" for low, high in AGES if low <= age <= high]
    return [*ages, SEXES[sex], ETHNICITIES[ethnicity]]


def agreement_by_group(
    student: np.ndarray, teacher: np.ndarray, paths: Sequence[str], seed: int = 0
) -> dict[str, dict[str, float]]:
    """Return the mean cosine between the rows of student and teacher for each group.

    Args:
        student: (N, D) embeddings of the student.
        teacher: (N, D) embeddings of the teacher.
        paths: paths of the N photos.
        seed: seed of the bootstrap over faces.

    Returns:
        For each group, the number of `faces`, the `agreement`, and the limits `low` and `high` of its 95 % interval.
    """
    cosines = (unit(student) * unit(teacher)).sum(axis=1)
    rows: dict[str, list[int]] = {}
    for row, path in enumerate(paths):
        for group in groups_of(path):
            rows.setdefault(group, []).append(row)
    order = [*(f"aged {low} to {high}" for low, high in AGES), *SEXES, *ETHNICITIES]
    rng = np.random.default_rng(seed)
    out = {}
    for group in (group for group in order if group in rows):
        own = cosines[rows[group]]
        means = own[rng.integers(0, len(own), (_RESAMPLES, len(own)))].mean(axis=1)
        low, high = np.quantile(means, [0.025, 0.975])
        out[group] = {
            "faces": len(own),
            "agreement": round(float(own.mean()), 3),
            "low": round(float(low), 3),
            "high": round(float(high), 3),
        }
    return out
