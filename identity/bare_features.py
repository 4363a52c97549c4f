"""Face features without a trained run, for comparing two faces: `--model face|dlib|both`.

They never saw the people they are measured on, so any list of pairs measures them; naming people needs a run.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from augmentor.chip import CHIP_SIZE
from identity.metrics import NEVER

BARE_MODELS = ("face", "dlib", "both")
# Share of dlib's cosine in that of `both`. The two are on different scales: dlib's embeddings of any two
# people have a cosine near 0.83, spread 0.04; those of `face` were trained centred, near 0, spread some
# five times wider.
DLIB_SHARE = 0.9
_BATCH = 32


class BareFeatures:
    """Embeds chips with frozen networks, photo and mirror image averaged.

    A plain class: `__init__` loads, `embed` works.

    Args:
        name: One of `BARE_MODELS`.

    Raises:
        ValueError: Unknown name.
        InputError: A weight file is missing or damaged.
    """

    size = CHIP_SIZE

    def __init__(self, name: str) -> None:
        if name not in BARE_MODELS:
            raise ValueError(f"no bare model {name!r}; known: {', '.join(BARE_MODELS)}")
        self.name = name
        self._networks: list[tuple[float, Callable[[np.ndarray], np.ndarray]]] = []
        if name in ("dlib", "both"):
            self._networks.append((DLIB_SHARE if name == "both" else 1.0, _dlib_network()))
        if name in ("face", "both"):
            self._networks.append((1 - DLIB_SHARE if name == "both" else 1.0, _face_network()))

    def embed(self, chips: np.ndarray) -> np.ndarray:
        """Embed chips.

        Args:
            chips: (N, 150, 150, 3) uint8 RGB.

        Returns:
            (N, D) float32 unit rows; the cosine of two is the weighted mean of the networks' cosines.
        """
        # square roots: a product of two joined vectors then weighs the parts by their shares
        return np.concatenate(
            [np.sqrt(share) * mirror_averaged(network, chips) for share, network in self._networks], axis=1
        ).astype(np.float32)


def mirror_averaged(network: Callable[[np.ndarray], np.ndarray], chips: np.ndarray) -> np.ndarray:
    """(N, D) unit rows: `network` of each chip and of its mirror image, averaged."""
    if not len(chips):
        return network(chips)
    parts = []
    for start in range(0, len(chips), _BATCH):
        some = chips[start : start + _BATCH]
        parts.append(network(some) + network(np.ascontiguousarray(some[:, :, ::-1])))
    return unit_rows(np.concatenate(parts))


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Rows of length 1."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N,) float64 row by row of two (N, D) arrays of unit rows; `NEVER` where a row has NaN (no face)."""
    value = np.einsum("nd,nd->n", a.astype(np.float64), b.astype(np.float64))
    return np.where(np.isnan(value), NEVER, value)


def _dlib_network() -> Callable[[np.ndarray], np.ndarray]:
    from identity.dlib_embedding import DlibEmbedding

    return DlibEmbedding()


def _face_network() -> Callable[[np.ndarray], np.ndarray]:
    # inside, because these import TensorFlow: worker processes that look for faces import this module too
    import keras

    from identity.backbone import face_embedding_model

    model: Any = face_embedding_model("face", CHIP_SIZE)

    def embed(chips: np.ndarray) -> np.ndarray:
        return keras.ops.convert_to_numpy(model(chips.astype(np.float32), training=False))

    return embed
