"""The views of chips that the student gets: jittered during training, plain when it is measured and used."""

import cv2
import numpy as np

from identity.networks.chip_variants import middle, resized

# How much a view differs from its chip: ranges, standard deviations, or shares of the views.
SCALED, TURNED_DEGREES, MOVED = 0.11, 4.0, 0.02
BLURRED, BLUR, BLUR_EDGE = (
    0.25,
    (0.3, 1.2),
    112,
)  # share, and standard deviation in pixels of a view of this side
GREY, GREY_OF_RGB = 0.15, (0.299, 0.587, 0.114)
BRIGHTER, TINTED, LIFTED = 0.3, 0.07, 20.0


def jittered_view(chip: np.ndarray, size: int, zoom: float, rng: np.random.Generator) -> np.ndarray:
    """Return a random view of a chip: mirrored, moved, turned, scaled, recoloured, blurred or grey.

    Args:
        chip: (h, h, 3) uint8 RGB.
        size: side of the view in pixels.
        zoom: mean magnification; it varies by `SCALED` up and down.
        rng: the random numbers to use.

    Returns:
        (size, size, 3) uint8 RGB.
    """
    scale = size / chip.shape[0] * zoom * rng.uniform(1 - SCALED, 1 + SCALED)
    turn = rng.normal(0, TURNED_DEGREES)
    warp = cv2.getRotationMatrix2D((chip.shape[1] / 2, chip.shape[0] / 2), turn, scale)
    warp[:, 2] += size / 2 - np.array(chip.shape[:2][::-1]) / 2 + rng.normal(0, MOVED, 2) * size
    if rng.random() < 0.5:
        chip = chip[:, ::-1]
    out = cv2.warpAffine(
        np.ascontiguousarray(chip),
        warp,
        (size, size),
        flags=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    if rng.random() < BLURRED:
        out = cv2.GaussianBlur(out, (0, 0), rng.uniform(*BLUR) * size / BLUR_EDGE)
    if rng.random() < GREY:
        out = np.repeat(cv2.cvtColor(out, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    gain = rng.uniform(1 - BRIGHTER, 1 + BRIGHTER) * rng.uniform(1 - TINTED, 1 + TINTED, 3)
    return np.clip(out * gain + rng.uniform(-LIFTED, LIFTED), 0, 255).astype(np.uint8)


def plain(chips: np.ndarray, size: int, zoom: float) -> np.ndarray:
    """Return views of chips as they are used after training: their middle, without any jitter.

    Args:
        chips: (N, h, h, 3) uint8 RGB.
        size: side of the views in pixels.
        zoom: magnification.

    Returns:
        (N, size, size, 3) float32 RGB 0-255.
    """
    return resized(middle(chips, zoom), size).astype(np.float32)
