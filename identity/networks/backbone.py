"""The frozen EfficientNet-B0 and its weights.

Two builders give the same network: `efficientnet.tfkeras`, whose layer table is the published one (4,049,564
parameters), and `keras.applications.EfficientNetB0`, which also runs on Keras' other backends. They differ in the input
that they expect and in how they pad inputs of unknown size. This module hides both differences: a backbone takes RGB
0-255. Keras is imported only where a network is built, so reading weights loads no TensorFlow.

References:
    Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019.
    Input normalisation: mean and deviation of ImageNet, with which the published weights were trained.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from augmentor.errors import InputError
from augmentor.photos.images import write_whole
from identity.networks.face_space import FaceSpace
from identity.networks.shipped import read_shipped

if TYPE_CHECKING:
    import keras

FROZEN_PARAMETERS = 4_049_564
EMBEDDING_SIZE = 128
IMAGENET_MEAN = np.array([0.485, 0.456, 0.406])
IMAGENET_DEVIATION = np.array([0.229, 0.224, 0.225])
BUILDERS = ("efficientnet", "keras.applications")
PROJECTION = "projection"
_SPACE = ("space/origin", "space/directions", "space/lengths")
DOWNLOADS = {
    "imagenet": "efficientnet-b0_weights_tf_dim_ordering_tf_kernels_autoaugment_notop.h5",
    "noisy-student": "efficientnet-b0_noisy-student_notop.h5",
}
FACE_WEIGHTS = Path(__file__).parent.parent / "weights" / "face.npz"


@dataclass(frozen=True)
class Weights:
    """Weights of an EfficientNet-B0; weights trained on faces also turn its maps into embeddings.

    Attributes:
        arrays: "layer/variable" to float32 array, 309 of the B0. Weights trained on faces also have `projection/...`,
            by which the B0 learnt from its teachers, and `space/...`, in which its pooled maps are compared.
        digest: SHA-256 of the file, hexadecimal: the key of every cache of features.
        card: recipe, results and terms, as the file states them.
    """

    arrays: dict[str, np.ndarray]
    digest: str
    card: dict[str, Any]

    @property
    def size(self) -> int | None:
        """Height and width, in pixels, of the input that the weights were trained for; None where the card has none."""
        size = self.card.get("size")
        return int(size) if size else None

    @property
    def zoom(self) -> float:
        """Zoom of the input relative to the chip: 1.07 leaves out a margin of 5 of 150 pixels on each side."""
        return float(self.card.get("zoom", 1.0))

    @property
    def embeds(self) -> bool:
        """True if the weights were trained on faces, so that faces can be compared by the pooled maps."""
        return all(name in self.arrays for name in _SPACE)

    @property
    def space(self) -> FaceSpace:
        """The space in which pooled maps are compared; only where `embeds`."""
        origin, directions, lengths = (self.arrays[name] for name in _SPACE)
        return FaceSpace(origin, directions * lengths, self.digest)


def default_builder() -> str:
    """Return the builder for the Keras backend in use: `efficientnet` needs TensorFlow."""
    import keras

    return "efficientnet" if keras.backend.backend() == "tensorflow" else "keras.applications"


def bare_backbone(size: int | None = 150, builder: str | None = None) -> keras.Model:
    """Return an EfficientNet-B0 with random weights, to be trained or filled.

    Args:
        size: height and width of the input in pixels. None means any size; only the builder `efficientnet` can do
            that, since `keras.applications` fixes its padding when the network is built.
        builder: one of `BUILDERS`; by default the one that fits the Keras backend.

    Returns:
        Model from (N, size, size, 3) float32 RGB 0-255 to (N, s, s, 1280); s is 5 at 150.

    Raises:
        ValueError: unknown builder, or `keras.applications` without a size.
    """
    import keras

    builder = builder or default_builder()
    inputs = keras.Input((size, size, 3), name="rgb_0_255")
    if builder == "efficientnet":
        import efficientnet.tfkeras as efficientnet  # imports TensorFlow, so only where it is used

        scaled = keras.layers.Rescaling(
            scale=(1 / (255 * IMAGENET_DEVIATION)).tolist(),
            offset=(-IMAGENET_MEAN / IMAGENET_DEVIATION).tolist(),
            name="normalise",
        )(inputs)
        core = efficientnet.EfficientNetB0(include_top=False, weights=None, input_shape=(size, size, 3))
        return keras.Model(inputs, core(scaled), name="backbone")
    if builder == "keras.applications":
        if size is None:
            raise ValueError("keras.applications.EfficientNetB0 pads for one input size: give `size`")
        core = keras.applications.EfficientNetB0(
            include_top=False, weights=None, input_shape=(size, size, 3), name="efficientnet-b0"
        )
        normalisation = next(x for x in core.layers if isinstance(x, keras.layers.Normalization))
        normalisation.set_weights(
            [IMAGENET_MEAN.astype("f4"), (IMAGENET_DEVIATION**2).astype("f4"), np.array(0, "i4")]
        )
        normalisation.finalize_state()  # otherwise it keeps the mean 0 and variance 1 that it was built with
        return keras.Model(inputs, core(inputs), name="backbone")
    raise ValueError(f"builder {builder!r}: one of {', '.join(BUILDERS)}")


def core_layers(backbone: keras.Model) -> list[keras.layers.Layer]:
    """Return the layers of the B0 inside a backbone that have published weights, in the network's order."""
    import keras

    core = next(layer for layer in backbone.layers if isinstance(layer, keras.Model))
    return [x for x in core.layers if x.weights and not isinstance(x, keras.layers.Normalization)]


