"""Face features without a trained run, for comparing two faces: `--model face|dlib|both`.

They never saw the people they are measured on, so any list of pairs measures them; naming people needs a run.
"""

from typing import TYPE_CHECKING

import numpy as np

from augmentor.errors import InputError
from augmentor.faces.chip import CHIP_SIZE

if TYPE_CHECKING:
    from identity.decisions.same_person import SamePerson

# The embeddings of `identity.networks.embedding` that need no trained head.
_PARTS = {"face": ("face",), "dlib": ("dlib",), "both": ("dlib", "face")}
BARE_MODELS = tuple(_PARTS)


class BareFeatures:
    """Embeds chips with frozen networks, photo and mirror image averaged.

    A plain class: `__init__` loads, `embed` works. `embedder`, `shares` and `weights` (of the B0, None without it) are
    what it is made of.

    Args:
        name: one of `BARE_MODELS`; `both` joins the two by the shares that a run without enough calibration uses,
            which give dlib everything so far: the B0 is then not even loaded.

    Raises:
        InputError: unknown name, or a weight file is missing or damaged.
    """

    size = CHIP_SIZE
    align = "face"

    def __init__(self, name: str) -> None:
        if name not in _PARTS:
            raise InputError(f"no bare model {name!r}; known: {', '.join(BARE_MODELS)}")
        # inside, because these import TensorFlow: processes that look for faces import this module, too
        from identity.decisions.templates import default_shares
        from identity.networks.backbone import load_weights
        from identity.networks.embedding import PartEmbedder
        from identity.networks.features import FrozenBackbone

        shares = default_shares(_PARTS[name])
        parts = tuple(part for part in _PARTS[name] if shares[part] > 0)
        self.weights = load_weights("face") if "face" in parts else None
        backbone = FrozenBackbone(self.weights, CHIP_SIZE) if self.weights else None
        self.embedder = PartEmbedder(parts, backbone)
        self.shares = {part: shares[part] for part in parts}
        self._name = name

    @property
    def same_person(self) -> "SamePerson":
        """When two faces are the same person's, as it ships with the package.

        Raises:
            InputError: missing, damaged or of other face weights.
        """
        from identity.decisions.same_person import load_same_person

        return load_same_person(self._name, self.weights.digest if self.weights else "")

    def embed(self, chips: np.ndarray) -> np.ndarray:
        """Embed chips.

        Args:
            chips: (N, 150, 150, 3) uint8 RGB.

        Returns:
            (N, D) float32 unit rows.
        """
        from identity.networks.embedding import join

        return join(self.embedder.probes(chips), self.shares)
