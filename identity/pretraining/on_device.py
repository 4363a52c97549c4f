"""Pre-training that leaves all to the accelerator: faces, views, blends, teacher, steps and the weights' average.

Taken with Keras' JAX backend (`KERAS_BACKEND=jax`). A step waits for nothing from the host, which only hands out
learning rates; the faces stay on the device, 68 to 120 kB for each face and 68 kB for each render.
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

STEPS_AT_ONCE = 20  # handed to the device before the losses are looked at
_PART = 4096


class DeviceFaces(NamedTuple):
    """`faces_to_learn.Faces`: `renders[ordered[first[row] + k]]` for k < count[row] show face `row`."""

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

    Args:
        faces, recipe, work: see `Pretraining`.
        nets: folder of the teachers' nets, for blends and jitters.

    Raises:
        InputError: several sizes; blends or jitters of chips that are not the size the cut says, as earlier versions
            cut them, or without a teacher's net.
    """

    def __init__(self, faces: Faces, recipe: Recipe, work: Path, nets: Path | None = None) -> None:
        self._nets: list[Any] = []
        self._chips: list[tuple[np.ndarray, np.ndarray] | None] = []
        if recipe.blends or recipe.jitters:
            if faces.chips.shape[1] != faces.cut.edge:
                raise InputError(
                    f"{work}: chips of {faces.chips.shape[1]} px, of an earlier version; the teachers of blends need "
                    f"{faces.cut.edge}: name another --work"
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
        """`STEPS_AT_ONCE` batches, fewer at the end; their size and mean loss."""
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
                f"step {self.step}: the loss is not finite; go on from the checkpoint with a smaller rate"
            )
        self.seconds += time.monotonic() - began
        return size, mean

    def teacher_values(self) -> list[list]:
        """Return the weights of every teacher's net; none where no teacher is asked."""
        return [[v.value for v in net.variables] for net in self._nets]

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
        teachers: list[list],
        key: jax.Array,
        rate: jax.Array,
        kept: jax.Array,
    ) -> tuple[State, jax.Array]:
        """One batch: the next state and the loss."""
        shown, targets = self._batch(faces, teachers, key)

        def loss_of(trained: list) -> tuple[jax.Array, list]:
            found, others = self.model.stateless_call(trained, state.others, shown, training=True)
            return jnp.mean(self.loss.call(targets, found)), others

        (loss, others), gradients = jax.value_and_grad(loss_of, has_aux=True)(state.trained)
        optimizer = list(state.optimizer)
        optimizer[self._rate] = rate
        trained, optimizer = self.optimizer.stateless_apply(optimizer, gradients, state.trained)
        average = [kept * a + (1 - kept) * t for a, t in zip(state.average, trained, strict=True)]
        return State(trained, others, optimizer, average), loss

    def _batch(self, faces: DeviceFaces, teachers: list[list], key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(batch, size, size, 3) and (batch, D) float32: blends first, then jitters, then faces and renders."""
        recipe, cut = self.recipe, self.faces.cut
        keys = random.split(key, 8)
        rows = random.choice(keys[0], faces.training, (recipe.batch,), replace=False)
        blended = round(recipe.blends * recipe.batch)
        asked = blended + round(recipe.jitters * recipe.batch)
        pictures, targets = faces.chips[rows], faces.targets[rows]
        use = random.bernoulli(keys[1], recipe.render_share, (recipe.batch,)) & (faces.count[rows] > 0)
        use &= jnp.arange(recipe.batch) >= asked
        which = faces.first[rows] + random.randint(
            keys[2], (recipe.batch,), 0, jnp.maximum(faces.count[rows], 1)
        )
        render = faces.renders[faces.ordered[jnp.minimum(which, len(faces.ordered) - 1)]]
        shown = jnp.where(use[:, None, None, None], render, cut.student(pictures))
        if asked:
            parts = []
            if blended:
                others = faces.chips[random.choice(keys[3], faces.training, (blended,), replace=False)]
                parts.append(blends(keys[4], mirrored_at_random(keys[6], pictures[:blended]), others))
            if asked > blended:
                parts.append(moved(keys[7], pictures[blended:asked]))
            new = jnp.round(jnp.concatenate(parts))
            targets = jnp.concatenate([self._asked(faces, teachers, new), targets[asked:]])
            shown = jnp.concatenate([cut.student(new).astype(jnp.uint8), shown[asked:]])
        return views(keys[5], shown, recipe.sizes[-1], self.zoom), targets

    def _asked(self, faces: DeviceFaces, teachers: list[list], pictures: jax.Array) -> jax.Array:
        """(N, D) what the teachers say of their chips of (N, E, E, 3) pictures, and of the mirror images, centred."""
        said = []
        parts = zip(self._nets, self._chips, teachers, blocks(self.faces.widths), strict=True)
        for net, resampling, values, columns in parts:
            chips = pictures if resampling is None else _resampled(pictures, *resampling)
            both = jnp.concatenate([chips, chips[:, :, ::-1]])
            found, _ = net.stateless_call([], values, both, training=False)
            mean = found[: len(chips)] + found[len(chips) :]
            said.append(_unit(_unit(mean) - faces.centre[columns]))
        return jnp.concatenate(said, axis=1)


def _resampled(pictures: jax.Array, rows: np.ndarray, columns: np.ndarray) -> jax.Array:
    """(N, E, E, 3) pictures, every line and then every column of them read by a matrix (size, E)."""
    lines = jnp.einsum("ij,njkc->nikc", rows, pictures.astype(jnp.float32))
    return jnp.clip(jnp.einsum("lk,nikc->nilc", columns, lines), 0, 255)


def _unit(rows: jax.Array) -> jax.Array:
    return rows / jnp.maximum(jnp.linalg.norm(rows, axis=-1, keepdims=True), 1e-9)


def _on_device(pictures: np.ndarray, what: str) -> jax.Array:
    """Pictures from disk, part by part."""
    parts = range(0, len(pictures), _PART)
    return jnp.concatenate([jnp.asarray(pictures[k : k + _PART]) for k in tqdm(parts, what, unit="part")])