def backbone_arrays(backbone: keras.Model) -> dict[str, np.ndarray]:
    """Return the 309 weight arrays of a backbone by "layer/variable"; both builders give the same names."""
    import keras

    return {
        f"{layer.name}/{weight.name}": keras.ops.convert_to_numpy(weight)
        for layer in core_layers(backbone)
        for weight in layer.weights
    }


def fill_backbone(backbone: keras.Model, arrays: dict[str, np.ndarray], source: str) -> None:
    """Put weights into a backbone.

    Raises:
        InputError: an array is missing, has another shape or is not finite. No layer silently keeps random weights.
    """
    for layer in core_layers(backbone):
        values = []
        for weight in layer.weights:
            name = f"{layer.name}/{weight.name}"
            if name not in arrays or tuple(arrays[name].shape) != tuple(weight.shape):
                raise InputError(
                    f"{source}: these are not weights of an EfficientNet-B0 ({name} is missing or has another shape)"
                )
            if not np.isfinite(arrays[name]).all():
                raise InputError(
                    f"{source}: {name} is not finite; make the weights again with identity.pretrain"
                )
            values.append(arrays[name])
        layer.set_weights(values)


def build_backbone(
    weights: str | Path | Weights = "face", size: int = 150, builder: str | None = None
) -> keras.Model:
    """Return the frozen backbone.

    Args:
        weights: `face` (ships with the package), `imagenet` or `noisy-student` (downloaded by the package
            `efficientnet`, checksum verified), the path of a file made by `identity.pretrain`, or loaded `Weights`.
        size: height and width of the input in pixels.
        builder: one of `BUILDERS`; by default the one that fits the Keras backend.

    Returns:
        Model, not trainable, from (N, size, size, 3) float32 RGB 0-255 to (N, s, s, 1280) float32.

    Raises:
        InputError: the weights are missing, damaged or cannot be downloaded. The message says what to do.
    """
    loaded = weights if isinstance(weights, Weights) else load_weights(weights)
    backbone = bare_backbone(size, builder)
    fill_backbone(backbone, loaded.arrays, str(loaded.card.get("name", "weights")))
    backbone.trainable = False
    return backbone


