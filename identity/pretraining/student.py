"""The student of a pre-training, step by step: its weights, their average, where it stands, checkpoints."""

import csv
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

from augmentor.errors import InputError
from identity.networks.backbone import (
    PROJECTION,
    Weights,
    bare_backbone,
    default_builder,
    fill_backbone,
    load_weights,
    with_projection,
)
from identity.pretraining.distillation import DistillationLoss, agreements
from identity.pretraining.faces_to_learn import Faces
from identity.pretraining.recipe import Recipe
from identity.pretraining.student_view import plain
from identity.pretraining.teacher_file import blocks

_AT_ONCE = 50  # faces embedded
_COMPILING = 2  # calls of `train_step` at the beginning
_FITTED = 8000  # faces that the projection of a new teacher is fitted to
_RIDGE = 0.01  # of the mean variance


class Pretraining:
    """The student, its optimiser, the moving average of its weights, and where it stands."""

    def __init__(
        self,
        faces: Faces,
        recipe: Recipe,
        work: Path,
        on_top: Callable[[keras.Model], keras.Model] | None = None,
    ) -> None:
        """`on_top` makes the student of a backbone; by default what the weights keep, a linear projection."""
        keras.utils.set_random_seed(recipe.seed)
        self.faces, self.recipe, self.work = faces, recipe, work
        any_size = default_builder() == "efficientnet"
        if not any_size and len(recipe.sizes) > 1:
            raise InputError(
                f"several sizes need TensorFlow, this is Keras on {keras.backend.backend()}: "
                f"--set sizes={recipe.sizes[-1]} --set first_shares=1"
            )
        backbone = bare_backbone(None if any_size else recipe.sizes[-1])
        self.model = on_top(backbone) if on_top else with_projection(backbone, sum(faces.widths))
        for layer in self.model.get_layer("efficientnet-b0").layers:
            if isinstance(layer, keras.layers.Dropout):
                layer.rate *= recipe.drop_connect / 0.2
        self.frozen = frozen_layers(self.model, recipe.frozen_before)
        for layer in self.frozen:
            layer.trainable = False
        self.optimizer = keras.optimizers.AdamW(
            recipe.learning_rate, weight_decay=recipe.weight_decay, clipnorm=5.0
        )
        self.optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
        weights = recipe.weights_of(len(faces.teachers))
        self.loss = DistillationLoss(recipe.relation_weight, faces.widths, weights)
        self.model.compile(self.optimizer, self.loss, jit_compile="auto" if not any_size else False)
        self.optimizer.build(self.model.trainable_variables)
        self.step, self.spent, self.seconds = 0, 0.0, 0.0
        self.started_from: str | None = None
        self.average = [w.astype("f4") for w in self.model.get_weights()]

    @property
    def progress(self) -> float:
        """0 at the start, 1 at the end."""
        return self.spent / self.recipe.budget

    @property
    def zoom(self) -> float:
        """How much closer than its pictures the student looks."""
        return self.recipe.zoom * self.faces.cut.room

    def train_step(self) -> tuple[int, float]:
        """One batch; its size and loss.

        Raises:
            InputError: the loss is not finite, or the recipe asks for blends.
        """
        if self.recipe.blends or self.recipe.jitters:
            raise InputError(
                "blends and jitters are made where Keras runs on JAX: KERAS_BACKEND=jax, or --set blends=0"
            )
        began = time.monotonic()
        rng = np.random.default_rng([self.recipe.seed, self.step])
        size = int(rng.choice(self.recipe.sizes, p=self.recipe.size_probabilities(self.progress)))
        shown, targets = self.faces.batch(self.recipe, size, rng)
        self.optimizer.learning_rate.assign(self.recipe.learning_rate_at(self.step, self.progress))
        loss = float(self.model.train_on_batch(shown, targets))
        if not math.isfinite(loss):
            raise InputError(
                f"step {self.step}: the loss is not finite; go on from the checkpoint with a smaller rate"
            )
        kept = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
        for average, weight in zip(self.average, self.model.get_weights(), strict=True):
            average *= kept
            average += (1 - kept) * weight
        self.step += 1
        self.spent += self.recipe.cost(size)
        self.seconds += time.monotonic() - began
        return size, loss

    def start_from(self, file: Path) -> None:
        """Begin with weights that an earlier pre-training wrote, a new optimiser and a new schedule.

        Raises:
            InputError: no such weights, or they carry no projection.
        """
        weights = load_weights(file)
        if f"{PROJECTION}/kernel" not in weights.arrays:
            raise InputError(
                f"{file}: no face embedding in these weights; --start takes a file of this program"
            )
        fill_backbone(self.model, weights.arrays, str(file))
        self.model.get_layer(PROJECTION).set_weights(self._projection_from(weights))
        self.average = [w.astype("f4") for w in self.model.get_weights()]
        if self.frozen:  # their batch norm keeps the statistics it has now: make them this size's
            for layer in self.frozen:
                layer.trainable = True
            self.model.set_weights(self.average_at(self.recipe.sizes[-1], batches=20))
            for layer in self.frozen:
                layer.trainable = False
            self.average = [w.astype("f4") for w in self.model.get_weights()]
        self.started_from = weights.digest

    def _projection_from(self, weights: Weights) -> list[np.ndarray]:
        """Return kernel and bias of the projection, the columns of each teacher those that `weights` have for it.

        What a teacher that the weights have not learnt from says is fitted to the pooled maps, so that the training
        begins with the best that the trunk can tell of it as it is.
        """
        kernel, bias = weights.arrays[f"{PROJECTION}/kernel"], weights.arrays[f"{PROJECTION}/bias"]
        has = weights.card.get("teachers") or {"dlib": len(bias)}
        known = dict(zip(has, blocks(tuple(has.values())), strict=True))
        parts, maps = [], None
        for name, columns in zip(self.faces.teachers, blocks(self.faces.widths), strict=True):
            if name in known:
                parts.append((kernel[:, known[name]], bias[known[name]]))
                continue
            if maps is None:
                rows = np.random.default_rng(0).permutation(self.faces.training)[:_FITTED]
                maps = self.embedded(rows, self.recipe.sizes[-1], "pool")
            parts.append(linear_fit(maps, self.faces.targets[rows][:, columns]))
        return [np.concatenate([part[k] for part in parts], axis=-1) for k in (0, 1)]

    def held_out_agreement(self, size: int, faces: int = 300) -> dict[str, float]:
        """Mean cosine of the averaged student to each teacher on held-out faces at `size`, plain chips.

        While sizes are mixed, batch norm's moving statistics fit none of them, so they are estimated here anew at this
        size from training faces; the final weights get the same treatment.
        """
        rows = self.faces.held_out[:faces]
        kept = self.model.get_weights()
        self.model.set_weights(self.average_at(size, batches=6))
        found = self.embedded(rows, size)
        self.model.set_weights(kept)
        return agreements(found, self.faces.targets[rows], self.faces.teachers, self.faces.widths)

    def embedded(self, rows: np.ndarray, size: int, layer: str = PROJECTION) -> np.ndarray:
        """Return what a layer of the student, by default its last, makes of plain chips: (len(rows), D)."""
        return self.embedded_pictures(
            lambda part: self.faces.cut.student(self.faces.chips[part]), rows, size, layer
        )

    def embedded_pictures(
        self,
        pictures: Callable[[np.ndarray], np.ndarray],
        rows: np.ndarray,
        size: int,
        layer: str = PROJECTION,
    ) -> np.ndarray:
        """Return the same of other pictures; `pictures` gives those of some rows."""
        model = self.model
        if layer != PROJECTION:
            model = keras.Model(self.model.input, self.model.get_layer(layer).output)
        filled = np.resize(
            rows, -(-len(rows) // _AT_ONCE) * _AT_ONCE
        )  # one shape, so that nothing is compiled twice
        found = [
            model.predict_on_batch(plain(pictures(part), size, self.zoom))
            for part in filled.reshape(-1, _AT_ONCE)
        ]
        return np.concatenate(found)[: len(rows)]

    def average_at(self, size: int, batches: int) -> list[np.ndarray]:
        """The averaged weights with batch norm's statistics estimated anew at `size`; the model is left as it was."""
        kept = self.model.get_weights()
        self.model.set_weights(self.average)
        norms = [
            layer
            for layer in self.model.get_layer("efficientnet-b0").layers
            if isinstance(layer, keras.layers.BatchNormalization)
        ]
        momenta = [layer.momentum for layer in norms]
        sums: list[np.ndarray] | None = None
        rng = np.random.default_rng(self.recipe.seed)
        try:
            for layer in norms:
                layer.momentum = 0.0
            for _ in range(batches):
                shown, _targets = self.faces.batch(self.recipe, size, rng)
                found = self.norm_statistics(norms, shown)
                sums = found if sums is None else [a + b for a, b in zip(sums, found, strict=True)]
            assert sums is not None
            means = [s / batches for s in sums]
            for k, layer in enumerate(norms):
                layer.moving_mean.assign(means[2 * k])
                layer.moving_variance.assign(means[2 * k + 1])
            return self.model.get_weights()
        finally:
            for layer, momentum in zip(norms, momenta, strict=True):
                layer.momentum = momentum
            self.model.set_weights(kept)

    def norm_statistics(
        self, norms: list[keras.layers.BatchNormalization], shown: np.ndarray
    ) -> list[np.ndarray]:
        """Mean and variance that each of `norms`, their momentum 0, finds in a batch."""
        self.model(shown, training=True)
        return [
            keras.ops.convert_to_numpy(value)
            for layer in norms
            for value in (layer.moving_mean, layer.moving_variance)
        ]

    def save(self) -> None:
        """Checkpoint, whole or not at all."""
        arrays: dict[str, Any] = {"step": self.step, "spent": self.spent, "seconds": self.seconds}
        arrays["started_from"] = self.started_from or ""
        for prefix, values in (
            ("w", self.model.get_weights()),
            ("a", self.average),
            ("o", [np.asarray(v) for v in self.optimizer.variables]),
        ):
            arrays |= {f"{prefix}{k}": v for k, v in enumerate(values)}
        temporary = self.work / "checkpoint.tmp.npz"
        np.savez(temporary, **arrays)
        temporary.replace(self.work / "checkpoint.npz")

    def resume(self) -> None:
        """Go on from the checkpoint.

        Raises:
            InputError: there is none in `--work`.
        """
        file = self.work / "checkpoint.npz"
        if not file.is_file():
            raise InputError(f"{file}: no checkpoint to resume from; start without --resume")
        with np.load(file, allow_pickle=False) as saved:
            self.model.set_weights([saved[f"w{k}"] for k in range(len(self.average))])
            self.average = [saved[f"a{k}"] for k in range(len(self.average))]
            for k, variable in enumerate(self.optimizer.variables):
                variable.assign(saved[f"o{k}"])
            self.started_from = str(saved["started_from"]) or None
            self.step, self.spent, self.seconds = (
                int(saved["step"]),
                float(saved["spent"]),
                float(saved["seconds"]),
            )

    def run(
        self,
        checkpoint_seconds: float,
        log: Path,
        checkpoints_per_row: int = 4,
        seconds: float | None = None,
    ) -> None:
        """Train to the end of the budget, with a checkpoint every `checkpoint_seconds`.

        Every fourth adds a row to `log`: measuring the agreement takes about as long as ten batches at 150 px.

        Args:
            checkpoint_seconds: between checkpoints.
            log: file of the learning curve.
            checkpoints_per_row: how many checkpoints make one row.
            seconds: where it is given, the budget is as much as can be done in this time, compiling included, at the
                speed that is measured on the way.
        """
        bar = tqdm(total=self.recipe.budget, initial=round(self.spent), unit="img", desc="pre-training")
        began = since = time.monotonic()
        losses: list[float] = []
        checkpoints, speed = 0, Speed()
        while self.spent < self.recipe.budget:
            before = self.spent
            size, loss = self.train_step()
            now = time.monotonic()
            losses.append(loss)
            if seconds is not None:
                speed.add(now, self.spent)
                budget = speed.budget(seconds - (now - began))
                if budget is not None:
                    self.recipe = replace(self.recipe, budget=budget)
                    bar.total = self.recipe.budget
            bar.update(round(self.spent) - round(before))
            bar.set_postfix(step=self.step, size=size, loss=f"{np.mean(losses[-50:]):.3f}")
            if now - since > checkpoint_seconds:
                self.save()
                checkpoints += 1
                if checkpoints % checkpoints_per_row == 0:
                    self.note(log, float(np.mean(losses)))
                    losses = []
                since = time.monotonic()
        self.save()
        bar.close()

    def note(self, log: Path, loss: float) -> None:
        """Add a row to the learning curve."""
        found: dict[str, float] = {}
        for size in sorted({self.recipe.sizes[0], self.recipe.sizes[-1]}):
            by_teacher = self.held_out_agreement(size)
            if len(by_teacher) == 1:
                found[f"agreement_{size}"] = next(iter(by_teacher.values()))
            else:
                found |= {f"agreement_{size}_{name}": value for name, value in by_teacher.items()}
        append_row(log, self, loss, found)
        told = ", ".join(f"{name} {value:.3f}" for name, value in found.items())
        tqdm.write(f"step {self.step}, {told}")


class Speed:
    """How fast a training goes on once everything is compiled."""

    def __init__(self) -> None:
        self._calls, self._since, self._from = 0, 0.0, 0.0
        self._now, self._spent = 0.0, 0.0

    def add(self, now: float, spent: float) -> None:
        """Note how much of the budget is spent; the first calls, which compile, do not count."""
        self._calls += 1
        self._now, self._spent = now, spent
        if self._calls <= _COMPILING:
            self._since, self._from = now, spent

    def budget(self, left: float) -> int | None:
        """Return what can be spent in all if so many seconds are left; None while that is not known."""
        if left <= 0:
            return max(1, math.ceil(self._spent))
        if self._calls < _COMPILING + 3:
            return None
        per_second = (self._spent - self._from) / max(1e-9, self._now - self._since)
        return max(1, math.ceil(self._spent + per_second * left))


def linear_fit(maps: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return kernel (D, K) and bias (K,) of the ridge regression from maps (N, D) to targets (N, K).

    Rows of zeros of the targets, which are no answers, do not count.
    """
    answered = np.abs(targets).sum(1) > 0
    x, y = maps[answered].astype(np.float64), targets[answered].astype(np.float64)
    mean, middle = x.mean(0), y.mean(0)
    square = (x - mean).T @ (x - mean)
    square += np.eye(len(square)) * _RIDGE * np.trace(square) / len(square)
    kernel = np.linalg.solve(square, (x - mean).T @ (y - middle))
    return kernel.astype(np.float32), (middle - mean @ kernel).astype(np.float32)


def frozen_layers(model: keras.Model, first_trained: str) -> list[keras.layers.Layer]:
    """The layers of the B0 before `first_trained`, which training leaves as they are.

    Raises:
        InputError: the B0 has no layer of that name.
    """
    if not first_trained:
        return []
    layers = model.get_layer("efficientnet-b0").layers
    names = [layer.name for layer in layers]
    if first_trained not in names:
        raise InputError(f"--set frozen_before={first_trained}: no layer of the B0; e.g. block4a_expand_conv")
    return list(layers[: names.index(first_trained)])


def append_row(log: Path, training: Pretraining, loss: float, agreement: dict[str, float]) -> None:
    """One line of the learning curve."""
    new = not log.exists()
    with log.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(["seconds", "step", "progress", "loss", *agreement])
        row = [round(training.seconds), training.step, round(training.progress, 4), round(loss, 4)]
        writer.writerow(row + [round(value, 4) for value in agreement.values()])
