"""Train the last blocks of the B0 together with a head that was trained on its frozen maps (`--fine-tune BLOCKS`).

What frozen features of faces say of scenes is little; and where many photos of each person and a GPU are there, they
may gain from it, too. Batch norm keeps the statistics it has: batches are small. The weights that come out belong to
the run, they are kept in it.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from identity.networks.backbone import (
    Weights,
    backbone_arrays,
    bare_backbone,
    fill_backbone,
    load_weights,
    save_weights,
)
from identity.networks.chip_variants import middle, resized
from identity.networks.features import read_ahead
from identity.networks.head_config import HeadConfig
from identity.networks.heads import build_head, build_loss
from identity.training.head_training import FitConfig, fit_model
from identity.training.learning_curves import History
from identity.training.training_set import TrainingSet

BLOCKS = 7
FILE = "backbone.npz"


@dataclass(frozen=True)
class FineTuned:
    """What comes out.

    Attributes:
        weights: of the B0, without a space or projection: those were its earlier maps'.
        head: trained with it.
        history: of the epochs.
    """

    weights: Weights
    head: keras.Model
    history: History


class Chips:
    """The images of a training set as a B0 takes them, in place of maps: see `identity.networks.features.Maps`."""

    def __init__(self, data: TrainingSet, size: int, zoom: float) -> None:
        self.shape = (size, size, 3)
        self._data, self._zoom = data, zoom

    def batches(self, rows: np.ndarray, batch: int, rng: np.random.Generator) -> Iterator[tuple]:
        """One epoch: (rows (n,), chips (n, S, S, 3) uint8), shuffled."""
        yield from self._in_order(rng.permutation(rows), batch)

    def read(self, rows: np.ndarray) -> Iterator[tuple]:
        """The chips of `rows`, once each."""
        yield from self._in_order(rows, 64)

    def _in_order(self, rows: np.ndarray, batch: int) -> Iterator[tuple]:
        parts = [rows[start : start + batch] for start in range(0, len(rows), batch)]
        yield from read_ahead(
            (part, resized(middle(self._data.chips(part), self._zoom), self.shape[0])) for part in parts
        )


def fine_tune(
    weights: Weights,
    head: keras.Model,
    config: HeadConfig,
    fit: FitConfig,
    data: TrainingSet,
    blocks: int,
    *,
    train_rows: np.ndarray,
    held_rows: np.ndarray,
    work: Path,
    out: Path,
) -> FineTuned:
    """Train, or go on training, and write the B0's weights to `out`/backbone.npz.

    Args:
        weights: of the B0.
        head: trained on its maps.
        config: of the head.
        fit: how; the learning rate is that of all layers.
        data: images.
        blocks: how many of the B0's seven blocks are trained, from the last one; of all seven its stem, too.
        train_rows, held_rows: see `identity.training.head_training.train_head`.
        work: folder of the checkpoint.
        out: folder of the run.

    Raises:
        InputError: a file cannot be written.
    """
    size = weights.size or data.size
    backbone = bare_backbone(size)
    fill_backbone(backbone, weights.arrays, str(weights.card.get("name", "weights")))
    train_last(backbone, blocks)
    own = build_head(config, fit.seed)
    own.set_weights(head.get_weights())
    joint = keras.Model(backbone.input, own(backbone.output), name="fine_tuned")
    about: list[Any] = [data.digest, weights.digest, config.as_dict(), asdict(fit), blocks]
    about.append(hashlib.sha256(b"".join(w.tobytes() for w in head.get_weights())).hexdigest())
    history = fit_model(
        joint,
        build_loss(config),
        fit,
        Chips(data, size, weights.zoom),
        data.labels,
        train_rows=train_rows,
        held_rows=held_rows,
        checkpoint=work / "fine_tuning.checkpoint.npz",
        key=hashlib.sha256(json.dumps(about).encode()).hexdigest(),
        start=lambda: None,
    )
    card = {"name": "fine-tuned", "size": size, "zoom": weights.zoom, "started_from": weights.digest}
    card["blocks"] = blocks
    save_weights(out / FILE, backbone_arrays(backbone), card)
    return FineTuned(load_weights(out / FILE), own, history)


def train_last(backbone: keras.Model, blocks: int) -> None:
    """Make the last `blocks` of a backbone's seven blocks trainable, batch norm excepted, and nothing else."""
    core = next(layer for layer in backbone.layers if isinstance(layer, keras.Model))
    names = tuple(f"block{number}" for number in range(BLOCKS + 1 - blocks, BLOCKS + 1))
    names += ("top",) + (("stem",) if blocks == BLOCKS else ())
    for layer in core.layers:
        layer.trainable = layer.name.startswith(names) and not isinstance(
            layer, keras.layers.BatchNormalization
        )
