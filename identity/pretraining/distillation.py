"""What pre-training minimises: the student's embeddings point where the teachers' do, faces lie as far apart.

With several teachers, targets and embeddings hold one block of columns for each, in the same order. A teacher that has
no answer for a face has zeros there, and the face counts nothing in that teacher's loss.

References:
    Park et al., "Relational Knowledge Distillation", CVPR 2019: differs, in that the relations compared are the cosines
    of all pairs in the batch rather than distances divided by their mean.
"""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from identity.pretraining.teacher_file import blocks


def centred(embeddings: np.ndarray, mean: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors, less what all faces share, made unit again.

    dlib's embeddings share a large part (the mean of their unit vectors has norm 0.91): left in, every pair of faces
    looks alike and the loss learns little else.

    Args:
        embeddings: (N, D) float.
        mean: (D,) to take off; by default the mean of the unit vectors given.

    Returns:
        (N, D) float32 unit vectors, zeros where there were zeros, and the (D,) float32 mean.
    """
    unit = _unit(embeddings.astype("f4"))
    answered = np.abs(unit).sum(axis=1, keepdims=True) > 0
    mean = unit[answered[:, 0]].mean(axis=0) if mean is None else mean
    return _unit(unit - mean) * answered, mean.astype("f4")


def centred_blocks(answers: np.ndarray, widths: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return `centred` of every teacher's columns: (N, sum of widths) float32, and the means, side by side."""
    parts = [centred(answers[:, columns]) for columns in blocks(widths)]
    return np.concatenate([rows for rows, _ in parts], axis=1), np.concatenate([mean for _, mean in parts])


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


def agreement(student: np.ndarray, teacher: np.ndarray) -> float:
    """Mean cosine between the rows of two (N, D) arrays; the figure that goes with accuracy during pre-training.

    Rows of zeros of the teacher, which has no answer there, do not count.
    """
    answered = np.abs(teacher).sum(axis=1) > 0
    return float((_unit(student[answered]) * _unit(teacher[answered])).sum(axis=1).mean())


def agreements(
    student: np.ndarray, targets: np.ndarray, teachers: Sequence[str], widths: Sequence[int]
) -> dict[str, float]:
    """Return `agreement` with each teacher by its name."""
    parts = zip(teachers, blocks(widths), strict=True)
    return {name: agreement(student[:, columns], targets[:, columns]) for name, columns in parts}


class DistillationLoss(keras.losses.Loss):
    """1 - cosine to the teacher, plus the squared difference of the cosines of all pairs in the batch.

    Args:
        relation_weight: of the second part.
        widths: of the teachers' columns; by default there is one teacher.
        weights: of the teachers' losses; they are divided by their sum. By default all weigh the same.
    """

    def __init__(
        self, relation_weight: float, widths: Sequence[int] = (), weights: Sequence[float] = ()
    ) -> None:
        super().__init__(name="distillation")
        self.relation_weight = relation_weight
        self.widths = tuple(widths)
        weights = tuple(weights) or (1.0,) * max(1, len(self.widths))
        self.weights = tuple(weight / sum(weights) for weight in weights)

    def call(self, y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
        """Loss per face.

        Args:
            y_true: (N, D) the centred teachers, each one's columns unit rows or zeros.
            y_pred: (N, D), the student.

        Returns:
            (N,) float32.
        """
        if len(self.widths) < 2:
            return self._of_one(y_true, y_pred)
        parts = zip(self.weights, blocks(self.widths), strict=True)
        return sum(weight * self._of_one(y_true[:, own], y_pred[:, own]) for weight, own in parts)

    def _of_one(self, teacher: keras.KerasTensor, predicted: keras.KerasTensor) -> keras.KerasTensor:
        """Loss per face of one teacher."""
        student = ops.normalize(ops.cast(predicted, "float32"), axis=-1)
        answered = ops.cast(ops.sum(ops.square(teacher), axis=-1, keepdims=True) > 0.5, "float32")
        direction = (1 - ops.sum(student * teacher, axis=-1)) * answered[:, 0]
        relations = ops.matmul(student, ops.transpose(student)) - ops.matmul(teacher, ops.transpose(teacher))
        relations = relations * answered * ops.transpose(answered)
        return direction + self.relation_weight * ops.mean(ops.square(relations), axis=-1)
