"""Offsets of dlib's 68 landmarks from those of the head model, measured once and shipped as data.

The annotators of 300-W, and therefore dlib, put some landmarks on other places of the skin than the makers of the ICT
model: the middle of the inner lips further in, the wings of the nose further forward, the jaw's angle further along
the outline. The offsets are vectors in space, so they are measured once, on made-up people whose cameras are known:

    python -m datasets.synthetic --out DIR --identities 50 --photos 4-4 --seed 1000
    python -m augmentor.head.measure_offsets --people DIR --out augmentor/data/detector_offsets.json
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import numpy as np

from augmentor.errors import InputError

FILE = Path(__file__).parent.parent / "data" / "detector_offsets.json"


@lru_cache(maxsize=1)
def detector_offsets() -> np.ndarray:
    """Return dlib's landmarks minus the head model's, (68, 3) float64 mm in the model frame, read-only.

    Raises:
        InputError: the data file is missing or damaged.
    """
    try:
        offsets = np.array(json.loads(FILE.read_text("utf-8"))["offsets_mm"], float)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{FILE}: missing or damaged ({error}); reinstall the package") from error
    if offsets.shape != (68, 3) or not np.isfinite(offsets).all():
        raise InputError(f"{FILE}: damaged (expected 68 × 3 numbers); reinstall the package")
    offsets.flags.writeable = False
    return offsets
