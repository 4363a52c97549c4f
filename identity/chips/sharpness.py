"""Fine detail of a face: blurred faces have little, whatever the light.

The cosine of a face and its mirror image, which `identity` reports as quality, does not tell blurred faces from sharp
ones; see docs/decisions/0020-quality.md.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from identity.chips.photo_faces import PhotoFaces

# None of 113 faces of LFW has less detail than this; nine in ten of the same faces blurred by 3 pixels do.
LITTLE_DETAIL = 0.04
_SIGMA = 1.5  # Pixels of a chip of 150 pixels.
_CHIP = 150
_SHOWN = 3


def detail(chip: np.ndarray) -> float:
    """Return the share of a face's contrast that a slight blur takes away.

    Args:
        chip: (S, S, 3) uint8 RGB, a face chip.

    Returns:
        0 for a chip of one colour; LFW's faces have 0.06 to 0.14.
    """
    grey = cv2.cvtColor(chip, cv2.COLOR_RGB2GRAY).astype(np.float32)
    contrast = float(grey.std())
    sigma = _SIGMA * chip.shape[0] / _CHIP
    return float((grey - cv2.GaussianBlur(grey, (0, 0), sigma)).std()) / contrast if contrast else 0.0


def blurred_line(name: str, photos: Sequence[PhotoFaces], shown: Sequence[str]) -> str:
    """Return a warning about photos of a person that are blurred; empty if none is.

    Args:
        name: of the person.
        photos: the photos, with chips.
        shown: what the warning calls each photo.
    """
    blurred = [
        called
        for photo, called in zip(photos, shown, strict=True)
        if photo.chip is not None and detail(photo.chip) < LITTLE_DETAIL
    ]
    if not blurred:
        return ""
    some = ", ".join(blurred[:_SHOWN]) + (", ..." if len(blurred) > _SHOWN else "")
    if len(blurred) < len(photos):
        return f"{len(blurred)} of {len(photos)} photos of {name} are blurred ({some}); leave them out"
    return (
        f"all photos of {name} are blurred ({some}), so blurred strangers may be taken for {name}; "
        "enrol sharper photos"
    )
