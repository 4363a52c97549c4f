"""Templates by pose: what a turned face is compared with.

Besides the template that everybody has, made of photos and some renders (`identity.decisions.templates`), a person has
one for each side, made of renders that turn the face to this side. A probe's similarity to the person is the largest of
the three. Nobody has to know the probe's pose: a face seen from the side is more like the renders of that side than
like a photo from the front. The templates of the sides must win by a margin, so that a frontal probe, whose rank and
score the photos tell best, is compared with the photos. Thresholds are calibrated with the same similarities.

The measurements that this was chosen by: docs/decisions/0035-pose-templates.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from identity.networks.embedding import join

SIDES = 2  # the nose turned to the image's left, and to its right
NO_SIDE = -1
SIDE_YAW = 30.0  # degrees; a render that is turned less shows no side
SIDE_MARGIN = 0.08  # of cosine
_WANTED_YAWS = (45.0, -75.0, 15.0, 75.0, -45.0, 60.0, -60.0, -15.0)


def side_of(yaws: np.ndarray) -> np.ndarray:
    """Return (N,) int8: 0 for a face turned to the image's left, 1 to its right, `NO_SIDE` for any other.

    Args:
        yaws: (N,) degrees; + turns the nose to the image's left. NaN: the pose is not known.

    Example:
        >>> side_of(np.array([45.0, -60.0, 10.0])).tolist()
        [0, 1, -1]
    """
    return np.where(yaws >= SIDE_YAW, 0, np.where(yaws <= -SIDE_YAW, 1, NO_SIDE)).astype(np.int8)


def wanted_yaws(count: int) -> np.ndarray:
    """Return (count,) degrees: the yaw that each of a person's renders should have; three of eight show each side.

    Every second or third of them, which one of several photos gets, shows both sides, too.
    """
    return np.resize(_WANTED_YAWS, count)


def nearest_renders(yaws: np.ndarray, photos: np.ndarray, wanted: np.ndarray) -> list[int]:
    """Return which of a person's renders have the wanted yaws most nearly, drawn evenly over the photos.

    Args:
        yaws: (R,) degrees, of each render.
        photos: (R,) the photo that each render was made of.
        wanted: (W,) degrees.

    Returns:
        At most W different indices. For each wanted yaw in turn, renders of the same side come before others, among
        these such of photos that were taken less often, and among these the nearest.
    """
    chosen: list[int] = []
    used: dict[int, int] = {}
    left = np.ones(len(yaws), bool)
    for yaw in wanted.tolist():
        rest = np.flatnonzero(left)
        if not len(rest):
            break
        other_side = side_of(yaws[rest]) != side_of(np.array([yaw]))
        often = np.array([used.get(photo, 0) for photo in photos[rest].tolist()])
        best = int(rest[np.lexsort([np.abs(yaws[rest] - yaw), often, other_side])[0]])
        chosen.append(best)
        left[best] = False
        used[int(photos[best])] = used.get(int(photos[best]), 0) + 1
    return chosen


@dataclass(frozen=True, eq=False)
class PoseTemplates:
    """The templates of the enrolled people, all parts joined.

    Attributes:
        front: (C, D) float32 unit rows.
        sides: (SIDES, C, D) float32 unit rows; None where there are none.
        margin: by how much the similarity to a side must exceed that to the front to count.
    """

    front: np.ndarray
    sides: np.ndarray | None = None
    margin: float = SIDE_MARGIN

    @classmethod
    def joined(
        cls,
        front: Mapping[str, np.ndarray],
        sides: Mapping[str, np.ndarray],
        shares: Mapping[str, float],
        margin: float = SIDE_MARGIN,
    ) -> "PoseTemplates":
        """Join the parts of all sources.

        Args:
            front: source name -> (C, D_part) unit rows.
            sides: source name -> (SIDES, C, D_part) unit rows; empty where there are none.
            shares: source name -> share.
            margin: see the attribute.
        """
        if not sides:
            return cls(join(front, shares), None, margin)
        each = [join({name: rows[side] for name, rows in sides.items()}, shares) for side in range(SIDES)]
        return cls(join(front, shares), np.stack(each), margin)

    def similarities(self, probes: np.ndarray) -> np.ndarray:
        """Return the (N, C) similarities of every probe, (N, D) unit rows, to every person."""
        best = probes @ self.front.T
        for side in () if self.sides is None else self.sides:
            np.maximum(best, probes @ side.T - self.margin, out=best)
        return best

    def similarity_of_each(self, probes: np.ndarray) -> np.ndarray:
        """Return the (C,) similarities of probe k, of (C, D) unit rows, to person k."""
        best = (probes * self.front).sum(axis=1)
        for side in () if self.sides is None else self.sides:
            best = np.maximum(best, (probes * side).sum(axis=1) - self.margin)
        return best
