"""The options of a training."""

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from identity.decisions.acceptance import LeadAndCrowding
from identity.training.training_set import located

_KEY_IN_URI = re.compile(r"^(\w+://)[^/?@]*:[^/?@]*@")


@dataclass(frozen=True)
class TrainConfig:
    """A training; the fields but for `score` are the options of `identity.train`, which explains them.

    Attributes:
        data: a folder, or the URI of a balanced set; a file:// URI becomes its folder.
        out: folder of the run.
        strangers: folder of photos of calibration strangers.
        features: see `identity.networks.sources.sources_of`.
        weights: of the backbone, see `identity.networks.backbone.load_weights`.
        head: one of `identity.networks.head_config.KINDS`.
        epochs: at most; None: as many as the size of the set asks for.
        embed_renders: renders of each person that may go into the template.
        seed: of everything random.
        batch: images per step.
        size: pixels that the images must have; None: any.
        cache: folder of features and unpacked images; None: `out`/features.
        no_cache: compute features anew in every epoch.
        align: `face`, or `whole` for photos of anything.
        fine_tune: how many of the backbone's last blocks are trained with the head.
        score: kind of acceptance score, as it is registered in `identity.decisions.acceptance`.

    Raises:
        InputError: a URI that cannot be used.
    """

    data: Path | str
    out: Path
    strangers: Path | None = None
    features: str = "both"
    weights: str = "face"
    head: str = "cosine"
    epochs: int | None = None
    embed_renders: int = 16
    seed: int = 0
    batch: int = 256
    size: int | None = None
    cache: Path | None = None
    no_cache: bool = False
    align: str = "face"
    fine_tune: int = 0
    score: str = LeadAndCrowding.kind

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", located(self.data))

    @property
    def work(self) -> Path:
        """Folder of features, checkpoints and unpacked images."""
        return self.cache or self.out / "features"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, as a run keeps them.

        The set and the cache are named by absolute paths, for commands that are given in other folders. A key that
        stood in a URI is not kept.
        """
        values = {name: str(v) if isinstance(v, Path) else v for name, v in asdict(self).items()}
        data = self.data if isinstance(self.data, str) else str(self.data.resolve())
        return values | {
            "data": _KEY_IN_URI.sub(r"\1", data),
            "cache": str(self.cache.resolve()) if self.cache else None,
        }
