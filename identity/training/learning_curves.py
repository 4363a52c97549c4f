"""The course of a training, epoch by epoch, as a table and as a picture."""

import csv
import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from augmentor.photos.images import write_whole

CURVES = ("curves.csv", "curves.png")


@dataclass
class History:
    """The history of a training, with one entry per finished epoch.

    Attributes:
        loss: mean loss.
        train_rank1: share of training images named rightly.
        held_out_rank1: share of held-out photos named rightly; NaN where nobody has three photos.
    """

    loss: list[float] = field(default_factory=list)
    train_rank1: list[float] = field(default_factory=list)
    held_out_rank1: list[float] = field(default_factory=list)

    @property
    def epochs(self) -> int:
        """Number of finished epochs."""
        return len(self.loss)

    @property
    def best(self) -> int:
        """Index of the epoch that is kept: the one that names most held-out photos rightly, else the last."""
        if not self.epochs or np.isnan(self.held_out_rank1).all():
            return self.epochs - 1
        return int(np.argmax(self.held_out_rank1))


def write_curves(folder: Path, history: History) -> None:
    """Write `curves.csv` (epoch, loss, train_rank1, held_out_rank1) and `curves.png`.

    Raises:
        InputError: the folder cannot be written.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["epoch", "loss", "train_rank1", "held_out_rank1"])
    rows = zip(history.loss, history.train_rank1, history.held_out_rank1, strict=True)
    for epoch, (loss, train, held) in enumerate(rows, start=1):
        table.writerow([epoch, f"{loss:.6f}", f"{train:.6f}", "" if np.isnan(held) else f"{held:.6f}"])
    write_whole(folder / CURVES[0], text.getvalue().encode())
    write_whole(folder / CURVES[1], _picture(history))


def _picture(history: History) -> bytes:
    """Return a PNG with the loss on the left, and rank-1 on training images and held-out photos on the right."""
    from matplotlib.figure import Figure  # without pyplot: no window system, no global state

    epochs = np.arange(1, history.epochs + 1)
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(epochs, history.loss, marker="o", color="#1b6ca8")
    left.set(title="Training loss", xlabel="epoch", ylabel="loss")
    right.plot(epochs, history.train_rank1, marker="o", color="#1b6ca8", label="training images")
    if not np.isnan(history.held_out_rank1).all():
        right.plot(epochs, history.held_out_rank1, marker="s", color="#c8553d", label="held-out photos")
    right.axvline(history.best + 1, color="#999999", linestyle=":", label="kept")
    right.set(title="Rank-1 of the head", xlabel="epoch", ylabel="rate", ylim=(0, 1.02))
    right.legend(loc="lower right")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()
