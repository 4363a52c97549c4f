"""Offsets of CenterFace's five points on turned heads, measured once and shipped as data.

On a frontal face the points lie near the middles of the eyes, the tip of the nose and the corners of the mouth. On a
turned face the detector puts hidden points near the outline, and others between where they are and where a face that
is turned less would have them. So the offsets depend on the pose. They are measured on renders, whose points are known:

    python -m augmentor.rendering.measure_point_offsets --photos DIR --out augmentor/data/point_offsets.json
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import numpy as np

from augmentor.errors import InputError
from augmentor.faces.five_points import MIRROR5

FILE = Path(__file__).parent.parent / "data" / "point_offsets.json"


def point_offsets(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Return CenterFace's points minus the places of the same points on the head, as they appear in the image.

    Args:
        yaw, pitch, roll: pose of the head, degrees.

    Returns:
        (5, 2) float64 (x, y), mm at the head.

    Raises:
        InputError: the data file is missing or damaged.
    """
    yaws, pitches, table = _table()
    across = np.interp(abs(yaw), yaws, np.arange(len(yaws)))
    down = np.interp(pitch, pitches, np.arange(len(pitches)))
    offsets = _between(_between(table, float(across)), float(down))
    if yaw < 0:
        offsets = offsets[MIRROR5] * (-1, 1)
    sin, cos = np.sin(np.radians(roll)), np.cos(np.radians(roll))
    return offsets @ np.array([[cos, sin], [-sin, cos]])


def _between(table: np.ndarray, place: float) -> np.ndarray:
    """Return the table at a place between two of its entries along the first axis."""
    low = min(int(place), len(table) - 2)
    return table[low] + (place - low) * (table[low + 1] - table[low])


@lru_cache(maxsize=1)
def _table() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return yaws (Y,) from 0 up, pitches (P,), and the offsets (Y, P, 5, 2) mm."""
    try:
        data = json.loads(FILE.read_text("utf-8"))
        yaws, pitches = np.array(data["yaws"], float), np.array(data["pitches"], float)
        table = np.array(data["offsets_mm"], float)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{FILE}: missing or damaged ({error}); reinstall the package") from error
    rising = all(len(axis) > 1 and (np.diff(axis) > 0).all() for axis in (yaws, pitches))
    if not rising or table.shape != (len(yaws), len(pitches), 5, 2) or not np.isfinite(table).all():
        raise InputError(f"{FILE}: damaged; reinstall the package")
    return yaws, pitches, table
