"""Pre-training that leaves all to the accelerator: faces, views, blends, teacher, steps and the weights' average.

Taken with Keras' JAX backend (`KERAS_BACKEND=jax`). A step waits for nothing from the host, which only hands out
learning rates; the faces stay on the device, 68 kB for each chip and each render.
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
from augmentor.landmark_source import model_path
from identity.dlib_embedding import CHIP_SIZE, WEIGHTS_NAME, build_dlib_net, read_dlib_weights
from identity.faces_to_learn import Faces
from identity.pretraining import Pretraining
from identity.pretraining_recipe import Recipe
from identity.views_on_device import blends, mirrored_at_random, views

STEPS_AT_ONCE = 20  # handed to the device before the losses are looked at
_PART = 4096


class DeviceFaces(NamedTuple):
    """`identity.faces_to_learn.Faces`: `renders[ordered[first[row] + k]]` for k < count[row] show face `row`."""

    chips: jax.Array
    targets: jax.Array
    renders: jax.Array
    first: jax.Array
    count: jax.Array
    ordered: jax.Array
    training: jax.Array
    centre: jax.Array


class State(NamedTuple):
    """What a step changes: variables in Keras' order, and the average of those that are trained."""

    trained: list
    others: list
    optimizer: list
    average: list


class DevicePretraining(Pretraining):
    """`Pretraining` at one size, its steps on the device.

    Raises:
        InputError: several sizes; blends of chips that are not the teacher's size, as earlier versions cut them.
    """

    def __init__(self, faces: Faces, recipe: Recipe, work: Path) -> None:
        self._teacher = None
        if recipe.blends:
            if faces.chips.shape[1] != CHIP_SIZE:
                raise InputError(
                    f"{work}: chips of {faces.chips.shape[1]} px, of an earlier version; the teacher of blends needs "
                    f"{CHIP_SIZE}: name another --work"
                )
            self._teacher = build_dlib_net(read_dlib_weights(model_path(WEIGHTS_NAME)))
        super().__init__(faces, recipe, work)
        self._on_device: DeviceFaces | None = None
        self._state: State | None = None
        self._rate = next(
            k for k, v in enumerate(self.optimizer.variables) if v is self.optimizer._learning_rate
        )
        self._step_on_device = jax.jit(self._one_step, donate_argnums=0)
        self._statistics: Any = None

    def train_step(self) -> tuple[int, float]:
        """`STEPS_AT_ONCE` batches, fewer at the end; their size and mean loss."""
        began = time.monotonic()
        size, cost = self.recipe.sizes[-1], self.recipe.cost(self.recipe.sizes[-1])
        faces, state = self._faces(), self._state or self._begin()
        teacher = [v.value for v in self._teacher.variables] if self._teacher else []
        losses = []
        for _ in range(min(STEPS_AT_ONCE, math.ceil((self.recipe.budget - self.spent) / cost))):
            rate = self.recipe.learning_rate_at(self.step, self.progress)
            key = random.fold_in(random.key(self.recipe.seed), self.step)
            kept = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
            state, loss = self._step_on_device(
                state, faces, teacher, key, jnp.float32(rate), jnp.float32(kept)
            )
            losses.append(loss)
            self.step += 1
            self.spent += cost
        self._state = state
        mean = float(jnp.stack(losses).mean())
        if not math.isfinite(mean):
            raise InputError(
                f"step {self.step}: the loss is not finite; go on from the checkpoint with a smaller rate"
            )
        self.seconds += time.monotonic() - began
        return size, mean

    def save(self) -> None:
        """Checkpoint, whole or not at all."""
        self._write_back()
        super().save()

    def average_at(self, size: int, batches: int) -> list[np.ndarray]:
        """The averaged weights with batch norm's statistics estimated anew at `size`; the model is left as it was."""
        self._write_back()
        return super().average_at(size, batches)

    def norm_statistics(
        self, norms: list[keras.layers.BatchNormalization], shown: np.ndarray
    ) -> list[np.ndarray]:
        """Mean and variance that each of `norms`, their momentum 0, finds in a batch."""
        if self._statistics is None:
            at = {id(v): k for k, v in enumerate(self.model.non_trainable_variables)}
            wanted = [at[id(v)] for norm in norms for v in (norm.moving_mean, norm.moving_variance)]

            def found(trained: list, others: list, shown: jax.Array) -> list:
                _, others = self.model.stateless_call(trained, others, shown, training=True)
                return [others[k] for k in wanted]

            self._statistics = jax.jit(found)
        values = self._statistics(
            [v.value for v in self.model.trainable_variables],
            [v.value for v in self.model.non_trainable_variables],
            shown,
        )
        return [np.asarray(value) for value in values]

    def _faces(self) -> DeviceFaces:
        """The faces, put on the device when they are first needed."""
        if self._on_device is None:
            faces = self.faces
            # a face without renders is never looked up among them, but its place must exist
            renders = faces.renders if len(faces.renders) else np.zeros_like(faces.chips[:1])
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
        """The state as the model and its average have it."""
        model = self.model
        averages = {id(v): a for v, a in zip(model.weights, self.average, strict=True)}
        return State(  # copies: a step takes its state's memory over
            [jnp.array(v.value) for v in model.trainable_variables],
            [jnp.array(v.value) for v in model.non_trainable_variables],
            [jnp.array(v.value) for v in self.optimizer.variables],
            [jnp.array(averages[id(v)]) for v in model.trainable_variables],
        )

    def _write_back(self) -> None:
        """Give the model, its average and the optimiser what the device has."""
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
        teacher: list,
        key: jax.Array,
        rate: jax.Array,
        kept: jax.Array,
    ) -> tuple[State, jax.Array]:
        """One batch: the next state and the loss."""
        shown, targets = self._batch(faces, teacher, key)

        def loss_of(trained: list) -> tuple[jax.Array, list]:
            found, others = self.model.stateless_call(trained, state.others, shown, training=True)
            return jnp.mean(self.loss.call(targets, found)), others

        (loss, others), gradients = jax.value_and_grad(loss_of, has_aux=True)(state.trained)
        optimizer = list(state.optimizer)
        optimizer[self._rate] = rate
        trained, optimizer = self.optimizer.stateless_apply(optimizer, gradients, state.trained)
        average = [kept * a + (1 - kept) * t for a, t in zip(state.average, trained, strict=True)]
        return State(trained, others, optimizer, average), loss

    def _batch(self, faces: DeviceFaces, teacher: list, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(batch, size, size, 3) and (batch, 128) float32, the first `recipe.blends` of them blends."""
        recipe = self.recipe
        keys = random.split(key, 7)
        rows = random.choice(keys[0], faces.training, (recipe.batch,), replace=False)
        shown, targets = faces.chips[rows], faces.targets[rows]
        blended = round(recipe.blends * recipe.batch)
        use = random.bernoulli(keys[1], recipe.render_share, (recipe.batch,)) & (faces.count[rows] > 0)
        use &= jnp.arange(recipe.batch) >= blended
        which = faces.first[rows] + random.randint(
            keys[2], (recipe.batch,), 0, jnp.maximum(faces.count[rows], 1)
        )
        render = faces.renders[faces.ordered[jnp.minimum(which, len(faces.ordered) - 1)]]
        shown = jnp.where(use[:, None, None, None], render, shown)
        if blended:
            others = faces.chips[random.choice(keys[3], faces.training, (blended,), replace=False)]
            between = jnp.round(blends(keys[4], mirrored_at_random(keys[6], shown[:blended]), others))
            targets = jnp.concatenate([self._asked(faces, teacher, between), targets[blended:]])
            shown = jnp.concatenate([between.astype(jnp.uint8), shown[blended:]])
        return views(keys[5], shown, recipe.sizes[-1], recipe.zoom), targets

    def _asked(self, faces: DeviceFaces, teacher: list, chips: jax.Array) -> jax.Array:
        """(N, 128) what the teacher says of (N, 150, 150, 3) chips and their mirror images, centred."""
        assert self._teacher is not None
        both = jnp.concatenate([chips, chips[:, :, ::-1]])
        found, _ = self._teacher.stateless_call([], teacher, both, training=False)
        mean = found[: len(chips)] + found[len(chips) :]
        return _unit(_unit(mean) - faces.centre)


def _unit(rows: jax.Array) -> jax.Array:
    return rows / jnp.maximum(jnp.linalg.norm(rows, axis=-1, keepdims=True), 1e-9)


def _on_device(pictures: np.ndarray, what: str) -> jax.Array:
    """Pictures from disk, part by part."""
    parts = range(0, len(pictures), _PART)
    return jnp.concatenate([jnp.asarray(pictures[k : k + _PART]) for k in tqdm(parts, what, unit="part")])
