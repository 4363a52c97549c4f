"""Face features without a trained run, for comparing two faces: `--model face|dlib|both`.

They were not trained on the people on whom they are measured, so any list of pairs can measure them. Naming people
needs a run.
"""

import numpy as np

from augmentor.errors import InputError
from augmentor.faces.chip import CHIP_SIZE
from augmentor.faces.face_source import FaceSource, face_source
from identity.decisions.same_person import SamePerson, load_same_person
from identity.networks.backbone import load_weights
from identity.networks.embedding import join, load_embedder
from identity.networks.feature_source import RunNetworks
from identity.networks.features import FrozenBackbone
from identity.networks.sources import DLIB, FACE, default_shares, sources_in_order, sources_of

BARE_MODELS = (FACE.name, DLIB.name, "both")  # the values of --model that need no run


class BareFeatures:
    """Embeds chips with frozen networks; each chip is averaged with its mirror image.

    Attributes:
        embedder: the networks.
        shares: source name -> share.
        weights: of the EfficientNet-B0; None where it is not used.

    Args:
        name: one of `BARE_MODELS`, or names of sources with "+" between them that were not trained on a run's photos.
            Several are joined by the shares that a run without enough calibration uses. Those give dlib everything so
            far, so `both` does not load the B0.

    Raises:
        InputError: unknown name, or a weight file is missing or damaged.
    """

    size = CHIP_SIZE
    align = "face"

    def __init__(self, name: str) -> None:
        try:
            untrained = [s.name for s in sources_of(name) if not s.trained_on_the_photos]
        except InputError as error:
            raise InputError(f"no bare model {name!r}; known: {', '.join(BARE_MODELS)}") from error
        if not untrained:
            raise InputError(f"{name} compares faces only after training; known: {', '.join(BARE_MODELS)}")
        shares = {part: share for part, share in default_shares(untrained).items() if share > 0}
        needs_backbone = any(source.uses_backbone for source in sources_in_order(shares))
        self.weights = load_weights("face") if needs_backbone else None
        backbone = FrozenBackbone(self.weights, CHIP_SIZE) if self.weights else None
        self.embedder = load_embedder(shares, RunNetworks(backbone))
        self.shares = shares
        self._name = name

    @property
    def same_person(self) -> SamePerson:
        """The calibration for comparing two faces, as it ships with the package.

        Raises:
            InputError: the file is missing, damaged or was made with other face weights.
        """
        return load_same_person(self._name, self.weights.digest if self.weights else "")

    @property
    def faces(self) -> FaceSource:
        """The face source for photos that may show anybody."""
        return face_source(second_opinion=True)

    def embed(self, chips: np.ndarray) -> np.ndarray:
        """Embed chips.

        Args:
            chips: (N, 150, 150, 3) uint8 RGB.

        Returns:
            (N, D) float32 unit rows.
        """
        return join(self.embedder.probes(chips), self.shares)
