"""Train the student of pre-training step by step: its weights, their moving average, its progress, checkpoints."""

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

_AT_ONCE = 50  # faces embedded in one batch
_COMPILING = 2  # first calls of `train_step`, which include compiling
_FITTED = 8000  # faces that the projection of a new teacher is fitted to
_RIDGE = 0.01  # ridge relative to the mean variance


class Pretraining:
    """A student in training, with its optimiser, the moving average of its weights, and its progress.

    Args:
        faces: the faces to learn from.
        recipe: settings of the training.
        work: folder of the cache and the checkpoint.
        on_top: function that makes the student of a backbone; by default it adds the linear projection that is stored
            with the weights.

    Attributes:
        step: number of steps done.
        spent: how much of the budget is spent, in images of the final size.
        seconds: time spent in steps.
        started_from: digest of the weights that the training started from; None if from random ones.
        average: moving average of the weights, in the order of `model.get_weights()`.

    Raises:
        InputError: The recipe does not fit the Keras backend or the number of teachers.
    """

    def __init__(
        self,
        faces: Faces,
        recipe: Recipe,
        work: Path,
        on_top: Callable[[keras.Model], keras.Model] | None = None,
    ) -> None:
        keras.utils.set_random_seed(recipe.seed)
        self.faces, self.recipe, self.work = faces, recipe, work
        any_size = default_builder() == "efficientnet"
        if not any_size and len(recipe.sizes) > 1:
            raise InputError(
                f"several sizes need TensorFlow, but Keras runs on {keras.backend.backend()}; use "
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
        """Progress of the training: 0 at the start, 1 at the end."""
        return self.spent / self.recipe.budget

    @property
    def zoom(self) -> float:
        """Magnification of the cached pictures in the student's views."""
        return self.recipe.zoom * self.faces.cut.room

    def train_step(self) -> tuple[int, float]:
        """Train on one batch; return its size in pixels and its loss.

        Raises:
            InputError: The loss is not finite, or the recipe has blends or jitters, which need JAX.
        """
        if self.recipe.blends or self.recipe.jitters:
            raise InputError(
                "blends and jitters need Keras on JAX; set KERAS_BACKEND=jax, or use --set blends=0 --set jitters=0"
            )
        began = time.monotonic()
        rng = np.random.default_rng([self.recipe.seed, self.step])
        size = int(rng.choice(self.recipe.sizes, p=self.recipe.size_probabilities(self.progress)))
        shown, targets = self.faces.batch(self.recipe, size, rng)
        self.optimizer.learning_rate.assign(self.recipe.learning_rate_at(self.step, self.progress))
        loss = float(self.model.train_on_batch(shown, targets))
        if not math.isfinite(loss):
            raise InputError(
                f"step {self.step}: the loss is not finite; resume from the checkpoint with a lower learning_rate"
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
        """Start from weights that an earlier pre-training wrote, with a new optimiser and a new schedule.

        Args:
            file: the weights.

        Raises:
            InputError: The file cannot be read, or the weights contain no projection.
        """
        weights = load_weights(file)
        if f"{PROJECTION}/kernel" not in weights.arrays:
            raise InputError(
                f"{file}: these weights contain no face embedding; --start needs a file that identity.pretrain wrote"
            )
        fill_backbone(self.model, weights.arrays, str(file))
        self.model.get_layer(PROJECTION).set_weights(self._projection_from(weights))
        self.average = [w.astype("f4") for w in self.model.get_weights()]
        if self.frozen:  # the statistics of their batch norm stay as they are now, so they must fit this size
            for layer in self.frozen:
                layer.trainable = True
            self.model.set_weights(self.average_at(self.recipe.sizes[-1], batches=20))
            for layer in self.frozen:
                layer.trainable = False
            self.average = [w.astype("f4") for w in self.model.get_weights()]
        self.started_from = weights.digest

    def _projection_from(self, weights: Weights) -> list[np.ndarray]:
        """Return kernel and bias of the projection, with the columns that `weights` contain for each teacher.

        For a teacher that the weights have not learnt from, the columns are fitted to the pooled maps, so that the
        training starts from the best prediction that the present trunk allows.
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
        """Return the mean cosine of the averaged student with each teacher on plain views of held-out faces.

        While sizes are mixed, the moving statistics of batch norm fit none of the sizes. Therefore they are estimated
        again here from training faces at this size; the final weights are treated in the same way.

        Args:
            size: side of the views in pixels.
            faces: largest number of faces to measure on.
        """
        rows = self.faces.held_out[:faces]
        kept = self.model.get_weights()
        self.model.set_weights(self.average_at(size, batches=6))
        embeddings = self.embedded(rows, size)
        self.model.set_weights(kept)
        return agreements(embeddings, self.faces.targets[rows], self.faces.teachers, self.faces.widths)

    def embedded(self, rows: np.ndarray, size: int, layer: str = PROJECTION) -> np.ndarray:
        """Return the output of a layer of the student for plain views of faces.

        Args:
            rows: rows of the faces.
            size: side of the views in pixels.
            layer: name of the layer; by default the last one.

        Returns:
            (len(rows), D) float32.
        """
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
        """Return the output of a layer of the student for plain views of other pictures.

        Args:
            pictures: function that returns the pictures (n, E, E, 3) uint8 of some rows.
            rows: rows of the pictures.
            size: side of the views in pixels.
            layer: name of the layer; by default the last one.

        Returns:
            (len(rows), D) float32.
        """
        model = self.model
        if layer != PROJECTION:
            model = keras.Model(self.model.input, self.model.get_layer(layer).output)
        # All batches have the same shape, so that the model is compiled only once.
        filled = np.resize(rows, -(-len(rows) // _AT_ONCE) * _AT_ONCE)
        outputs = [
            model.predict_on_batch(plain(pictures(part), size, self.zoom))
            for part in filled.reshape(-1, _AT_ONCE)
        ]
        return np.concatenate(outputs)[: len(rows)]

    def average_at(self, size: int, batches: int) -> list[np.ndarray]:
        """Return the averaged weights with batch norm fitted to a size; the model itself does not change.

        Args:
            size: side of the views in pixels.
            batches: number of training batches from which the statistics of batch norm are estimated.
        """
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
                values = self.norm_statistics(norms, shown)
                sums = values if sums is None else [a + b for a, b in zip(sums, values, strict=True)]
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
        """Return mean and variance of a batch at each of `norms`, whose momentum must be 0.

        Args:
            norms: layers of batch norm.
            shown: (batch, size, size, 3) float32 RGB 0-255 views.
        """
        self.model(shown, training=True)
        return [
            keras.ops.convert_to_numpy(value)
            for layer in norms
            for value in (layer.moving_mean, layer.moving_variance)
        ]

    def save(self) -> None:
        """Write a checkpoint, completely or not at all."""
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
        """Continue from the checkpoint.

        Raises:
            InputError: There is no checkpoint in the `--work` folder.
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
        """Train to the end of the budget, with checkpoints and a learning curve.

        Only some checkpoints add a row to the learning curve, because measuring the agreement takes about as long as
        ten batches at 150 px.

        Args:
            checkpoint_seconds: time between checkpoints.
            log: file of the learning curve.
            checkpoints_per_row: number of checkpoints per row of the learning curve.
            seconds: if given, the budget is what can be spent in this time, compiling included, at the measured speed.
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
        """Measure the agreement with the teachers and add a row to the learning curve.

        Args:
            log: file of the learning curve.
            loss: mean loss since the last row.
        """
        agreement: dict[str, float] = {}
        for size in sorted({self.recipe.sizes[0], self.recipe.sizes[-1]}):
            by_teacher = self.held_out_agreement(size)
            if len(by_teacher) == 1:
                agreement[f"agreement_{size}"] = next(iter(by_teacher.values()))
            else:
                agreement |= {f"agreement_{size}_{name}": value for name, value in by_teacher.items()}
        append_row(log, self, loss, agreement)
        listed = ", ".join(f"{name} {value:.3f}" for name, value in agreement.items())
        tqdm.write(f"step {self.step}, {listed}")


class Speed:
    """Measures how fast a training proceeds once everything is compiled."""

    def __init__(self) -> None:
        self._calls, self._since, self._from = 0, 0.0, 0.0
        self._now, self._spent = 0.0, 0.0

    def add(self, now: float, spent: float) -> None:
        """Record how much of the budget is spent after a call; the first calls, which compile, do not count.

        Args:
            now: time of a monotonic clock, seconds.
            spent: how much of the budget is spent.
        """
        self._calls += 1
        self._now, self._spent = now, spent
        if self._calls <= _COMPILING:
            self._since, self._from = now, spent

    def budget(self, left: float) -> int | None:
        """Return the budget that can be spent in all, or None while the speed is not known yet.

        Args:
            left: seconds that are left.
        """
        if left <= 0:
            return max(1, math.ceil(self._spent))
        if self._calls < _COMPILING + 3:
            return None
        per_second = (self._spent - self._from) / max(1e-9, self._now - self._since)
        return max(1, math.ceil(self._spent + per_second * left))


def linear_fit(maps: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit targets as a linear function of pooled maps, by ridge regression.

    Args:
        maps: (N, D) pooled maps.
        targets: (N, K) targets; rows of zeros, for faces that the teacher did not embed, do not count.

    Returns:
        Kernel (D, K) and bias (K,), float32.
    """
    embedded = np.abs(targets).sum(1) > 0
    x, y = maps[embedded].astype(np.float64), targets[embedded].astype(np.float64)
    mean, middle = x.mean(0), y.mean(0)
    square = (x - mean).T @ (x - mean)
    square += np.eye(len(square)) * _RIDGE * np.trace(square) / len(square)
    kernel = np.linalg.solve(square, (x - mean).T @ (y - middle))
    return kernel.astype(np.float32), (middle - mean @ kernel).astype(np.float32)


def frozen_layers(model: keras.Model, first_trained: str) -> list[keras.layers.Layer]:
    """Return the layers of the B0 that training must not change.

    Args:
        model: the student.
        first_trained: name of the first layer that is trained; "" if all are.

    Raises:
        InputError: The B0 has no layer of this name.
    """
    if not first_trained:
        return []
    layers = model.get_layer("efficientnet-b0").layers
    names = [layer.name for layer in layers]
    if first_trained not in names:
        raise InputError(
            f"--set frozen_before={first_trained}: no layer of the B0 has this name; an example is block4a_expand_conv"
        )
    return list(layers[: names.index(first_trained)])


def append_row(log: Path, training: Pretraining, loss: float, agreement: dict[str, float]) -> None:
    """Append a row to the file of the learning curve.

    Args:
        log: the file; made with a header if it does not exist.
        training: the training.
        loss: mean loss since the last row.
        agreement: agreements by the names of their columns.
    """
    new = not log.exists()
    with log.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(["seconds", "step", "progress", "loss", *agreement])
        row = [round(training.seconds), training.step, round(training.progress, 4), round(loss, 4)]
        writer.writerow(row + [round(value, 4) for value in agreement.values()])
