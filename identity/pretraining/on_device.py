"""Pre-training that runs on the accelerator completely: faces, views, blends, teachers, steps and averaged weights.

It is used with Keras' JAX backend (`KERAS_BACKEND=jax`). A step waits for nothing from the host, which only provides
the learning rates. The faces stay on the device; each takes 68 to 120 kB and each render 68 kB.
"""

import math
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax import random
from tqdm import tqdm

from augmentor.errors import InputError
from identity.pretraining.faces_to_learn import Faces
from identity.pretraining.recipe import Recipe
from identity.pretraining.student import Pretraining
from identity.pretraining.teacher_file import blocks
from identity.pretraining.teacher_net import NETS, load_net
from identity.pretraining.views_on_device import blends, mirrored_at_random, moved, views

STEPS_AT_ONCE = 20  # steps that are sent to the device before their losses are checked
_PART = 4096


class DeviceFaces(NamedTuple):
    """`faces_to_learn.Faces` on the device; `renders[ordered[first[row] + k]]` for k < count[row] show face `row`."""

    chips: jax.Array
    targets: jax.Array
    renders: jax.Array
    first: jax.Array
    count: jax.Array
    ordered: jax.Array
    training: jax.Array
    centre: jax.Array


class State(NamedTuple):
    """Everything that a step changes: the variables in Keras' order, and the average of those that are trained."""

    trained: list
    others: list
    optimizer: list
    average: list


