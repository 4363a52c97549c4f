"""The cached faces of a pre-training with what is to be learnt of them, and the batches drawn from them."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from augmentor.errors import InputError
from identity.pretraining.cut import CUTS, LANDMARKS68, Cut
from identity.pretraining.distillation import centred_blocks
from identity.pretraining.held_out import held_out_rows
from identity.pretraining.recipe import Recipe
from identity.pretraining.student_view import jittered


@dataclass
class Faces:
    """Chips to learn from with their targets; rows of `renders` show the face of row `render_of`.

    Attributes:
        chips: (N, E, E, 3) uint8, on disk, as `cut` has them.
        targets: (N, D) float32, the columns of each teacher unit rows, or zeros where it has no answer.
        held_out: (M,) rows never trained on, for choosing.
        renders, render_of: (R, 150, 150, 3) uint8 on disk and (R,) rows of `chips`; R may be 0.
        paths: (N,) of the photos.
        centre: (D,) float32, what the unit vectors of all targets shared before it was taken off.
        teachers, widths: names of the teachers, and how many columns of `targets` each has.
        cut: what the pictures show.
        render_yaw: (R,) float32 degrees; empty where the cache is of an earlier version.
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
    cut: Cut = LANDMARKS68
    render_yaw: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))

    def __post_init__(self) -> None:
        self.training = np.setdiff1d(np.arange(len(self.chips)), self.held_out)
        order = np.argsort(self.render_of, kind="stable")
        self.first = np.searchsorted(self.render_of[order], np.arange(len(self.chips)))
        self.count = np.bincount(self.render_of, minlength=len(self.chips))
        self.ordered = order

    def batch(self, recipe: Recipe, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """(batch, size, size, 3) float32 0-255 and (batch, D) float32."""
        rows = rng.choice(self.training, recipe.batch, replace=False)
        shown = np.empty((recipe.batch, size, size, 3), np.float32)
        for k, row in enumerate(rows):
            chip = self.cut.student(self.chips[row][None])[0]
            if self.count[row] and rng.random() < recipe.render_share:
                chip = self.renders[self.ordered[self.first[row] + rng.integers(self.count[row])]]
            shown[k] = jittered(chip, size, recipe.zoom * self.cut.room, rng)
        return shown, self.targets[rows]


def load_faces(work: Path) -> Faces:
    """The cache that `identity.pretraining.face_cache` made, its renders if there are any.

    Raises:
        InputError: too few faces to hold any out.
    """
    with np.load(work / "faces.npz", allow_pickle=False) as saved:
        paths, said = saved["paths"], saved["teacher"]
        several = "teachers" in saved.files
        teachers = tuple(saved["teachers"].tolist()) if several else ("dlib",)
        widths = tuple(saved["widths"].tolist()) if several else (said.shape[1],)
        cut = CUTS[str(saved["cut"])] if several else LANDMARKS68
    targets, centre = centred_blocks(said, widths)
    chips = np.load(work / "chips.npy", mmap_mode="r", allow_pickle=False)
    held_out = held_out_rows(paths.tolist())
    if not 0 < len(held_out) < len(chips):
        raise InputError(f"{work}: {len(chips)} faces are too few to hold some out; some hundreds will do")
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
