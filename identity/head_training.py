"""Train a head on frozen maps: margin softmax, early stopping on held-out photos, resumable after a kill.

What happens in an epoch depends on the seed and the epoch's number alone (order, dropout), and everything else
is in the checkpoint, so a run that is killed and started again ends as one that was not, but for the order
in which threads add up floats.
"""

import io
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

from augmentor.errors import InputError
from augmentor.images import write_whole
from identity.features import Maps
from identity.heads import (
    HeadConfig,
    MarginSoftmax,
    build_head,
    build_loss,
    embedding_model,
    set_prototypes,
)


@dataclass(frozen=True)
class FitConfig:
    """How a head is fitted.

    Attributes:
        epochs: at most.
        batch: images per step.
        learning_rate: its peak; it rises over the first half epoch and falls along a cosine to almost 0.
        weight_decay: of AdamW.
        patience: stop when so many epochs in a row did not name more held-out photos rightly.
        margin_epochs: the margin grows from 0 to its full size over these.
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


@dataclass
class History:
    """One entry per finished epoch; `held_out_rank1` is NaN where nobody has three photos."""

    loss: list[float] = field(default_factory=list)
    train_rank1: list[float] = field(default_factory=list)
    held_out_rank1: list[float] = field(default_factory=list)

    @property
    def epochs(self) -> int:
        """How many are finished."""
        return len(self.loss)

    @property
    def best(self) -> int:
        """Index of the epoch that is kept: most held-out photos named rightly, else the last."""
        if not self.epochs or np.isnan(self.held_out_rank1).all():
            return self.epochs - 1
        return int(np.argmax(self.held_out_rank1))


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
    """Train, or go on training, a head.

    Args:
        config: the head.
        fit: how.
        maps: source of the maps.
        labels: (N,) class of each row.
        train_rows: rows to train on.
        held_rows: rows of held-out photos, to decide when to stop; may be empty.
        mean_rows: training rows that the prototypes' start is the mean of.
        checkpoint: file written after each epoch.
        key: what the run depends on; a checkpoint with another one is not continued.

    Returns:
        The head with the weights of the best epoch, and the history.

    Raises:
        InputError: the checkpoint cannot be written.
    """
    use_gpu_precision()
    head = build_head(config, fit.seed)
    loss = build_loss(config)
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
    head.compile(optimizer, loss, metrics=[keras.metrics.SparseCategoricalAccuracy(name="rank1")])
    head.optimizer.build(head.trainable_variables)
    held_maps = _gather(maps, held_rows)
    state = _load_checkpoint(checkpoint, key, head)
    history = state or History()
    if not state:
        _start_prototypes(head, config, maps, labels, mean_rows)
    best = [np.array(w) for w in head.get_weights()] if not state else _best_weights(checkpoint)
    while history.epochs < fit.epochs and history.epochs - history.best - 1 < fit.patience:
        _run_epoch(head, loss, config, fit, maps, labels, train_rows, history)
        history.held_out_rank1.append(_rank1(head, held_maps, labels[held_rows]))
        if history.best == history.epochs - 1:
            best = [np.array(w) for w in head.get_weights()]
        _save_checkpoint(checkpoint, key, head, history, best)
    head.set_weights(best)
    return head, history


def use_gpu_precision() -> None:
    """Mixed precision where there is a GPU; float32 elsewhere, where half floats are slower."""
    import tensorflow as tf

    keras.mixed_precision.set_global_policy(
        "mixed_float16" if tf.config.list_physical_devices("GPU") else "float32"
    )


def run_head(model: keras.Model, maps: np.ndarray, batch: int = 256) -> np.ndarray:
    """Output of a head, or of its embedding, for (N, s, s, 1280) maps: (N, D) float32."""
    # called as it is: a compiled function would be traced anew for every size of batch
    parts = [
        keras.ops.convert_to_numpy(model(maps[start : start + batch].astype(np.float32), training=False))
        for start in range(0, len(maps), batch)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, model.output_shape[-1]), np.float32)


def _run_epoch(
    head: keras.Model,
    loss: keras.losses.Loss,
    config: HeadConfig,
    fit: FitConfig,
    maps: Maps,
    labels: np.ndarray,
    rows: np.ndarray,
    history: History,
) -> None:
    """One pass over `rows`; appends loss and training rank-1."""
    epoch = history.epochs
    if isinstance(loss, MarginSoftmax):
        loss.margin.assign(config.margin * min(1.0, epoch / max(1, fit.margin_epochs)))
    for layer in head.layers:  # dropout draws anew each epoch, the same after a resume
        if isinstance(layer, keras.layers.Dropout):
            layer.seed_generator.state.assign(np.array([fit.seed, epoch + 1], "uint32"))
    seen, loss_sum, right = 0, 0.0, 0.0
    rng = np.random.default_rng([fit.seed, 5, epoch])
    with tqdm(total=len(rows), desc=f"epoch {epoch + 1}/{fit.epochs}", unit="image") as bar:
        for part, batch_maps in maps.batches(rows, fit.batch, rng):
            bar.update(len(part))
            if seen and len(part) < fit.batch // 2:
                continue  # a few left over would upset the batch norm; next time they are others
            head.reset_metrics()  # some versions of Keras do it themselves
            measured = head.train_on_batch(batch_maps.astype(np.float32), labels[part], return_dict=True)
            seen += len(part)
            loss_sum += len(part) * float(measured["loss"])
            right += len(part) * float(measured["rank1"])
            bar.set_postfix(loss=f"{loss_sum / seen:.3f}", rank1=f"{right / seen:.3f}", refresh=False)
    if not np.isfinite(loss_sum):
        raise InputError("training diverged (the loss is not finite); try another --seed or a larger --batch")
    history.loss.append(loss_sum / seen)
    history.train_rank1.append(right / seen)


def _start_prototypes(
    head: keras.Model, config: HeadConfig, maps: Maps, labels: np.ndarray, rows: np.ndarray
) -> None:
    """Put the cosine head's prototypes at the class means of its untrained embedding."""
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
    """Maps of `rows`, in their order."""
    out = np.zeros((len(rows), *maps.shape), np.float16)
    order = np.argsort(rows, kind="stable")
    for part, part_maps in maps.read(rows):
        out[order[np.searchsorted(rows[order], part)]] = part_maps
    return out


