"""How long, at which sizes and from what a pre-training learns."""

import math
from dataclasses import dataclass

import numpy as np

from augmentor.errors import InputError


@dataclass(frozen=True)
class Recipe:
    """How long and at which sizes to train.

    Attributes:
        budget: length of the training, in images of `sizes[-1]`: one at another size costs its area's share.
        sizes: input edges in pixels, the last the one used in the end.
        first_shares: share of the time at each size in the beginning.
        mix_from, last_from: progress (0 to 1) from which the share of the last size grows, and from which it is all.
        learning_rate: of AdamW after the warm-up; falls to zero as a cosine of the progress.
        warm_up: steps.
        render_share: probability that a face with a cached render is shown by it.
        blends: share of a batch that shows faces between two faces (`identity.pretraining.views_on_device`), with what
        the teacher
            says of each; only where the device makes the views, with Keras on JAX.
        frozen_before: name of the first layer of the B0 that is trained; "" for all. The layers before it are the
            ones with large maps: on a CPU they take half of a step, and learn little in a later run.
        drop_connect: how often the last block is left out of a step, earlier ones in proportion (0.2 as published).
        jitters: share of a batch that shows a face moved, turned and scaled a little, with what the teachers say of it
            so; only where blends can be.
        relation_weight: of the loss that holds the cosines of pairs of faces together, see
        `identity.pretraining.distillation`.
        teacher_weights: of the teachers' losses, one for each in the order of `--teacher`; a single one: all alike.
        zoom: how much closer than the chip the student looks, in use; while it learns, up to `_SCALED` more or less.
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
            raise InputError("one share for each size, adding up to 1")
        if min(self.blends, self.jitters) < 0 or self.blends + self.jitters > 1:
            raise InputError("blends and jitters are shares of the batch, 0 to 1 together")
        if min(self.teacher_weights, default=0) <= 0:
            raise InputError("teacher_weights must be above 0")
        if not 1 <= self.zoom < 2:
            raise InputError("zoom must be at least 1 and below 2")
        if self.budget < 1 or self.batch < 2 or not 0 <= self.mix_from < self.last_from <= 1:
            raise InputError("--budget must be at least 1, --batch at least 2")

    def size_probabilities(self, progress: float) -> np.ndarray:
        """Probability that the next batch has each of `sizes`: time share over cost."""
        grown = float(np.clip((progress - self.mix_from) / (self.last_from - self.mix_from), 0, 1))
        shares = np.array(self.first_shares) * (1 - grown)
        shares[-1] += grown
        per_batch = shares / np.square(self.sizes)
        return per_batch / per_batch.sum()

    def learning_rate_at(self, step: int, progress: float) -> float:
        """Linear warm-up, then half a cosine over the progress."""
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        return self.learning_rate * min(1.0, (step + 1) / self.warm_up) * cosine

    def weights_of(self, teachers: int) -> tuple[float, ...]:
        """Return the weight of each of so many teachers.

        Raises:
            InputError: the recipe has another number of them.
        """
        if len(self.teacher_weights) == 1:
            return self.teacher_weights * teachers
        if len(self.teacher_weights) != teachers:
            raise InputError(
                f"--set teacher_weights: {len(self.teacher_weights)} weights for {teachers} teachers"
            )
        return self.teacher_weights

    def cost(self, size: int) -> float:
        """What a batch of `size` takes off the budget."""
        return self.batch * (size / self.sizes[-1]) ** 2
