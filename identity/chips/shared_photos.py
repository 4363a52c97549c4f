"""Photos that two people share: one of the two is wrong, or both are in the photo and one face is used for both."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from identity.chips.hash_distance import same_pictures

# Most photos whose perceptual hashes are compared, which takes some ten seconds. Equal files are always found.
MOST_COMPARED = 50_000
_SHOWN = 3


@dataclass(frozen=True)
class SharedPhoto:
    """Two photos that are the same and belong to different people.

    Attributes:
        first, second: names of the photos.
    """

    first: str
    second: str


def shared_photos(photos: pa.Table) -> list[SharedPhoto]:
    """Find photos that two people share: equal files, and the same picture encoded or resized again.

    Args:
        photos: a table with the columns `photo, sha256, phash, identity` and a row for every photo.

    Returns:
        Each photo that another person has, too, with the first photo that is the same.
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
    """Return one line that names the first few shared photos; empty if there are none."""
    if not shared:
        return ""
    some = "; ".join(f"{one.first} and {one.second}" for one in shared[:_SHOWN])
    more = "; ..." if len(shared) > _SHOWN else ""
    if len(shared) == 1:
        return f"1 photo is in the folders of two people; remove it from one of them: {some}"
    return (
        f"{len(shared)} photos are in the folders of two people; remove each from one of them: {some}{more}"
    )
