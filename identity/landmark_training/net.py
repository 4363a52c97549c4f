"""The landmark net: plain convolutions from a crop of 80 px to the 68 landmarks and their visibility.

Plain 3×3 convolutions, no depthwise ones: on CPUs they train several times faster for the same accuracy, and the net is
small in any case. The landmarks come from one convolution over the whole last map, because it keeps what was seen
where. A dense layer is the same, but OpenCV 4 reads it wrong: up to 4.11 not at all, from 4.12 on without its bias.
"""

from typing import Any

import numpy as np

from augmentor.faces.landmark_net import SIDE, scaled

_CHANNELS = (16, 32, 64, 96)
_BEFORE_FLAT = 64
_SCALED, _LAST = "scaled", "last"  # names of the layers between which OpenCV runs the net


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
    step = float(scaled(np.ones(())) - scaled(np.zeros(())))
    x = layers.Rescaling(step, offset=float(scaled(np.zeros(()))), name=_SCALED)(pixels)
    x = convolution(x, _CHANNELS[0], 2, kernel=5)
    x = convolution(x, _CHANNELS[1], 2)
    x = layers.Add()([x, convolution(x, _CHANNELS[1])])
    x = residual(convolution(x, _CHANNELS[2], 2), _CHANNELS[2])
    x = residual(convolution(x, _CHANNELS[3], 2), _CHANNELS[3])
    x = convolution(x, _BEFORE_FLAT, kernel=1)
    bias = np.concatenate([mean_landmarks.ravel(), np.zeros(68)]).astype(np.float32)
    last = layers.Conv2D(
        204,
        x.shape[1],
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.002),
        bias_initializer=lambda shape, dtype=None: keras.ops.convert_to_tensor(bias, dtype),
        name=_LAST,
    )
    return keras.Model(pixels, layers.Flatten()(last(x)))


def lite_file(model: Any) -> bytes:
    """Return a trained net as a TensorFlow Lite file with 16-bit weights, for a crop and its mirror image at once.

    The file maps what `augmentor.faces.landmark_net.scaled` gives, (2, 80, 80, 3) float32, to (2, 1, 1, 204).
    """
    import keras
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    # Only what OpenCV reads right from 4.8 on: no scaling, no flat layer.
    inner = keras.Model(model.get_layer(_SCALED).output, model.get_layer(_LAST).output)
    signature = [tf.TensorSpec((2, SIDE, SIDE, 3), tf.float32)]
    call = tf.function(lambda crops: inner(crops, training=False), input_signature=signature, autograph=False)
    constant = convert_variables_to_constants_v2(call.get_concrete_function())
    converter = tf.lite.TFLiteConverter.from_concrete_functions([constant], inner)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]
    return bytes(converter.convert())
