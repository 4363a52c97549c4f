"""Lists of photo pairs for 1:1 comparison: CSV with the columns `photo_a, photo_b, mated` and possibly `fold`, or the
`pairs.txt` of Labeled Faces in the Wild.

Source:
    Huang et al., "Labeled Faces in the Wild", 2007: the format of `pairs.txt`. Its first line has the number of folds
    and of pairs of either kind in each; then, fold by fold, `name i j` for two photos of one person, `name i other j`
    for two people.
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
    """Two photos, whether they show the same person, and the fold of the list they belong to, where it has folds."""

    photo_a: Path
    photo_b: Path
    mated: bool
    fold: int | None = None


def read_pairs(file: Path, root: Path) -> list[PhotoPair]:
    """Read a list of pairs.

    Args:
        file: UTF-8 CSV with a header; further columns are ignored. `mated` is 1/0, true/false or yes/no, `fold` a
            number in every row or in none. Or LFW's `pairs.txt`, its photos being `name/name_0001.jpg`.
        root: What relative photo paths start from.

    Raises:
        InputError: Missing file or column, a bad row (with its line number), a photo that is not there, no
            pair.
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
                        f"{file}, line {rows.line_num}: no photo {photo}; paths are relative to --pairs-root"
                    )
                present.add(photo)
            pairs.append(pair)
    except csv.Error as error:
        raise InputError(f"{file}, line {rows.line_num}: not CSV ({error})") from error
    if not pairs:
        raise InputError(f"{file}: no pairs in it")
    if len({pair.fold is None for pair in pairs}) > 1:
        raise InputError(f"{file}: a fold in some rows only; give every pair one, or none")
    return pairs


def _is_lfw(text: str) -> bool:
    """Whether a list begins as LFW's do: with one or two numbers alone."""
    first = text.partition("\n")[0].split()
    return len(first) in (1, 2) and all(word.isdecimal() for word in first)


def _read_lfw(text: str, file: Path, root: Path) -> list[PhotoPair]:
    lines = text.splitlines()
    numbers = [int(word) for word in lines[0].split()]
    folds, each = numbers if len(numbers) == 2 else (1, numbers[0])
    body = [(number, line.split("\t")) for number, line in enumerate(lines[1:], 2) if line.strip()]
    if not each or len(body) != folds * each * 2:
        raise InputError(
            f"{file}: {len(body)} pairs, its first line promises {folds} times {each} of either kind"
        )
    pairs = []
    for index, (number, words) in enumerate(body):
        where, mated = f"{file}, line {number}", index // each % 2 == 0
        wanted = 3 if mated else 4
        words = words if len(words) == wanted else " ".join(words).split()
        if len(words) != wanted or not all(word.isdecimal() for word in words[1::2] + words[2:3] * mated):
            kind = "name, number, number" if mated else "name, number, name, number"
            raise InputError(f"{where}: expected {kind}, found {words}")
        sides = [(words[0], words[1]), (words[0] if mated else words[2], words[-1])]
        photos = [root / name / f"{name}_{int(which):04d}.jpg" for name, which in sides]
        for photo in photos:
            if not photo.is_file():
                raise InputError(f"{where}: no photo {photo}; --pairs-root takes the folder of the people")
        pairs.append(PhotoPair(photos[0], photos[1], mated, index // (2 * each) if folds > 1 else None))
    return pairs


def _pair(row: dict[str, str | None], root: Path, where: str) -> PhotoPair:
    photo_a, photo_b, mated = (row[name] for name in COLUMNS)
    if not photo_a or not photo_b or mated is None:
        raise InputError(f"{where}: expected two photos and mated, found {list(row.values())}")
    if mated.strip().lower() not in _MATED:
        raise InputError(f"{where}: mated is {mated!r}; write 1 for the same person and 0 for two people")
    fold = (row.get("fold") or "").strip()
    if fold and not fold.isdecimal():
        raise InputError(f"{where}: fold is {fold!r}; write a number")
    return PhotoPair(
        root / photo_a, root / photo_b, _MATED[mated.strip().lower()], int(fold) if fold else None
    )


def pair_identities(pairs: Sequence[PhotoPair]) -> tuple[list[Path], list[Path]]:
    """Who is on either side of each pair, as far as a list of pairs tells: for resampling people.

    The folder of a photo is its person. Where a non-mated pair lies within one folder folders are not
    people; then every photo stands for itself, but for those that mated pairs tie together.
    """
    if all(pair.mated or pair.photo_a.parent != pair.photo_b.parent for pair in pairs) and all(
        not pair.mated or pair.photo_a.parent == pair.photo_b.parent for pair in pairs
    ):
        return [pair.photo_a.parent for pair in pairs], [pair.photo_b.parent for pair in pairs]
    tied: dict[Path, Path] = {}

    def first(photo: Path) -> Path:
        while (above := tied.setdefault(photo, photo)) != photo:
            tied[photo] = tied[above]
            photo = above
        return photo

    for pair in pairs:
        if pair.mated:
            tied[first(pair.photo_a)] = first(pair.photo_b)
    return [first(pair.photo_a) for pair in pairs], [first(pair.photo_b) for pair in pairs]