def _rank1(head: keras.Model, maps: np.ndarray, labels: np.ndarray) -> float:
    """Fraction of maps whose largest output is at their label."""
    if not len(maps):
        return float("nan")
    return float((run_head(head, maps).argmax(axis=1) == labels).mean())


def _save_checkpoint(path: Path, key: str, head: keras.Model, history: History, best: list) -> None:
    """Weights, optimizer, history and the best weights, in one file that appears whole."""
    arrays: dict[str, Any] = {f"head_{i:03d}": w for i, w in enumerate(head.get_weights())}
    arrays |= {f"optimizer_{i:03d}": v for i, v in enumerate(_values(head.optimizer.variables))}
    arrays |= {f"best_{i:03d}": w for i, w in enumerate(best)}
    arrays["about"] = np.frombuffer(json.dumps({"key": key, "history": asdict(history)}).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_whole(path, buffer.getvalue())


def _values(variables: list) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(variable) for variable in variables]


def _load_checkpoint(path: Path, key: str, head: keras.Model) -> History | None:
    """Restore head and optimizer; None if there is nothing that fits."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            about = json.loads(stored["about"].tobytes())
            if about["key"] != key:
                return None
            weights = [stored[f"head_{i:03d}"] for i in range(len(head.get_weights()))]
            variables = [stored[f"optimizer_{i:03d}"] for i in range(len(head.optimizer.variables))]
    except Exception as error:  # zipfile, zlib and json errors share no base
        raise InputError(f"{path}: damaged checkpoint ({error}); delete it and run again") from error
    head.set_weights(weights)
    for variable, value in zip(head.optimizer.variables, variables, strict=True):
        variable.assign(value)
    return History(**about["history"])


def _best_weights(path: Path) -> list[np.ndarray]:
    """The best weights in a checkpoint that was just read."""
    with np.load(path, allow_pickle=False) as stored:
        return [stored[name] for name in sorted(stored.files) if name.startswith("best_")]
