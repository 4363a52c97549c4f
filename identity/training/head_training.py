"""Train a head on frozen maps: margin softmax, early stopping on held-out photos, resumable after a kill.

Order and dropout in an epoch depend only on the seed and the number of the epoch, and everything else is in the
checkpoint. A training that is killed and started again therefore ends like one that was not, except for the order in
which threads add up floats.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

from augmentor.errors import InputError
from identity.networks.features import FrozenBackbone, Maps
from identity.networks.head_config import HeadConfig
from identity.networks.heads import (
    MarginSoftmax,
    build_head,
    build_loss,
    embedding_model,
    set_prototypes,
)
from identity.training.checkpoint import best_weights, load_checkpoint, save_checkpoint
from identity.training.learning_curves import History


@dataclass(frozen=True)
class FitConfig:
    """Settings for fitting a head.

    Attributes:
        epochs: at most.
        batch: images per step.
        learning_rate: its peak. It rises over the first half epoch and falls along a cosine to almost 0.
        weight_decay: of AdamW.
        patience: the training stops after this many epochs in a row without more held-out photos named rightly.
        margin_epochs: epochs over which the margin grows from 0 to its full size.
        seed: of everything random.
    """

    epochs: int = 8
    batch: int = 256
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    patience: int = 3
    margin_epochs: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 2 or self.learning_rate <= 0 or self.patience < 1:
            raise ValueError(f"unusable fitting: {self}")


@dataclass(frozen=True, eq=False)
class TrainedHead:
    """A trained head with what it was trained on.

    Attributes:
        backbone: made the maps.
        maps: of all images of the training set.
        config: of the head.
        model: from maps to an output per person.
        history: of the epochs.
    """

    backbone: FrozenBackbone
    maps: Maps
    config: HeadConfig
    model: keras.Model
    history: History


def train_head(
    config: HeadConfig,
    fit: FitConfig,
    maps: Maps,
    labels: np.ndarray,
    *,
    train_rows: np.ndarray,
    held_rows: np.ndarray,
    mean_rows: np.ndarray,
    checkpoint: Path,
    key: str,
) -> tuple[keras.Model, History]:
    """Train a head, or continue its training.

    Args:
        config: the head.
        fit: how to train.
        maps: source of the maps.
        labels: (N,) class of each row.
        train_rows: rows to train on.
        held_rows: rows of held-out photos, to decide when to stop; may be empty.
        mean_rows: training rows whose class means the prototypes start at.
        checkpoint: file written after each epoch.
        key: stands for everything that the training depends on; a checkpoint with another key is not continued.

    Returns:
        The head with the weights of the best epoch, and the history.

    Raises:
        InputError: the checkpoint cannot be written.
    """
    use_gpu_precision()
    head = build_head(config, fit.seed)
    history = fit_model(
        head,
        build_loss(config),
        fit,
        maps,
        labels,
        train_rows=train_rows,
        held_rows=held_rows,
        checkpoint=checkpoint,
        key=key,
        start=lambda: _start_prototypes(head, config, maps, labels, mean_rows),
    )
    return head, history


def fit_model(
    model: keras.Model,
    loss: keras.losses.Loss,
    fit: FitConfig,
    images: Maps,
    labels: np.ndarray,
    *,
    train_rows: np.ndarray,
    held_rows: np.ndarray,
    checkpoint: Path,
    key: str,
    start: Callable[[], None],
) -> History:
    """Train a classifier, or continue its training; it ends with the weights of its best epoch.

    Args:
        model: from images, or maps of them, to an output per class.
        loss: of labels and outputs.
        fit: how to train.
        images: the input of the model.
        labels: (N,) class of each row.
        train_rows, held_rows, checkpoint, key: see `train_head`.
        start: called before the first epoch, but not when a checkpoint is continued.

    Raises:
        InputError: the checkpoint cannot be written, or the loss is not finite.
    """
    steps = -(-len(train_rows) // fit.batch)
    schedule = keras.optimizers.schedules.CosineDecay(
        fit.learning_rate / 20,
        max(1, steps * fit.epochs - steps // 2),
        alpha=0.01,
        warmup_target=fit.learning_rate,
        warmup_steps=max(1, steps // 2),
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=fit.weight_decay)
    # steps_per_execution and the like stay at 1: the maps come from disk block by block
    model.compile(optimizer, loss, metrics=[keras.metrics.SparseCategoricalAccuracy(name="rank1")])
    model.optimizer.build(model.trainable_variables)
    held = _gather(images, held_rows)
    margin = float(loss.margin.numpy()) if isinstance(loss, MarginSoftmax) else 0.0
    state = load_checkpoint(checkpoint, key, model)
    history = state or History()
    if not state:
        start()
    best = [np.array(w) for w in model.get_weights()] if not state else best_weights(checkpoint)
    while history.epochs < fit.epochs and history.epochs - history.best - 1 < fit.patience:
        _run_epoch(model, loss, margin, fit, images, labels, train_rows, history)
        history.held_out_rank1.append(_rank1(model, held, labels[held_rows], fit.batch))
        if history.best == history.epochs - 1:
            best = [np.array(w) for w in model.get_weights()]
        save_checkpoint(checkpoint, key, model, history, best)
    model.set_weights(best)
    return history


def use_gpu_precision() -> None:
    """Set mixed precision where there is a GPU, and float32 elsewhere, where half floats are slower."""
    import tensorflow as tf

    keras.mixed_precision.set_global_policy(
        "mixed_float16" if tf.config.list_physical_devices("GPU") else "float32"
    )


def run_head(model: keras.Model, maps: np.ndarray, batch: int = 256) -> np.ndarray:
    """Return the (N, D) float32 output of a head, or of its embedding, for (N, s, s, 1280) maps."""
    # called directly: a compiled function would be traced anew for every size of batch
    parts = [
        keras.ops.convert_to_numpy(model(maps[start : start + batch].astype(np.float32), training=False))
        for start in range(0, len(maps), batch)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, model.output_shape[-1]), np.float32)


def _run_epoch(
    head: keras.Model,
    loss: keras.losses.Loss,
    margin: float,
    fit: FitConfig,
    maps: Maps,
    labels: np.ndarray,
    rows: np.ndarray,
    history: History,
) -> None:
    """Train one epoch on `rows`, and append loss and training rank-1 to the history."""
    epoch = history.epochs
    if isinstance(loss, MarginSoftmax):
        loss.margin.assign(margin * min(1.0, epoch / max(1, fit.margin_epochs)))
    for layer in _layers(head):  # dropout differs between epochs, and is the same after a resume
        if isinstance(layer, keras.layers.Dropout):
            layer.seed_generator.state.assign(np.array([fit.seed, epoch + 1], "uint32"))
    trained, loss_sum, right = 0, 0.0, 0.0
    rng = np.random.default_rng([fit.seed, 5, epoch])
    with tqdm(total=len(rows), desc=f"epoch {epoch + 1}/{fit.epochs}", unit="image") as bar:
        for part, batch_maps in maps.batches(rows, fit.batch, rng):
            bar.update(len(part))
            if trained and len(part) < fit.batch // 2:
                continue  # a small last batch would disturb the batch norm; in the next epoch it holds other images
            head.reset_metrics()  # only some versions of Keras do this themselves
            measured = head.train_on_batch(batch_maps.astype(np.float32), labels[part], return_dict=True)
            trained += len(part)
            loss_sum += len(part) * float(measured["loss"])
            right += len(part) * float(measured["rank1"])
            bar.set_postfix(loss=f"{loss_sum / trained:.3f}", rank1=f"{right / trained:.3f}", refresh=False)
    if not np.isfinite(loss_sum):
        raise InputError("training diverged (the loss is not finite); try another --seed or a larger --batch")
    history.loss.append(loss_sum / trained)
    history.train_rank1.append(right / trained)


def _layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """Yield the layers of a model and of the models in it."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _layers(layer)
        else:
            yield layer


