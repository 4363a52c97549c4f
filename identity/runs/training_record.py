"""The record that a run keeps of its training."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True)
class TrainingRecord:
    """The record of a training. Later commands use some of it; the rest is for people to read.

    Attributes:
        images: of the training set, renders included.
        photos: of the training set.
        people: that were trained.
        held_out: photos that were kept out of the training.
        epochs: that the head was trained for; 0 without a head.
        held_out_rank1: share of held-out photos that the head names rightly; None where nothing was measured.
        render_weight: as how many photos the mean of a person's renders counts in a template.
        chosen_by: how shares and `render_weight` came about.
        strangers_from: who the calibration strangers were.
        seed: of everything random.
        commit: of the program; None where it did not run from a checkout.
        seconds: that the training took.
    """

    images: int = 0
    photos: int = 0
    people: int = 0
    held_out: int = 0
    epochs: int = 0
    held_out_rank1: float | None = None
    render_weight: float = 0.0
    chosen_by: str = ""
    strangers_from: str = ""
    seed: int = 0
    commit: str | None = None
    seconds: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TrainingRecord":
        """Read what `as_dict` wrote.

        Raises:
            KeyError, TypeError, ValueError: `values` is not such a dictionary.
        """
        if unknown := values.keys() - {each.name for each in fields(cls)}:
            raise ValueError(f"unknown in a training record: {', '.join(sorted(unknown))}")
        rank1 = values["held_out_rank1"]
        return cls(
            **{
                **values,
                "render_weight": float(values["render_weight"]),
                "seed": int(values["seed"]),
                "held_out_rank1": None if rank1 is None else float(rank1),
            }
        )