class DevicePretraining(Pretraining):
    """`Pretraining` at one size, with all steps on the device.

    Args:
        faces: the faces to learn from.
        recipe: settings of the training.
        work: folder of the cache and the checkpoint.
        nets: folder of the teachers' networks, which embed blends and jitters.

    Raises:
        InputError: The recipe has several sizes; or it has blends or jitters, and the cached chips do not have the size
            of their crop (earlier versions made such caches) or the network of a teacher is missing.
    """

    def __init__(self, faces: Faces, recipe: Recipe, work: Path, nets: Path | None = None) -> None:
        self._nets: list[Any] = []
        self._chips: list[tuple[np.ndarray, np.ndarray] | None] = []
        if recipe.blends or recipe.jitters:
            if faces.chips.shape[1] != faces.cut.edge:
                raise InputError(
                    f"{work}: an earlier version made this cache with chips of {faces.chips.shape[1]} px, but blends "
                    f"need {faces.cut.edge} px; name another --work"
                )
            self._nets = [load_net(name, nets) for name in faces.teachers]
            for name in faces.teachers:
                net = NETS[name]
                as_it_is = net.places is None and (faces.cut.edge, faces.cut.density) == (net.size, 1.0)
                self._chips.append(None if as_it_is else faces.cut.resampling(net.size, net.places))
        super().__init__(faces, recipe, work)
        self._on_device: DeviceFaces | None = None
        self._state: State | None = None
        self._rate = next(
            k for k, v in enumerate(self.optimizer.variables) if v is self.optimizer._learning_rate
        )
        self._step_on_device = jax.jit(self._one_step, donate_argnums=0)
        self._statistics: Any = None

    def train_step(self) -> tuple[int, float]:
        """Train on `STEPS_AT_ONCE` batches, fewer at the end; return their size in pixels and their mean loss.

        Raises:
            InputError: The loss is not finite.
        """
        began = time.monotonic()
        size, cost = self.recipe.sizes[-1], self.recipe.cost(self.recipe.sizes[-1])
        faces, state = self._faces(), self._state or self._begin()
        teachers = self.teacher_values()
        losses = []
        for _ in range(min(STEPS_AT_ONCE, math.ceil((self.recipe.budget - self.spent) / cost))):
            rate = self.recipe.learning_rate_at(self.step, self.progress)
            key = random.fold_in(random.key(self.recipe.seed), self.step)
            kept = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
            state, loss = self._step_on_device(
                state, faces, teachers, key, jnp.float32(rate), jnp.float32(kept)
            )
            losses.append(loss)
            self.step += 1
            self.spent += cost
        self._state = state
        mean = float(jnp.stack(losses).mean())
        if not math.isfinite(mean):
            raise InputError(
                f"step {self.step}: the loss is not finite; resume from the checkpoint with a lower learning_rate"
            )
        self.seconds += time.monotonic() - began
        return size, mean

    def teacher_values(self) -> list[list]:
        """Return the weights of each teacher's network; nothing if no teacher embeds pictures during training."""
        return [[v.value for v in net.variables] for net in self._nets]

    def save(self) -> None:
        """Write a checkpoint, completely or not at all."""
        self._write_back()
        super().save()

    def average_at(self, size: int, batches: int) -> list[np.ndarray]:
        """Return the averaged weights with batch norm fitted to `size`, see `Pretraining.average_at`."""
        self._write_back()
        return super().average_at(size, batches)

    def norm_statistics(
        self, norms: list[keras.layers.BatchNormalization], shown: np.ndarray
    ) -> list[np.ndarray]:
        """Return mean and variance of a batch at each of `norms`, whose momentum must be 0."""
        if self._statistics is None:
            at = {id(v): k for k, v in enumerate(self.model.non_trainable_variables)}
            wanted = [at[id(v)] for norm in norms for v in (norm.moving_mean, norm.moving_variance)]

            def statistics(trained: list, others: list, shown: jax.Array) -> list:
                _, others = self.model.stateless_call(trained, others, shown, training=True)
                return [others[k] for k in wanted]

            self._statistics = jax.jit(statistics)
        values = self._statistics(
            [v.value for v in self.model.trainable_variables],
            [v.value for v in self.model.non_trainable_variables],
            shown,
        )
        return [np.asarray(value) for value in values]

    def _faces(self) -> DeviceFaces:
        """Return the faces on the device; they are copied there when they are first needed."""
        if self._on_device is None:
            faces = self.faces
            # Without renders none is ever used, but the array must have at least one row to index.
            none = np.zeros_like(faces.cut.student(faces.chips[:1]))
            renders = faces.renders if len(faces.renders) else none
            self._on_device = DeviceFaces(
                _on_device(faces.chips, "faces to the device"),
                jnp.asarray(faces.targets),
                _on_device(renders, "renders to the device"),
                jnp.asarray(faces.first),
                jnp.asarray(faces.count),
                jnp.asarray(faces.ordered if len(faces.ordered) else np.zeros(1, int)),
                jnp.asarray(faces.training),
                jnp.asarray(faces.centre),
            )
        return self._on_device

    def _begin(self) -> State:
        """Return the state of the model, its average and its optimiser."""
        model = self.model
        averages = {id(v): a for v, a in zip(model.weights, self.average, strict=True)}
        return State(  # copies, because a step reuses the memory of its state
            [jnp.array(v.value) for v in model.trainable_variables],
            [jnp.array(v.value) for v in model.non_trainable_variables],
            [jnp.array(v.value) for v in self.optimizer.variables],
            [jnp.array(averages[id(v)]) for v in model.trainable_variables],
        )

    def _write_back(self) -> None:
        """Copy the state on the device to the model, its average and the optimiser."""
        if self._state is None:
            return
        model, state = self.model, self._state
        for variables, values in (
            (model.trainable_variables, state.trained),
            (model.non_trainable_variables, state.others),
            (self.optimizer.variables, state.optimizer),
        ):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(jnp.array(value))
        averages = {id(v): a for v, a in zip(model.trainable_variables, state.average, strict=True)}
        self.average = [np.array(averages.get(id(w), w.value), np.float32) for w in model.weights]

    def _one_step(
        self,
        state: State,
        faces: DeviceFaces,
        teachers: list[list],
        key: jax.Array,
        rate: jax.Array,
        kept: jax.Array,
    ) -> tuple[State, jax.Array]:
        """Train on one batch; return the next state and the loss."""
        shown, targets = self._batch(faces, teachers, key)

        def loss_of(trained: list) -> tuple[jax.Array, list]:
            predicted, others = self.model.stateless_call(trained, state.others, shown, training=True)
            return jnp.mean(self.loss.call(targets, predicted)), others

        (loss, others), gradients = jax.value_and_grad(loss_of, has_aux=True)(state.trained)
        optimizer = list(state.optimizer)
        optimizer[self._rate] = rate
        trained, optimizer = self.optimizer.stateless_apply(optimizer, gradients, state.trained)
        average = [kept * a + (1 - kept) * t for a, t in zip(state.average, trained, strict=True)]
        return State(trained, others, optimizer, average), loss

    def _batch(self, faces: DeviceFaces, teachers: list[list], key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return views (batch, size, size, 3) and targets (batch, D) float32.

        Blends come first, then jitters, then faces and renders.
        """
        recipe, cut = self.recipe, self.faces.cut
        keys = random.split(key, 8)
        rows = random.choice(keys[0], faces.training, (recipe.batch,), replace=False)
        blended = round(recipe.blends * recipe.batch)
        new_count = blended + round(recipe.jitters * recipe.batch)  # pictures that the teachers must embed
        pictures, targets = faces.chips[rows], faces.targets[rows]
        use = random.bernoulli(keys[1], recipe.render_share, (recipe.batch,)) & (faces.count[rows] > 0)
        use &= jnp.arange(recipe.batch) >= new_count
        which = faces.first[rows] + random.randint(
            keys[2], (recipe.batch,), 0, jnp.maximum(faces.count[rows], 1)
        )
        render = faces.renders[faces.ordered[jnp.minimum(which, len(faces.ordered) - 1)]]
        shown = jnp.where(use[:, None, None, None], render, cut.student(pictures))
        if new_count:
            parts = []
            if blended:
                others = faces.chips[random.choice(keys[3], faces.training, (blended,), replace=False)]
                parts.append(blends(keys[4], mirrored_at_random(keys[6], pictures[:blended]), others))
            if new_count > blended:
                parts.append(moved(keys[7], pictures[blended:new_count]))
            new = jnp.round(jnp.concatenate(parts))
            targets = jnp.concatenate([self._taught(faces, teachers, new), targets[new_count:]])
            shown = jnp.concatenate([cut.student(new).astype(jnp.uint8), shown[new_count:]])
        return views(keys[5], shown, recipe.sizes[-1], self.zoom), targets

    def _taught(self, faces: DeviceFaces, teachers: list[list], pictures: jax.Array) -> jax.Array:
        """Return the teachers' embeddings (N, D) of pictures (N, E, E, 3), mirror images averaged in and centred."""
        targets = []
        parts = zip(self._nets, self._chips, teachers, blocks(self.faces.widths), strict=True)
        for net, resampling, values, columns in parts:
            chips = pictures if resampling is None else _resampled(pictures, *resampling)
            both = jnp.concatenate([chips, chips[:, :, ::-1]])
            rows, _ = net.stateless_call([], values, both, training=False)
            mean = rows[: len(chips)] + rows[len(chips) :]
            targets.append(_unit(_unit(mean) - faces.centre[columns]))
        return jnp.concatenate(targets, axis=1)


def _resampled(pictures: jax.Array, rows: np.ndarray, columns: np.ndarray) -> jax.Array:
    """Resample pictures (N, E, E, 3) with a matrix (size, E) for the rows and another for the columns."""
    lines = jnp.einsum("ij,njkc->nikc", rows, pictures.astype(jnp.float32))
    return jnp.clip(jnp.einsum("lk,nikc->nilc", columns, lines), 0, 255)


def _unit(rows: jax.Array) -> jax.Array:
    return rows / jnp.maximum(jnp.linalg.norm(rows, axis=-1, keepdims=True), 1e-9)


def _on_device(pictures: np.ndarray, what: str) -> jax.Array:
    """Copy pictures from disk to the device, part by part."""
    parts = range(0, len(pictures), _PART)
    return jnp.concatenate([jnp.asarray(pictures[k : k + _PART]) for k in tqdm(parts, what, unit="part")])
