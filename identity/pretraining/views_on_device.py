"""Make the views of whole batches, and blends of faces, on the accelerator.

The views are those of `identity.pretraining.student_view`. A blend shows one face on one side and another on the other
side, or both everywhere in some proportion, so it is the face of nobody. The teachers embed each blend when it is made.
Therefore a student learns from more faces than there are photos.

References:
    Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018, and Beyer et al., "Knowledge distillation: A
    good teacher is patient and consistent", CVPR 2022. Here, half of the blends consist of two sides, and the teacher
    gets the plain blend but the student a view of it.
"""

import jax
import jax.numpy as jnp
from jax import random

from identity.pretraining.student_view import (
    BLUR,
    BLUR_EDGE,
    BLURRED,
    BRIGHTER,
    GREY,
    GREY_OF_RGB,
    LIFTED,
    MOVED,
    SCALED,
    TINTED,
    TURNED_DEGREES,
)

SEAM = (0.02, 0.15)  # width of the soft border between two sides, relative to the chip's side
OFF_MIDDLE = 0.25  # largest distance of the border from the middle, relative to the chip's side
LEAST = 0.15  # smallest share of either face where both are everywhere


def views(key: jax.Array, chips: jax.Array, size: int, zoom: float) -> jax.Array:
    """Return a random view of each chip: mirrored, moved, turned, scaled, blurred, grey or recoloured.

    Args:
        key: key of JAX's random numbers.
        chips: (N, E, E, 3) RGB 0-255, of any dtype.
        size: side of the views in pixels.
        zoom: mean magnification.

    Returns:
        (N, size, size, 3) float32 RGB 0-255.
    """
    keys = random.split(key, 4)
    shown = _warped(keys[0], mirrored_at_random(keys[1], chips), size, zoom)
    return _recoloured(keys[3], _blurred(keys[2], shown))


def moved(key: jax.Array, pictures: jax.Array) -> jax.Array:
    """Return pictures as if they were cropped less exactly: moved, turned and scaled at random, at their own size.

    Args:
        key: key of JAX's random numbers.
        pictures: (N, E, E, 3) RGB 0-255, of any dtype.

    Returns:
        (N, E, E, 3) float32.
    """
    return _warped(key, pictures, pictures.shape[1], 1.0)


def mirrored_at_random(key: jax.Array, chips: jax.Array) -> jax.Array:
    """Return chips (N, E, E, 3), each of them mirrored with a probability of one half."""
    chosen = random.bernoulli(key, 0.5, (len(chips), 1, 1, 1))
    return jnp.where(chosen, chips[:, :, ::-1], chips)


def blends(key: jax.Array, first: jax.Array, second: jax.Array) -> jax.Array:
    """Return random blends of pairs of faces.

    Args:
        key: key of JAX's random numbers.
        first: (N, E, E, 3) RGB 0-255, of any dtype.
        second: the other face of each pair, likewise.

    Returns:
        (N, E, E, 3) float32.
    """
    keys, count, edge = random.split(key, 5), len(first), first.shape[1]
    along = (jnp.arange(edge) + 0.5) / edge - 0.5
    angle = random.uniform(keys[0], (count, 1, 1), maxval=2 * jnp.pi)
    across = jnp.cos(angle) * along[None, None, :] + jnp.sin(angle) * along[None, :, None]
    border = random.uniform(keys[1], (count, 1, 1), minval=-OFF_MIDDLE, maxval=OFF_MIDDLE)
    sides = jax.nn.sigmoid(
        (across - border) / random.uniform(keys[2], (count, 1, 1), minval=SEAM[0], maxval=SEAM[1])
    )
    even = random.uniform(keys[3], (count, 1, 1), minval=LEAST, maxval=1 - LEAST)
    share = jnp.where(random.bernoulli(keys[4], 0.5, (count, 1, 1)), sides, even)[..., None]
    return share * first.astype(jnp.float32) + (1 - share) * second.astype(jnp.float32)


def _warped(key: jax.Array, chips: jax.Array, size: int, zoom: float) -> jax.Array:
    """Move, turn and scale chips at random, with bilinear interpolation; beyond its edge a chip is mirrored."""
    keys, (count, edge) = random.split(key, 3), chips.shape[:2]
    scale = size / edge * zoom * random.uniform(keys[0], (count, 1), minval=1 - SCALED, maxval=1 + SCALED)
    turn = random.normal(keys[1], (count, 1)) * jnp.deg2rad(TURNED_DEGREES)
    shift = random.normal(keys[2], (count, 2)) * MOVED * size
    along = jnp.arange(size) - (size - 1) / 2
    x = jnp.tile(along, size)[None] - shift[:, :1]  # (count, size * size), from the middle of the view
    y = jnp.repeat(along, size)[None] - shift[:, 1:]
    cos, sin = jnp.cos(turn) / scale, jnp.sin(turn) / scale
    middle, last = (edge - 1) / 2, edge - 1
    source = [
        jnp.clip(last - jnp.abs(last - jnp.abs(s + middle)), 0, last)
        for s in (cos * x - sin * y, sin * x + cos * y)
    ]
    left, upper = (jnp.minimum(s.astype(jnp.int32), last - 1) for s in source)
    right_share, lower_share = (source[0] - left)[..., None], (source[1] - upper)[..., None]
    flat = chips.reshape(count, edge * edge, 3)

    def at(rows: jax.Array, columns: jax.Array) -> jax.Array:
        return jnp.take_along_axis(flat, (rows * edge + columns)[..., None], axis=1).astype(jnp.float32)

    above = (1 - right_share) * at(upper, left) + right_share * at(upper, left + 1)
    below = (1 - right_share) * at(upper + 1, left) + right_share * at(upper + 1, left + 1)
    return ((1 - lower_share) * above + lower_share * below).reshape(count, size, size, 3)


def _blurred(key: jax.Array, shown: jax.Array) -> jax.Array:
    """Blur some views at random, each by a product with one matrix for the rows and one for the columns."""
    keys, (count, size) = random.split(key, 2), shown.shape[:2]
    deviation = random.uniform(keys[0], (count, 1, 1), minval=BLUR[0], maxval=BLUR[1]) * size / BLUR_EDGE
    deviation = jnp.where(random.bernoulli(keys[1], BLURRED, (count, 1, 1)), deviation, 1e-3)
    apart = jnp.square(jnp.arange(size)[:, None] - jnp.arange(size)[None]).astype(jnp.float32)
    kernels = jnp.exp(-apart / (2 * jnp.square(deviation)))
    kernels /= kernels.sum(axis=-1, keepdims=True)
    rows = jnp.einsum("nij,njkc->nikc", kernels, shown)
    return jnp.einsum("nij,nkjc->nkic", kernels, rows)


def _recoloured(key: jax.Array, shown: jax.Array) -> jax.Array:
    """Turn some views grey at random, and change the brightness, tint and black level of all."""
    keys, count = random.split(key, 4), len(shown)
    grey = jnp.sum(shown * jnp.array(GREY_OF_RGB), axis=-1, keepdims=True)
    shown = jnp.where(random.bernoulli(keys[0], GREY, (count, 1, 1, 1)), grey, shown)
    gain = random.uniform(keys[1], (count, 1, 1, 1), minval=1 - BRIGHTER, maxval=1 + BRIGHTER)
    gain *= random.uniform(keys[2], (count, 1, 1, 3), minval=1 - TINTED, maxval=1 + TINTED)
    lift = random.uniform(keys[3], (count, 1, 1, 1), minval=-LIFTED, maxval=LIFTED)
    return jnp.clip(shown * gain + lift, 0, 255)
