"""The settings of a head, and where in its weights the people stand. Reading them loads no Keras."""

from dataclasses import asdict, dataclass
from typing import Any

KINDS = ("cosine", "seed")
# How many arrays at the end of each kind's weights have the people along their last axis: the prototypes, or the
# kernel and the bias of the softmax.
_ARRAYS_OF_PEOPLE = {"cosine": 1, "seed": 2}


@dataclass(frozen=True)
class HeadConfig:
    """A head and how it is trained.

    Attributes:
        kind: one of `KINDS`.
        classes: number of people.
        map_shape: (rows, columns, channels) of the backbone's map.
        channels: filters of the cosine head's convolution.
        embedding: length of the cosine head's embedding.
        dropout: rate, of either head.
        scale: factor between cosine and logit.
        margin: by how much the right cosine must exceed the others.
    """

    kind: str
    classes: int
    map_shape: tuple[int, int, int] = (5, 5, 1280)
    channels: int = 512
    embedding: int = 256
    dropout: float = 0.3
    scale: float = 24.0
    margin: float = 0.2

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"head {self.kind!r}: one of {', '.join(KINDS)}")
        if self.classes < 1 or not 0 <= self.dropout < 1 or self.scale <= 0:
            raise ValueError(f"unusable head: {self}")

    def people_arrays(self, arrays: int) -> range:
        """Return which of a head's `arrays` weight arrays have the people along their last axis."""
        return range(arrays - _ARRAYS_OF_PEOPLE[self.kind], arrays)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "map_shape": list(self.map_shape)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "HeadConfig":
        """Read what `as_dict` wrote."""
        return cls(**{**values, "map_shape": tuple(values["map_shape"])})
