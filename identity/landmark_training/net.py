"""The landmark net: plain convolutions from a crop of 80 px to the 68 landmarks and their visibility.

Plain 3×3 convolutions, no depthwise ones: on CPUs they train several times faster for the same accuracy, and the net is
small in any case. The landmarks come from a flat layer, because it keeps what was seen where.
"""

from typing import Any

import numpy as np

from augmentor.faces.landmark_net import SIDE

_CHANNELS = (16, 32, 64, 96)
_BEFORE_FLAT = 64


def build_net(mean_landmarks: np.ndarray) -> Any:
    """Return the untrained Keras model: (N, 80, 80, 3) float32 RGB 0-255 to (N, 204).

    The first 136 numbers are the landmarks x0, y0, x1, ..., relative to the crop's middle and side; the last 68 are
    log-odds of being visible.

    Args:
        mean_landmarks: (68, 2), where the untrained net puts the landmarks.
    """
    import keras
    from keras import layers

    def convolution(x: Any, channels: int, stride: int = 1, kernel: int = 3, active: bool = True) -> Any:
        x = layers.Conv2D(channels, kernel, strides=stride, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization(momentum=0.98)(x)
        return layers.ReLU()(x) if active else x

    def residual(x: Any, channels: int) -> Any:
        inner = convolution(convolution(x, channels), channels, active=False)
        return layers.ReLU()(layers.Add()([x, inner]))

    pixels = keras.Input((SIDE, SIDE, 3), name="rgb_0_255")
    x = layers.Rescaling(1 / 64, offset=-2)(pixels)
    x = convolution(x, _CHANNELS[0], 2, kernel=5)
    x = convolution(x, _CHANNELS[1], 2)
    x = layers.Add()([x, convolution(x, _CHANNELS[1])])
    x = residual(convolution(x, _CHANNELS[2], 2), _CHANNELS[2])
    x = residual(convolution(x, _CHANNELS[3], 2), _CHANNELS[3])
    x = layers.Flatten()(convolution(x, _BEFORE_FLAT, kernel=1))
    bias = np.concatenate([mean_landmarks.ravel(), np.zeros(68)]).astype(np.float32)
    out = layers.Dense(
        204,
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.002),
        bias_initializer=lambda shape, dtype=None: keras.ops.convert_to_tensor(bias, dtype),
    )(x)
    return keras.Model(pixels, out)


def lite_file(model: Any) -> bytes:
    """Return a trained net as a TensorFlow Lite file with 16-bit weights, for a crop and its mirror image at once."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    signature = [tf.TensorSpec((2, SIDE, SIDE, 3), tf.float32)]
    call = tf.function(
        lambda pixels: model(pixels, training=False), input_signature=signature, autograph=False
    )
    constant = convert_variables_to_constants_v2(call.get_concrete_function())
    converter = tf.lite.TFLiteConverter.from_concrete_functions([constant], model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]
    return bytes(converter.convert())
