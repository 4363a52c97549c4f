"""Read lists of photo pairs for 1:1 comparison.

A list is a CSV with the columns `photo_a, photo_b, mated` and optionally `fold`, or the `pairs.txt` of Labeled Faces in
the Wild.

Source:
    Huang et al., "Labeled Faces in the Wild", 2007, for the format of `pairs.txt`. Its first line contains the number
    of folds and the number of pairs of each kind per fold. Then follow, fold by fold, lines `name i j` for two photos
    of one person and lines `name i other j` for photos of two people.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from augmentor.errors import InputError

COLUMNS = ("photo_a", "photo_b", "mated")
_MATED = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


@dataclass(frozen=True)
class PhotoPair:
    """Two photos to compare.

    Attributes:
        photo_a: the first photo.
        photo_b: the second photo.
        mated: whether they show the same person.
        fold: fold that the pair belongs to; None if the list has no folds.
    """

    photo_a: Path
    photo_b: Path
    mated: bool
    fold: int | None = None


def read_pairs(file: Path, root: Path) -> list[PhotoPair]:
    """Read a list of pairs.

    Args:
        file: UTF-8 CSV with a header; other columns are ignored. `mated` is 1/0, true/false or yes/no; `fold` is a
            number in every row or in none. Or LFW's `pairs.txt`, with photos named `name/name_0001.jpg`.
        root: folder that relative photo paths start from.

    Raises:
        InputError: The file cannot be read, a column is missing, a row is wrong (the message contains the line
            number), a photo does not exist, or there are no pairs.
    """
    try:
        text = file.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: not UTF-8 ({error.reason}); save the list as UTF-8 CSV") from error
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror or error})") from error
    if _is_lfw(text):
        return _read_lfw(text, file, root)
    rows = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True)
    missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
    if missing:
        header = ",".join(COLUMNS)
        raise InputError(f"{file}: no column {', '.join(missing)}; the first line must read {header}")
    pairs = []
    present: set[Path] = set()
    try:
        for row in rows:
            pair = _pair(row, root, f"{file}, line {rows.line_num}")
            for photo in (pair.photo_a, pair.photo_b):
                if photo not in present and not photo.is_file():
                    raise InputError(
                        f"{file}, line {rows.line_num}: no photo {photo}; paths must be relative to --pairs-root"
                    )
                present.add(photo)
            pairs.append(pair)
    except csv.Error as error:
        raise InputError(f"{file}, line {rows.line_num}: not CSV ({error})") from error
    if not pairs:
        raise InputError(f"{file}: no pairs in it")
    if len({pair.fold is None for pair in pairs}) > 1:
        raise InputError(f"{file}: only some rows have a fold; give one to every pair or to none")
    return pairs


def _is_lfw(text: str) -> bool:
    """Return whether a list starts like LFW's, with a line of one or two numbers."""
    first = text.partition("\n")[0].split()
    return len(first) in (1, 2) and all(word.isdecimal() for word in first)


def _read_lfw(text: str, file: Path, root: Path) -> list[PhotoPair]:
    lines = text.splitlines()
    numbers = [int(word) for word in lines[0].split()]
    folds, each = numbers if len(numbers) == 2 else (1, numbers[0])
    body = [(number, line.split("\t")) for number, line in enumerate(lines[1:], 2) if line.strip()]
    if not each or len(body) != folds * each * 2:
        raise InputError(
            f"{file}: {len(body)} pairs, but its first line announces {folds} times {each} of either kind"
        )
    pairs = []
    for index, (number, words) in enumerate(body):
        where, mated = f"{file}, line {number}", index // each % 2 == 0
        wanted = 3 if mated else 4
        words = words if len(words) == wanted else " ".join(words).split()
        if len(words) != wanted or not all(word.isdecimal() for word in words[1::2] + words[2:3] * mated):
            kind = "name, number, number" if mated else "name, number, name, number"
            raise InputError(f"{where}: expected {kind}, but the line contains {words}")
        sides = [(words[0], words[1]), (words[0] if mated else words[2], words[-1])]
        photos = [root / name / f"{name}_{int(which):04d}.jpg" for name, which in sides]
        for photo in photos:
            if not photo.is_file():
                raise InputError(f"{where}: no photo {photo}; give --pairs-root the folder with all people")
        pairs.append(PhotoPair(photos[0], photos[1], mated, index // (2 * each) if folds > 1 else None))
    return pairs


def _pair(row: dict[str, str | None], root: Path, where: str) -> PhotoPair:
    photo_a, photo_b, mated = (row[name] for name in COLUMNS)
    if not photo_a or not photo_b or mated is None:
        raise InputError(f"{where}: expected two photos and mated, but the row is {list(row.values())}")
    if mated.strip().lower() not in _MATED:
        raise InputError(f"{where}: mated is {mated!r}; write 1 for the same person and 0 for two people")
    fold = (row.get("fold") or "").strip()
    if fold and not fold.isdecimal():
        raise InputError(f"{where}: fold is {fold!r}; write a number")
    return PhotoPair(
        root / photo_a, root / photo_b, _MATED[mated.strip().lower()], int(fold) if fold else None
    )


def pair_identities(pairs: Sequence[PhotoPair]) -> tuple[list[Path], list[Path]]:
    """Return identities of the people in both photos of each pair, for resampling people.

    Usually the folder of a photo identifies its person. If the list contradicts this, because a non-mated pair is in
    one folder or a mated pair in two, each photo counts as a person of its own, but photos that are connected by mated
    pairs count as the same person.

    Args:
        pairs: the pairs.

    Returns:
        The identities of the first photos and those of the second photos; equal paths are the same person.

    Example:
        >>> pairs = [PhotoPair(Path("ann/1.jpg"), Path("ann/2.jpg"), True)]
        >>> [str(person) for side in pair_identities(pairs) for person in side]
        ['ann', 'ann']
    """
    if all(pair.mated or pair.photo_a.parent != pair.photo_b.parent for pair in pairs) and all(
        not pair.mated or pair.photo_a.parent == pair.photo_b.parent for pair in pairs
    ):
        return [pair.photo_a.parent for pair in pairs], [pair.photo_b.parent for pair in pairs]
    parent: dict[Path, Path] = {}  # a union-find forest over the photos

    def root(photo: Path) -> Path:
        while (above := parent.setdefault(photo, photo)) != photo:
            parent[photo] = parent[above]
            photo = above
        return photo

    for pair in pairs:
        if pair.mated:
            parent[root(pair.photo_a)] = root(pair.photo_b)
    return [root(pair.photo_a) for pair in pairs], [root(pair.photo_b) for pair in pairs]
