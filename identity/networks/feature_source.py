"""Feature sources: the ways to turn a face chip into a vector.

A run compares faces by one or several sources. Each source gives one part of the joined embedding, and the shares of
the run say how much each part counts. A source is described by a `FeatureSource`, which costs nothing to make and
knows how to load its network; the loaded network is a `SourceNetwork`. `identity.networks.sources` lists the sources of
this program and registers others.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from identity.networks.chip_variants import resized, resized_graph
from identity.networks.face_space import FaceSpace, unit

if TYPE_CHECKING:
    from identity.networks.backbone import Weights
    from identity.networks.features import FrozenBackbone


class Trunk(Protocol):
    """The first step of a source: from chips to what the source's own network takes.

    Sources may share a trunk, which then runs once for all of them. Every trunk takes chips with the geometry of
    `augmentor.faces.chip.cut_chip`, of any size.

    Attributes:
        size: height and width, in pixels, to which the trunk resizes the chips.
    """

    size: int

    def __call__(self, chips: np.ndarray) -> np.ndarray:
        """Return what the network takes, one row for each of the (N, S, S, 3) uint8 RGB chips."""
        ...

    def graph(self, chips: Any) -> Any:
        """Do the same for a Keras tensor (N, S, S, 3) of float32 0-255."""
        ...


class ResizedChips:
    """The trunk of a network that takes pixels: chips resized to one size.

    Args:
        size: height and width in pixels.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, chips: np.ndarray) -> np.ndarray:
        """Return the (N, S, S, 3) uint8 chips as (N, size, size, 3) uint8."""
        return resized(chips, self.size)

    def graph(self, chips: Any) -> Any:
        """Do the same for a Keras tensor (N, S, S, 3) of float32 0-255."""
        return resized_graph(chips, self.size)


@dataclass(frozen=True, eq=False)
class SourceNetwork:
    """The loaded network of a source.

    Attributes:
        trunk: from chips to what `run` and `graph` take; shared by sources that have the same object here.
        run: from the trunk's output to (N, D) float32 rows, of any length.
        graph: the same as Keras operations, for the export of a run.
        space: the space in which the rows are compared; None: they are compared as they are, scaled to length 1.
    """

    trunk: Trunk
    run: Callable[[np.ndarray], np.ndarray]
    graph: Callable[[Any], Any]
    space: FaceSpace | None = None

    def embed(self, chips: np.ndarray) -> np.ndarray:
        """Return the (N, D) float32 rows, of any length, of (N, S, S, 3) uint8 RGB chips."""
        return self.run(self.trunk(chips))

    def compared(self, rows: np.ndarray) -> np.ndarray:
        """Return rows of `embed`, or sums of them, as (N, K) float32 unit rows in the space of the source."""
        return self.space(rows) if self.space is not None else unit(rows)

    def compared_graph(self, rows: Any) -> Any:
        """Do the same as Keras operations, for a tensor of rows."""
        from keras import ops

        unit_rows = ops.normalize(rows, axis=1)
        if self.space is None:
            return unit_rows
        return ops.normalize(ops.matmul(unit_rows - self.space.origin, self.space.matrix), axis=1)


@dataclass(frozen=True, eq=False)
class RunNetworks:
    """The networks of one run that sources are loaded from.

    Attributes:
        backbone: the EfficientNet-B0 with the run's weights; None where no source of the run uses it.
        head: Keras model from the backbone's maps to (N, D) unit rows
            (`identity.networks.heads.embedding_model`); None where no head was trained.
    """

    backbone: FrozenBackbone | None = None
    head: Any = None


@dataclass(frozen=True)
class RunDigests:
    """SHA-256, hexadecimal, of the weights that belong to a run; empty where the run has none.

    Attributes:
        backbone: of the weights file of the EfficientNet-B0.
        head: of the arrays of the head.
    """

    backbone: str = ""
    head: str = ""


def _every_weights(_weights: Weights) -> bool:
    return True


@dataclass(frozen=True)
class FeatureSource:
    """One way to turn a face chip into a vector; its network is not loaded yet.

    Attributes:
        name: a lower-case word; it names the source in shares, in a run's files and in messages.
        load: makes the network from those of the run.
        digest: SHA-256, hexadecimal, of all weights and the space that the source uses. Runs with the same digest give
            embeddings that can be compared.
        uses_backbone: whether the source starts from the maps of the run's EfficientNet-B0.
        trained_on_the_photos: whether the source was trained on the photos of the run. It then recognises these photos
            better than new ones, so only held-out photos may calibrate it.
        faces_only: whether the source is meaningless for photos of things other than faces (`--align whole`).
        fits: whether the source can be used with these weights of the backbone; asked only where `uses_backbone`.
        trusted_alone: whether a run that can choose nothing uses this source alone, and leaves it only for a gain of
            more than two standard errors. Meant for a source that needs no other network and was not trained on the
            photos.
        share_steps: the shares that calibration tries for this source, the remainder being divided among the sources
            registered after it. The last source of a run gets what is left.

    Raises:
        ValueError: the name or the shares cannot be used.
    """

    name: str
    load: Callable[[RunNetworks], SourceNetwork]
    digest: Callable[[RunDigests], str]
    uses_backbone: bool = False
    trained_on_the_photos: bool = False
    faces_only: bool = True
    fits: Callable[[Weights], bool] = _every_weights
    trusted_alone: bool = False
    share_steps: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)

    def __post_init__(self) -> None:
        if not re.fullmatch("[a-z][a-z0-9_]*", self.name):
            raise ValueError(f"a feature source cannot be called {self.name!r}: use lower-case letters")
        if not self.share_steps or not all(0 <= share <= 1 for share in self.share_steps):
            raise ValueError(
                f"feature source {self.name}: shares lie between 0 and 1, not {self.share_steps}"
            )
