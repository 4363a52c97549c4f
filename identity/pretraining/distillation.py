"""The loss of pre-training: the student's embeddings should have the directions and mutual cosines of the teachers'.

With several teachers, targets and embeddings contain a block of columns for each teacher, in the same order. If a
teacher did not embed a face, its columns are zeros, and the face does not count in the loss of this teacher.

References:
    Park et al., "Relational Knowledge Distillation", CVPR 2019. Here, the compared relations are the cosines of all
    pairs in the batch instead of distances divided by their mean.
"""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from identity.pretraining.teacher_file import blocks


def centred(embeddings: np.ndarray, mean: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Normalise embeddings, subtract the part that all faces share, and normalise again.

    dlib's embeddings share a large part (the mean of their unit vectors has norm 0.91). With this part, all pairs of
    faces would look similar, and the student would learn little else.

    Args:
        embeddings: (N, D) float; rows of zeros stand for faces that were not embedded.
        mean: (D,) mean to subtract; the mean of the given unit vectors if None.

    Returns:
        (N, D) float32 unit vectors, with zeros where there were zeros, and the (D,) float32 mean.

    Example:
        >>> rows, mean = centred(np.array([[1.0, 1.0], [1.0, -1.0]]))
        >>> rows.round(3).tolist()
        [[0.0, 1.0], [0.0, -1.0]]
    """
    unit = _unit(embeddings.astype("f4"))
    embedded = np.abs(unit).sum(axis=1, keepdims=True) > 0
    mean = unit[embedded[:, 0]].mean(axis=0) if mean is None else mean
    return _unit(unit - mean) * embedded, mean.astype("f4")


def centred_blocks(answers: np.ndarray, widths: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Apply `centred` to the columns of each teacher.

    Args:
        answers: (N, sum of widths) embeddings of all teachers side by side.
        widths: number of columns of each teacher.

    Returns:
        (N, sum of widths) float32 unit vectors, and the (sum of widths,) means side by side.
    """
    parts = [centred(answers[:, columns]) for columns in blocks(widths)]
    return np.concatenate([rows for rows, _ in parts], axis=1), np.concatenate([mean for _, mean in parts])


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


def agreement(student: np.ndarray, teacher: np.ndarray) -> float:
    """Return the mean cosine between the rows of two arrays (N, D), which shows how well pre-training proceeds.

    Args:
        student: (N, D) embeddings of the student.
        teacher: (N, D) embeddings of the teacher; rows of zeros, for faces it did not embed, do not count.

    Example:
        >>> agreement(np.array([[2.0, 0.0], [0.0, 3.0]]), np.array([[1.0, 0.0], [1.0, 0.0]]))
        0.5
    """
    embedded = np.abs(teacher).sum(axis=1) > 0
    return float((_unit(student[embedded]) * _unit(teacher[embedded])).sum(axis=1).mean())


def agreements(
    student: np.ndarray, targets: np.ndarray, teachers: Sequence[str], widths: Sequence[int]
) -> dict[str, float]:
    """Return the agreement with each teacher, by the teacher's name.

    Args:
        student: (N, D) embeddings.
        targets: (N, D) embeddings of all teachers side by side.
        teachers: names of the teachers.
        widths: number of columns of each teacher.
    """
    parts = zip(teachers, blocks(widths), strict=True)
    return {name: agreement(student[:, columns], targets[:, columns]) for name, columns in parts}


class DistillationLoss(keras.losses.Loss):
    """1 - cosine to the teacher, plus the squared differences of the cosines of all pairs in the batch.

    Args:
        relation_weight: weight of the second part.
        widths: number of columns of each teacher; with the default there is one teacher.
        weights: weights of the teachers' losses, which are divided by their sum; equal by default.
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
        """Return the loss of each face.

        Args:
            y_true: (N, D) centred embeddings of the teachers; the columns of each are unit rows or zeros.
            y_pred: (N, D) embeddings of the student.

        Returns:
            (N,) float32.
        """
        if len(self.widths) < 2:
            return self._of_one(y_true, y_pred)
        parts = zip(self.weights, blocks(self.widths), strict=True)
        return sum(weight * self._of_one(y_true[:, own], y_pred[:, own]) for weight, own in parts)

    def _of_one(self, teacher: keras.KerasTensor, predicted: keras.KerasTensor) -> keras.KerasTensor:
        """Return the loss of each face for one teacher."""
        student = ops.normalize(ops.cast(predicted, "float32"), axis=-1)
        embedded = ops.cast(ops.sum(ops.square(teacher), axis=-1, keepdims=True) > 0.5, "float32")
        direction = (1 - ops.sum(student * teacher, axis=-1)) * embedded[:, 0]
        relations = ops.matmul(student, ops.transpose(student)) - ops.matmul(teacher, ops.transpose(teacher))
        relations = relations * embedded * ops.transpose(embedded)
        return direction + self.relation_weight * ops.mean(ops.square(relations), axis=-1)
