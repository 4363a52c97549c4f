"""The heads that are trained on the frozen backbone's maps: the published head, and a better one.

`seed` is the published head, with which this project began: convolution 3x3x32, dropout, global max pooling, softmax.
It names people by probability and cannot refuse strangers.

`cosine` (the default) learns an embedding in which people lie apart by angle. A 1x1 convolution works on each position,
the mean over positions becomes a unit vector, and the loss compares this vector by cosine with one prototype per
person. The cosine with the right prototype must exceed the others by a margin.

References:
    Wang et al., "CosFace: Large Margin Cosine Loss for Deep Face Recognition", CVPR 2018.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from identity.networks.head_config import HeadConfig

EMBEDDING_LAYER = "embedding"
PROTOTYPES_LAYER = "prototypes"


@keras.saving.register_keras_serializable("likeness")
class CosinePrototypes(keras.layers.Layer):
    """A layer: cosines of unit vectors with one learnt prototype per class, (N, D) -> (N, classes) float32."""

    def __init__(self, classes: int, **options: Any) -> None:
        super().__init__(**options)
        self.classes = classes

    def build(self, input_shape: tuple[int | None, int]) -> None:
        """Create the (D, classes) prototypes."""
        self.prototypes = self.add_weight(
            shape=(input_shape[-1], self.classes), initializer="glorot_uniform", name="prototypes"
        )
        self.built = True

    def call(self, inputs: Any) -> Any:
        """Return the cosines, computed in float32 also under mixed precision."""
        prototypes = ops.cast(self.prototypes, "float32")
        return ops.matmul(ops.cast(inputs, "float32"), ops.normalize(prototypes, axis=0))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the layer, for saving a model."""
        return {**super().get_config(), "classes": self.classes}


class MarginSoftmax(keras.losses.Loss):
    """Cross entropy of scaled cosines, after the right cosine is lowered by a margin.

    `margin` is a variable, so that it can grow during a training.

    Source:
        CosFace, equation 4.
    """

    def __init__(self, scale: float, margin: float) -> None:
        super().__init__(name="margin_softmax")
        self.scale = scale
        self.margin = keras.Variable(margin, trainable=False, dtype="float32", name="margin")

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return (N,) losses of `y_true`, (N,) or (N, 1) int labels, and `y_pred`, (N, C) cosines."""
        labels = ops.cast(ops.reshape(y_true, (-1,)), "int32")
        right = ops.one_hot(labels, y_pred.shape[-1], dtype="float32")
        logits = self.scale * (ops.cast(y_pred, "float32") - self.margin * right)
        return ops.sparse_categorical_crossentropy(labels, logits, from_logits=True)


def seed_head(
    classes: int, map_shape: tuple[int, int, int] = (5, 5, 1280), dropout: float = 0.3, seed: int = 0
) -> keras.Model:
    """Return the published head, from maps to class probabilities.

    With 1,013 classes on a 5x5x1280 map it has 402,101 parameters.
    """
    inputs = keras.Input(map_shape, name="map")
    x = keras.layers.Conv2D(32, 3, activation="relu", name="conv")(inputs)
    x = keras.layers.Dropout(dropout, seed=seed, name="dropout")(x)
    x = keras.layers.GlobalMaxPooling2D(name=EMBEDDING_LAYER)(x)
    # float32 also under mixed precision: a softmax over a thousand classes leaves float16's range
    outputs = keras.layers.Dense(classes, activation="softmax", dtype="float32", name="names")(x)
    return keras.Model(inputs, outputs, name="seed_head")


def cosine_head(
    classes: int,
    map_shape: tuple[int, int, int] = (5, 5, 1280),
    channels: int = 512,
    embedding: int = 256,
    dropout: float = 0.3,
    seed: int = 0,
) -> keras.Model:
    """Return the default head, from maps to cosines with the prototypes of `classes` people.

    Its layer `embedding` gives the unit vectors; `embedding_model` returns a model that ends there.
    """
    inputs = keras.Input(map_shape, name="map")
    x = keras.layers.Conv2D(channels, 1, use_bias=False, name="conv")(inputs)
    x = keras.layers.BatchNormalization(name="conv_norm")(x)
    x = keras.layers.Activation("swish", name="conv_activation")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = keras.layers.Dropout(dropout, seed=seed, name="dropout")(x)
    x = keras.layers.Dense(embedding, use_bias=False, name="project")(x)
    x = keras.layers.UnitNormalization(dtype="float32", name=EMBEDDING_LAYER)(x)
    outputs = CosinePrototypes(classes, dtype="float32", name=PROTOTYPES_LAYER)(x)
    return keras.Model(inputs, outputs, name="cosine_head")


def build_head(config: HeadConfig, seed: int | None = None) -> keras.Model:
    """Return the head that `config` describes.

    Args:
        config: kind and sizes.
        seed: from which the weights are drawn; it also becomes Keras' global seed. None: the weights are random.
    """
    if seed is not None:
        keras.utils.set_random_seed(seed)
    if config.kind == "seed":
        return seed_head(config.classes, config.map_shape, config.dropout, seed or 0)
    return cosine_head(
        config.classes, config.map_shape, config.channels, config.embedding, config.dropout, seed or 0
    )


def build_loss(config: HeadConfig) -> keras.losses.Loss:
    """Return the loss that fits the head's output."""
    if config.kind == "seed":
        return keras.losses.SparseCategoricalCrossentropy(name="softmax")
    return MarginSoftmax(config.scale, config.margin)


def embedding_model(head: keras.Model, kind: str) -> keras.Model:
    """Return a model from maps to the (N, D) unit rows that faces are compared by.

    For the cosine head, this is the layer before the prototypes. For the published head, it is the square roots of the
    class probabilities: unit vectors whose product with the one-hot template of a class is the root of its probability,
    so that names rank as the softmax ranks them.
    """
    if kind == "cosine":
        return keras.Model(head.input, head.get_layer(EMBEDDING_LAYER).output, name="head_embedding")
    return keras.Model(head.input, keras.ops.sqrt(head.output), name="head_embedding")


def set_prototypes(head: keras.Model, class_means: np.ndarray) -> None:
    """Set the prototypes of a cosine head to the class means.

    Args:
        head: a cosine head.
        class_means: (C, D) rows of any length but zero.
    """
    norms = np.maximum(np.linalg.norm(class_means, axis=1, keepdims=True), 1e-12)
    head.get_layer(PROTOTYPES_LAYER).set_weights([(class_means / norms).T.astype(np.float32)])