def _start_prototypes(
    head: keras.Model, config: HeadConfig, maps: Maps, labels: np.ndarray, rows: np.ndarray
) -> None:
    """Set the cosine head's prototypes to the class means of its untrained embedding."""
    if config.kind != "cosine":
        return
    embed = embedding_model(head, config.kind)
    sums: np.ndarray | None = None
    for part, part_maps in maps.read(rows):
        embeddings = run_head(embed, part_maps)
        sums = np.zeros((config.classes, embeddings.shape[1])) if sums is None else sums
        np.add.at(sums, labels[part], embeddings)
    if sums is not None and (np.linalg.norm(sums, axis=1) > 0).all():
        set_prototypes(head, sums)


def _gather(maps: Maps, rows: np.ndarray) -> np.ndarray:
    """Return the maps of `rows`, in their order: (n, s, s, 1280) float16."""
    out = np.zeros((len(rows), *maps.shape), np.float16)
    order = np.argsort(rows, kind="stable")
    for part, part_maps in maps.read(rows):
        out[order[np.searchsorted(rows[order], part)]] = part_maps
    return out


def _rank1(head: keras.Model, maps: np.ndarray, labels: np.ndarray, batch: int) -> float:
    """Return the fraction of maps whose largest output is that of their label."""
    if not len(maps):
        return float("nan")
    return float((run_head(head, maps, batch).argmax(axis=1) == labels).mean())
