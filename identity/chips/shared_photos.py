"""The same photo under two people: one of the two is wrong, or both are in it and the same face is taken for both."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from identity.chips.hash_distance import same_pictures

MOST_COMPARED = (
    50_000  # photos whose perceptual hashes are compared, some ten seconds; equal files are always found
)
_TOLD = 3


@dataclass(frozen=True)
class SharedPhoto:
    """Two photos that are the same and belong to different people.

    Attributes:
        first, second: what to call the photos.
    """

    first: str
    second: str


def shared_photos(photos: pa.Table) -> list[SharedPhoto]:
    """Find photos that two people have: equal files, and the same picture encoded or sized anew.

    Args:
        photos: `photo, sha256, phash, identity` of every photo.

    Returns:
        Each photo that is some other person's, too, with the first of these.
    """
    names, people = photos["photo"].to_pylist(), photos["identity"].to_pylist()
    groups: dict[str, list[int]] = {}
    for row, sha256 in enumerate(photos["sha256"].to_pylist()):
        groups.setdefault(sha256, []).append(row)
    together = [rows for rows in groups.values() if len(rows) > 1]
    if len(names) <= MOST_COMPARED:
        hashes = np.array([value or 0 for value in photos["phash"].to_pylist()], np.uint64)
        together += [[row for row in rows if hashes[row]] for rows in same_pictures(hashes)]
    found: dict[int, SharedPhoto] = {}
    for rows in together:
        for row in rows[1:]:
            other = next((one for one in rows if one < row and people[one] != people[row]), None)
            if other is not None:
                found.setdefault(row, SharedPhoto(names[other], names[row]))
    return [found[row] for row in sorted(found)]


def shared_line(shared: list[SharedPhoto]) -> str:
    """Return one line that names the first of them; empty if there are none."""
    if not shared:
        return ""
    some = "; ".join(f"{one.first} and {one.second}" for one in shared[:_TOLD])
    more = "; ..." if len(shared) > _TOLD else ""
    are = "photo is" if len(shared) == 1 else "photos are"
    return f"{len(shared)} {are} under two people, take each from one of them: {some}{more}"
