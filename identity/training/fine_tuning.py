"""Train the last blocks of the B0 together with a head that was trained on its frozen maps (`--fine-tune BLOCKS`).

Frozen features of faces say little about scenes, so runs of whole photos gain from it. Runs of faces may gain as well,
where there are many photos of each person and a GPU. Batch norm keeps its statistics, because batches are small. The
resulting weights belong to the run and are kept in its folder.
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
    """The result of a fine-tuning.

    Attributes:
        weights: of the B0. They have neither space nor projection, which belonged to its earlier maps.
        head: trained together with the B0.
        history: of the epochs.
    """

    weights: Weights
    head: keras.Model
    history: History


class Chips:
    """The images of a training set as the B0 takes them; it has the methods of `identity.networks.features.Maps`."""

    def __init__(self, data: TrainingSet, size: int, zoom: float) -> None:
        self.shape = (size, size, 3)
        self._data, self._zoom = data, zoom

    def batches(self, rows: np.ndarray, batch: int, rng: np.random.Generator) -> Iterator[tuple]:
        """Yield one epoch, shuffled: (rows (n,), chips (n, S, S, 3) uint8)."""
        yield from self._in_order(rng.permutation(rows), batch)

    def read(self, rows: np.ndarray) -> Iterator[tuple]:
        """Yield the chips of `rows`, once each: (rows (n,), chips (n, S, S, 3) uint8)."""
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
    """Train, or continue a training, and write the B0's weights to `out`/backbone.npz.

    Args:
        weights: of the B0.
        head: trained on the maps of the frozen B0.
        config: of the head.
        fit: how to train; all layers have the same learning rate.
        data: the training set.
        blocks: how many of the B0's seven blocks are trained, counted from the last; with all seven, also the stem.
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
