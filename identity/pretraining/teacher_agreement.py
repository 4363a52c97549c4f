"""How well the student agrees with its teacher, over all held-out faces and by group.

UTKFace's file names say of each face an age, a sex and an ethnicity (`AGE_SEX_ETHNICITY_TIME`), as people or programs
guessed them for that set: rough, in categories of its own, and good enough to see whether a student learnt some groups
less well. Photos named in any other way count in no group.

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
    """The groups of a face by its file's name; none for photos of other sets."""
    found = _NAME.match(PurePosixPath(path).name)
    if not found:
        return []
    age, sex, ethnicity = (int(part) for part in found.groups())
    ages = [f"aged {low} to {high}" for low, high in AGES if low <= age <= high]
    return [*ages, SEXES[sex], ETHNICITIES[ethnicity]]


def agreement_by_group(
    student: np.ndarray, teacher: np.ndarray, paths: Sequence[str], seed: int = 0
) -> dict[str, dict[str, float]]:
    """Mean cosine between the rows of student and teacher, group by group.

    Args:
        student, teacher: (N, D).
        paths: of the N faces.
        seed: of the bootstrap over faces.

    Returns:
        Group to `faces` (how many), `agreement`, `low` and `high` (95 %).
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
