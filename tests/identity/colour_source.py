"""A tiny feature source: the colours of a chip, reduced to 4 by 4 pixels. It needs no network and no weights."""

from typing import Any

import numpy as np

from identity.networks.feature_source import (
    FeatureSource,
    ResizedChips,
    RunDigests,
    RunNetworks,
    SourceNetwork,
)

EDGE = 4


def colours(chips: np.ndarray) -> np.ndarray:
    """Return the (N, 48) float32 pixel values of (N, 4, 4, 3) chips, less grey."""
    return chips.reshape(len(chips), -1).astype(np.float32) - 127


def colours_graph(chips: Any) -> Any:
    """Do the same as Keras operations."""
    from keras import ops

    return ops.reshape(chips, (-1, EDGE * EDGE * 3)) - 127.0


def _load(_run: RunNetworks) -> SourceNetwork:
    return SourceNetwork(ResizedChips(EDGE), colours, colours_graph)


def _digest(_run: RunDigests) -> str:
    return "colours of 4 by 4 pixels"


COLOURS = FeatureSource("colours", _load, _digest)
