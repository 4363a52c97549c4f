"""The settings of pre-training: how long, at which sizes and from which pictures it learns."""

import math
from dataclasses import dataclass

import numpy as np

from augmentor.errors import InputError


@dataclass(frozen=True)
class Recipe:
    """Settings of pre-training.

    Attributes:
        budget: length of the training, in images of size `sizes[-1]`; an image of another size costs as much as its
            area relative to that size.
        sizes: sides of the input images in pixels; the last one is the final size.
        first_shares: share of the time spent at each size in the beginning.
        mix_from: progress (0 to 1) from which on the share of the final size grows.
        last_from: progress from which on only the final size is used.
        learning_rate: learning rate of AdamW after the warm-up; it falls to zero as a cosine of the progress.
        weight_decay: weight decay of AdamW.
        warm_up: number of steps in which the learning rate rises.
        batch: images per step.
        ema: weight of the old value in the moving average of the weights.
        render_share: probability that a face with cached renders is shown by one of them.
        blends: share of a batch that shows blends of two faces (`identity.pretraining.views_on_device`), which the
            teachers embed during training. Only possible where the device makes the views, with Keras on JAX.
        jitters: share of a batch that shows faces moved, turned and scaled a little, which the teachers embed during
            training. Only possible where blends are.
        frozen_before: name of the first layer of the B0 that is trained; "" to train all. The layers before it have
            large maps: on a CPU they take half of the time of a step, and they learn little in a later training.
        drop_connect: probability that the last block is skipped in a step; that of earlier blocks is lower in
            proportion (published value 0.2).
        relation_weight: weight of the loss on the cosines of pairs of faces, see `identity.pretraining.distillation`.
        teacher_weights: weights of the teachers' losses in the order of `--teacher`; a single one counts for all.
        zoom: magnification of the chip in use; during training it varies by `student_view.SCALED` up and down.
        seed: seed of all random choices.

    Raises:
        InputError: A setting is out of its range, or settings do not fit together.
    """

    budget: int = 70_000
    sizes: tuple[int, ...] = (64, 96, 150)
    first_shares: tuple[float, ...] = (0.85, 0.15, 0.0)
    mix_from: float = 0.4
    last_from: float = 0.85
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    warm_up: int = 300
    batch: int = 64
    ema: float = 0.998
    render_share: float = 0.5
    blends: float = 0.0
    jitters: float = 0.0
    frozen_before: str = ""
    drop_connect: float = 0.2
    relation_weight: float = 1.0
    teacher_weights: tuple[float, ...] = (1.0,)
    zoom: float = 1.07
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.sizes) != len(self.first_shares) or abs(sum(self.first_shares) - 1) > 1e-6:
            raise InputError("first_shares must contain one share for each of the sizes, adding up to 1")
        if min(self.blends, self.jitters) < 0 or self.blends + self.jitters > 1:
            raise InputError("blends and jitters are shares of a batch; together they must be from 0 to 1")
        if min(self.teacher_weights, default=0) <= 0:
            raise InputError("teacher_weights must be above 0")
        if not 1 <= self.zoom < 2:
            raise InputError("zoom must be at least 1 and below 2")
        if self.budget < 1 or self.batch < 2 or not 0 <= self.mix_from < self.last_from <= 1:
            raise InputError(
                "--budget must be at least 1, --batch at least 2, and mix_from less than last_from"
            )

    def size_probabilities(self, progress: float) -> np.ndarray:
        """Return the probability of each size for the next batch: its share of the time divided by its cost.

        Args:
            progress: 0 at the start of the training, 1 at its end.
        """
        grown = float(np.clip((progress - self.mix_from) / (self.last_from - self.mix_from), 0, 1))
        shares = np.array(self.first_shares) * (1 - grown)
        shares[-1] += grown
        per_batch = shares / np.square(self.sizes)
        return per_batch / per_batch.sum()

    def learning_rate_at(self, step: int, progress: float) -> float:
        """Return the learning rate: a linear warm-up, then half a cosine over the progress.

        Args:
            step: number of steps done.
            progress: 0 at the start of the training, 1 at its end.
        """
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        return self.learning_rate * min(1.0, (step + 1) / self.warm_up) * cosine

    def weights_of(self, teachers: int) -> tuple[float, ...]:
        """Return the weight of each teacher.

        Args:
            teachers: number of teachers.

        Raises:
            InputError: The recipe contains weights for another number of teachers.
        """
        if len(self.teacher_weights) == 1:
            return self.teacher_weights * teachers
        if len(self.teacher_weights) != teachers:
            raise InputError(
                f"--set teacher_weights: {len(self.teacher_weights)} weights for {teachers} teachers"
            )
        return self.teacher_weights

    def cost(self, size: int) -> float:
        """Return how much of the budget a batch of images with a side of `size` pixels costs."""
        return self.batch * (size / self.sizes[-1]) ** 2
