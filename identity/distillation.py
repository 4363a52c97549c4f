"""What pre-training minimises: the student's embedding points where the teacher's does, faces lie as far apart.

References:
    Park et al., "Relational Knowledge Distillation", CVPR 2019: differs, in that the relations compared are the cosines
    of all pairs in the batch rather than distances divided by their mean.
"""

import keras
import numpy as np
from keras import ops


def centred(embeddings: np.ndarray, mean: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors, less what all faces share, made unit again.

    dlib's embeddings share a large part (the mean of their unit vectors has norm 0.91): left in, every pair of faces
    looks alike and the loss learns little else.

    Args:
        embeddings: (N, D) float.
        mean: (D,) to take off; by default the mean of the unit vectors given.

    Returns:
        (N, D) float32 unit vectors, and the (D,) float32 mean.
    """
    unit = _unit(embeddings.astype("f4"))
    mean = unit.mean(axis=0) if mean is None else mean
    return _unit(unit - mean), mean.astype("f4")


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


def agreement(student: np.ndarray, teacher: np.ndarray) -> float:
    """Mean cosine between the rows of two (N, D) arrays; the figure that goes with accuracy during pre-training."""
    return float((_unit(student) * _unit(teacher)).sum(axis=1).mean())


class DistillationLoss(keras.losses.Loss):
    """1 - cosine to the teacher, plus the squared difference of the cosines of all pairs in the batch."""

    def __init__(self, relation_weight: float) -> None:
        super().__init__(name="distillation")
        self.relation_weight = relation_weight

    def call(self, y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
        """Loss per face.

        Args:
            y_true: (N, D) unit rows, the centred teacher.
            y_pred: (N, D), the student.

        Returns:
            (N,) float32.
        """
        student = ops.normalize(ops.cast(y_pred, "float32"), axis=-1)
        direction = 1 - ops.sum(student * y_true, axis=-1)
        relations = ops.matmul(student, ops.transpose(student)) - ops.matmul(y_true, ops.transpose(y_true))
        return direction + self.relation_weight * ops.mean(ops.square(relations), axis=-1)
