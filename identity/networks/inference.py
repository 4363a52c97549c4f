"""A Keras model as a plain function of arrays, for inference only."""

from typing import Any

import numpy as np


class Inference:
    """Runs a model with one input and one output whose weights are built in as constants.

    Constants let TensorFlow fold batch norm into the convolutions and save reading variables. Later changes of the
    model's weights have no effect.

    Args:
        model: from (N, *shape) float32 to (N, *out).
        batch: the largest batch that is run at once.
    """

    def __init__(self, model: Any, batch: int = 32) -> None:
        import tensorflow as tf

        self.shape: tuple[int, ...] = tuple(model.input_shape[1:])
        self.out: tuple[int, ...] = tuple(model.output_shape[1:])
        self.batch = batch
        self._run = folded(model)
        self._constant = tf.constant

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Return (N, *out) float32 of (N, *shape) rows of any type."""
        parts = [
            self._run(self._constant(rows[start : start + self.batch].astype(np.float32)))[0].numpy()
            for start in range(0, len(rows), self.batch)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, *self.out), np.float32)


def folded(model: Any) -> Any:
    """Return a Keras model as a TensorFlow function with its weights built in: (N, *shape) float32 -> [tensor]."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)]
    traced = tf.function(model, input_signature=signature, autograph=False).get_concrete_function()
    return convert_variables_to_constants_v2(traced)
