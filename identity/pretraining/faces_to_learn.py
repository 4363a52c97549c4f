"""The cached faces of pre-training with their targets, and the batches drawn from them."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from augmentor.errors import InputError
from identity.pretraining.cut import CUTS, PLAIN, Cut
from identity.pretraining.distillation import centred_blocks
from identity.pretraining.held_out import held_out_faces
from identity.pretraining.recipe import Recipe
from identity.pretraining.student_view import jittered_view


@dataclass
class Faces:
    """Faces to learn from, with their targets and renders.

    Attributes:
        chips: (N, E, E, 3) uint8 RGB pictures on disk, cropped as `cut` says.
        targets: (N, D) float32. The columns of each teacher are unit rows, or zeros for faces it did not embed.
        held_out: (M,) rows that are never trained on but used for choices and measurements.
        renders: (R, 150, 150, 3) uint8 RGB pictures on disk; R may be 0.
        render_of: (R,) row of `chips` whose face each render shows.
        paths: (N,) paths of the photos.
        centre: (D,) float32 mean that was subtracted from the targets' unit vectors.
        teachers: names of the teachers.
        widths: number of columns of `targets` that each teacher has.
        cut: how the faces are cropped.
        render_yaw: (R,) float32 yaw of each render in degrees; empty if an earlier version made the cache.
    """

    chips: np.ndarray
    targets: np.ndarray
    held_out: np.ndarray
    renders: np.ndarray
    render_of: np.ndarray
    paths: np.ndarray
    centre: np.ndarray
    teachers: tuple[str, ...] = ("dlib",)
    widths: tuple[int, ...] = (128,)
    cut: Cut = PLAIN
    render_yaw: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))

    def __post_init__(self) -> None:
        self.training = np.setdiff1d(np.arange(len(self.chips)), self.held_out)
        order = np.argsort(self.render_of, kind="stable")
        self.first = np.searchsorted(self.render_of[order], np.arange(len(self.chips)))
        self.count = np.bincount(self.render_of, minlength=len(self.chips))
        self.ordered = order

    def batch(self, recipe: Recipe, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw a batch of training faces.

        Args:
            recipe: settings of the training.
            size: side of the views, pixels.
            rng: the random numbers to use.

        Returns:
            Views (batch, size, size, 3) float32 RGB 0-255, and their targets (batch, D) float32.
        """
        rows = rng.choice(self.training, recipe.batch, replace=False)
        shown = np.empty((recipe.batch, size, size, 3), np.float32)
        for k, row in enumerate(rows):
            chip = self.cut.student(self.chips[row][None])[0]
            if self.count[row] and rng.random() < recipe.render_share:
                chip = self.renders[self.ordered[self.first[row] + rng.integers(self.count[row])]]
            shown[k] = jittered_view(chip, size, recipe.zoom * self.cut.room, rng)
        return shown, self.targets[rows]


def load_faces(work: Path) -> Faces:
    """Load the cache that `identity.pretraining.face_cache` made, with its renders if there are any.

    Args:
        work: folder of the cache.

    Raises:
        InputError: There are too few faces to hold some out.
    """
    with np.load(work / "faces.npz", allow_pickle=False) as saved:
        paths, embeddings = saved["paths"], saved["teacher"]
        several = "teachers" in saved.files
        teachers = tuple(saved["teachers"].tolist()) if several else ("dlib",)
        widths = tuple(saved["widths"].tolist()) if several else (embeddings.shape[1],)
        cut = CUTS[str(saved["cut"])] if several else PLAIN
    targets, centre = centred_blocks(embeddings, widths)
    chips = np.load(work / "chips.npy", mmap_mode="r", allow_pickle=False)
    held_out = held_out_faces(paths.tolist())
    if not 0 < len(held_out) < len(chips):
        raise InputError(
            f"{work}: {len(chips)} faces are too few to hold some out; use at least some hundreds"
        )
    renders, render_of = np.zeros((0, cut.rendered, cut.rendered, 3), np.uint8), np.zeros(0, np.int64)
    render_yaw = np.zeros(0, np.float32)
    if (work / "render_of.npy").is_file():
        renders = np.load(work / "renders.npy", mmap_mode="r", allow_pickle=False)
        render_of = np.load(work / "render_of.npy", allow_pickle=False)
        renders = renders[: len(render_of)]
        if (work / "render_yaw.npy").is_file():
            render_yaw = np.load(work / "render_yaw.npy", allow_pickle=False)
    return Faces(
        chips, targets, held_out, renders, render_of, paths, centre, teachers, widths, cut, render_yaw
    )
