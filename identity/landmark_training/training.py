"""Train the landmark net on examples, for a given time."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from augmentor.faces.landmark_net import SIDE, crop_transform
from identity.landmark_training.examples import MADE_UP, PHOTO, RENDER, UNKNOWN, Examples
from identity.landmark_training.net import build_net
from identity.landmark_training.variation import plain_batch, training_batch

HELD_OUT = 25  # every 25th photo and made-up person is kept for measuring
_SHARES = {PHOTO: 0.34, RENDER: 0.44, MADE_UP: 0.22}  # of the examples in a batch
_BATCH = 48
_AHEAD = 6  # batches that are made while the net trains
_PEAK_RATE, _WARM_UP = 2e-3, 200  # learning rate, and steps until it is reached
_VISIBLE_SHARE = 0.5  # how much the visibility counts beside the landmarks
_SAY_EVERY = 60.0  # seconds


@dataclass(frozen=True)
class Schedule:
    """The length of a training.

    Attributes:
        minutes: wall time; the learning rate falls to nearly 0 over it.
        seed: of all random choices.
    """

    minutes: float = 30.0
    seed: int = 0


def train_net(examples: Examples, schedule: Schedule, say: Callable[[str], None]) -> Any:
    """Return a trained Keras model; see `identity.landmark_training.net.build_net`.

    Args:
        examples: the examples; those of every 25th person are not trained on.
        schedule: how long to train.
        say: is told how it goes.
    """
    import keras
    import tensorflow as tf

    tf.random.set_seed(schedule.seed)
    rows, chances = _training_rows(examples)
    sample = np.random.default_rng([schedule.seed, 1]).choice(rows, 512, p=chances)
    wanted = training_batch(examples, sample, np.random.default_rng(schedule.seed))[1]
    net = build_net(wanted[:, :136].mean(0).reshape(68, 2))
    optimizer = keras.optimizers.AdamW(
        _PEAK_RATE, weight_decay=1e-4, clipnorm=1.0, use_ema=True, ema_momentum=0.998
    )

    @tf.function
    def step(pixels: Any, wanted: Any, weights: Any) -> Any:
        with tf.GradientTape() as tape:
            out = net(pixels, training=True)
            off = tf.abs(out[:, :136] - wanted[:, :136]) * SIDE
            # Linear beyond one pixel, and with a slope that halves towards 0.
            landmarks = tf.reduce_mean(weights[:, :136] * tf.where(off < 1, (off * off + off) / 2, off))
            odds = tf.nn.sigmoid_cross_entropy_with_logits(wanted[:, 136:], out[:, 136:])
            visible = tf.reduce_mean(weights[:, 136:] * odds)
            loss = landmarks + _VISIBLE_SHARE * visible
        gradients = tape.gradient(loss, net.trainable_variables)
        optimizer.apply(gradients, net.trainable_variables)
        return tf.stack([landmarks, visible])

    def batch(number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rng = np.random.default_rng([schedule.seed, 2, number])
        return training_batch(examples, rng.choice(rows, _BATCH, p=chances), rng)

    began = said = time.monotonic()
    losses: list[np.ndarray] = []
    number = 0
    with ThreadPoolExecutor(1) as pool:
        ahead = [pool.submit(batch, k) for k in range(_AHEAD)]
        while (done := (time.monotonic() - began) / (60 * schedule.minutes)) < 1:
            fall = 0.5 * (1 + np.cos(np.pi * done)) + 0.002
            optimizer.learning_rate.assign(_PEAK_RATE * min(1.0, (number + 1) / _WARM_UP) * fall)
            made = ahead.pop(0).result()
            ahead.append(pool.submit(batch, number + _AHEAD))
            losses.append(step(*map(tf.constant, made)).numpy())
            number += 1
            if time.monotonic() - said > _SAY_EVERY:
                said = time.monotonic()
                rate = number * _BATCH / (said - began)
                recent = np.mean(losses[-200:], 0).round(3).tolist()
                say(f"{done:.0%}, {number} steps, {rate:.0f} examples/s, landmarks and visibility: {recent}")
    optimizer.finalize_variable_values(net.trainable_variables)
    _settle_statistics(net, [batch(number + k)[0] for k in range(120)])
    say(held_out_errors(net, examples))
    return net


def _training_rows(examples: Examples) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows that are trained on and the chance of each to be drawn."""
    rows = np.flatnonzero(examples.person % HELD_OUT != 0)
    chances = np.zeros(len(rows))
    for kind, share in _SHARES.items():
        of_kind = examples.kind[rows] == kind
        if of_kind.any():
            chances[of_kind] = share / of_kind.sum()
    return rows, chances / chances.sum()


def _settle_statistics(net: Any, batches: list[np.ndarray]) -> None:
    """Adapt the statistics of batch normalisation to the averaged weights."""
    import keras

    for layer in net.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.96
    for pixels in batches:
        net(pixels, training=True)


def held_out_errors(net: Any, examples: Examples, most: int = 2000) -> str:
    """Return a line of the net's errors on examples that it was not trained on, by kind and turn.

    The error is the mean distance from the true landmarks, in percent of the distance of the outer corners of the eyes
    in a frontal face of that size; `inner` leaves the contour out.
    """
    test = examples.part(np.flatnonzero(examples.person % HELD_OUT == 0)[:most])
    crop = np.stack([crop_transform(points) for points in test.points.astype(float)])
    true = np.einsum("nij,nkj->nki", crop[:, :, :2], test.landmarks) + crop[:, None, :, 2]
    out = np.concatenate([net.predict_on_batch(part) for part in np.array_split(plain_batch(test), 8)])
    found = out[:, :136].reshape(-1, 68, 2) * SIDE + (SIDE - 1) / 2
    error = 100 * np.linalg.norm(found - true, axis=2) / OUTER_EYES
    turn = np.abs(test.pose[:, 0])
    parts = []
    for kind, name in ((PHOTO, "photos"), (RENDER, "renders"), (MADE_UP, "made up")):
        for low, high in ((0, 30), (30, 60), (60, 91)):
            chosen = (test.kind == kind) & (turn >= low) & (turn < high)
            if chosen.any():
                parts.append(
                    f"{name} {low}: {error[chosen].mean():.2f} (inner {error[chosen][:, 17:].mean():.2f})"
                )
    known = test.visible != UNKNOWN
    agree = ((out[:, 136:] > 0) == (test.visible == 1))[known].mean()
    return "; ".join([*parts, f"visible right {agree:.1%}"])


OUTER_EYES = 33.0  # pixels between the outer corners of the eyes of a frontal face in the crop