def with_projection(backbone: keras.Model, width: int = EMBEDDING_SIZE) -> keras.Model:
    """Return `backbone` with mean pooling and, on top, a linear projection to `width` numbers with random weights."""
    import keras

    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(backbone.output)
    embedding = keras.layers.Dense(width, name=PROJECTION)(pooled)
    return keras.Model(backbone.input, embedding, name="face_embedding")


def space_arrays(space: FaceSpace) -> dict[str, np.ndarray]:
    """Return a space as arrays of a weights file.

    Each direction keeps 8 bits, which changes cosines in the third decimal.
    """
    lengths = np.maximum(np.abs(space.matrix).max(axis=0), 1e-12) / 127
    directions = np.round(space.matrix / lengths)
    return dict(zip(_SPACE, (space.origin, directions, lengths), strict=True))


def load_weights(weights: str | Path) -> Weights:
    """Load weights by name or path.

    Args:
        weights: `face`, `imagenet`, `noisy-student`, or the path of a file made by `identity.pretrain`.

    Raises:
        InputError: the file is missing, damaged or of another network, or it cannot be downloaded.
    """
    if weights in DOWNLOADS:
        return _download(str(weights))
    if weights == "face":
        return _parse(*read_shipped(FACE_WEIGHTS), FACE_WEIGHTS)
    path = Path(weights)
    if not path.is_file():
        raise InputError(
            f"{path}: no such weights file; --weights takes face, imagenet, noisy-student or a file"
        )
    data = path.read_bytes()
    return _parse(data, hashlib.sha256(data).hexdigest(), path)


def save_weights(path: Path, arrays: dict[str, np.ndarray], card: dict[str, Any]) -> str:
    """Write a weights file.

    Kernels are written as float16 and the directions of the space as int8. Batch norm and biases stay float32: they are
    few, and variances leave the range of float16.

    Args:
        path: of the file.
        arrays: see `Weights`.
        card: see `Weights`.

    Returns:
        SHA-256 of the file, hexadecimal.
    """
    kinds = {"kernel": "f2", "directions": "i1"}
    stored = {name: a.astype(kinds.get(name.split("/")[-1], "f4")) for name, a in arrays.items()}
    stored["card"] = np.frombuffer(json.dumps(card, sort_keys=True).encode(), dtype="u1")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **stored)  # type: ignore[arg-type]
    write_whole(path, buffer.getvalue())
    return hashlib.sha256(buffer.getvalue()).hexdigest()


def _parse(data: bytes, digest: str, path: Path) -> Weights:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        card = json.loads(arrays.pop("card").tobytes())
    except (ValueError, OSError, KeyError, EOFError, AttributeError) as error:
        raise InputError(f"{path}: not a weights file of identity.pretrain, or damaged") from error
    except Exception as error:  # zipfile.BadZipFile and zlib.error share no base
        raise InputError(f"{path}: damaged weights file ({error})") from error
    if f"{PROJECTION}/kernel" in arrays and _SPACE[0] not in arrays:
        raise InputError(
            f"{path}: face weights of an earlier version; identity.pretrain --resume writes them anew"
        )
    return Weights({n: a.astype("f4") for n, a in arrays.items()}, digest, card)


def _download(name: str) -> Weights:
    import efficientnet.tfkeras as efficientnet
    import keras

    home = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
    file = home / "models" / DOWNLOADS[name]
    try:
        core = efficientnet.EfficientNetB0(include_top=False, weights=name, input_shape=(150, 150, 3))
    except Exception as error:  # the download raises whatever the network layer below it does
        raise InputError(
            f"--weights {name}: {file.name} could not be fetched ({type(error).__name__}); on a machine with a network "
            f"download it from the releases of the package efficientnet and put it at {file}, or use --weights face"
        ) from error
    arrays = {
        f"{layer.name}/{weight.name}": keras.ops.convert_to_numpy(weight)
        for layer in core.layers
        for weight in layer.weights
    }
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return Weights(arrays, digest, {"name": name, "source": file.name})
