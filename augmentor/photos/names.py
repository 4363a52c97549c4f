"""Rules for names: what a person, a group or an album may be called, and which folder belongs to a name.

Every name that a user gives passes `checked_name`: names of enrolled people, of folders of training photos, of groups
that are named, and of albums. A name that passes is NFC-normalised, so that one name typed on two systems stays one
name. It is never a path: it has no separator and is neither `.` nor `..`.

A folder belongs to exactly one name. `folders_of` maps most names to themselves. A name with characters that some file
systems refuse, or one that would share a folder with another name, gets a short hash of the name at its end.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable

from augmentor.errors import InputError

LONGEST_NAME = 200  # bytes of UTF-8; file systems allow 255, and a hash may be added
# Names of other things in a training set, in albums or in answers. They are compared without regard to case.
RESERVED_NAMES = frozenset(
    [
        *("unknown", "other", "review", "no face", "not readable"),
        *("report", "holdout", "shards", "300w-lp", "manifest.parquet", "failures.csv", "summary.json"),
        *("albums.csv", "albums.json", "index.html"),
    ]
)
# Windows opens these devices in any folder: Microsoft Learn, "Naming Files, Paths, and Namespaces".
_DEVICES = frozenset(
    [
        "con",
        "prn",
        "aux",
        "nul",
        "conin$",
        "conout$",
        *(f"{port}{n}" for port in ("com", "lpt") for n in "123456789¹²³"),
    ]
)
_JOINERS = "\u200c\u200d"  # part of the spelling in Persian and Indic scripts, and of many emoji
_INVISIBLE = frozenset(["Cc", "Cf", "Cs", "Zl", "Zp"])
_BLANK = "\u115f\u1160\u2800\u3164\uffa0"  # letters and signs that show nothing: Hangul fillers, an empty braille cell
# Unicode's Default_Ignorable_Code_Point: shows nothing, such as a variation selector.
_IGNORABLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_UNSAFE = re.compile(r'[:*?"<>|]')
_HASHED = re.compile(r".* ~[0-9a-f]{10}")


def normalised(name: str) -> str:
    """Return the name in Unicode's composed form (NFC), the form in which names are stored and compared."""
    return unicodedata.normalize("NFC", name)


def checked_name(name: str) -> str:
    """Return the name, NFC-normalised, if a person, a group or an album may have it.

    Raises:
        InputError: the name is empty, reserved, too long, hidden, or holds what no folder name can hold. The message
            says which and what to do.

    Example:
        >>> checked_name("Zoe\\u0308") == "Zo\\u00eb"
        True
    """
    name = normalised(name)
    if reason := _why_not(name):
        raise InputError(f"{printable(name)!r}: cannot be used as a name, {reason}; choose another name")
    return name


def name_key(name: str) -> str:
    """Return a key that is equal for names which people or file systems would confuse.

    The key ignores case, compatibility forms, invisible characters, repeated blanks, and blanks or dots at the ends.

    Example:
        >>> name_key("Anna") == name_key("anna ") == name_key("Anna.")
        True
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    visible = _IGNORABLE.sub("", "".join(c for c in folded if unicodedata.category(c) != "Cf"))
    return " ".join(visible.split()).strip(" .")


def checked_new_name(name: str, taken: Iterable[str]) -> str:
    """Return `checked_name(name)` if it can also be told apart from every name in `taken`.

    Raises:
        InputError: as `checked_name`; or the name, or one that is hard to tell from it, is taken.
    """
    name = checked_name(name)
    alike = [other for other in taken if name_key(other) == name_key(name)]
    if name in alike:
        raise InputError(f"{name} is enrolled already; choose another name")
    if alike:
        raise InputError(
            f"{name}: hardly differs from {printable(alike[0])!r}, which is taken; choose another name"
        )
    return name


def found_name(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that the user meant: the identical one, else one that is equal after normalisation.

    Returns:
        None if there is no such name.
    """
    names = list(known)
    if name in names:
        return name
    return next((other for other in names if normalised(other) == normalised(name)), None)


def folder_of(name: str) -> str:
    """Return the folder that belongs to a name, if no other name claims it; see `folders_of`.

    Example:
        >>> folder_of("Ada Lovelace")
        'Ada Lovelace'
        >>> folder_of("Ada:B")
        'Ada_B ~e45f48153b'
    """
    plain = _UNSAFE.sub("_", name)
    if plain == name and _why_not(name) is None and not _HASHED.fullmatch(name):
        return name
    return _with_hash(name)


def folders_of(names: Iterable[str]) -> dict[str, str]:
    """Return the folder of each name; no two names share one, even where a file system ignores case."""
    names = list(names)
    claimed: dict[str, list[str]] = {}
    for name in names:
        claimed.setdefault(name_key(folder_of(name)), []).append(name)
    alone = {own[0] for own in claimed.values() if len(own) == 1}
    return {name: folder_of(name) if name in alone else _with_hash(name) for name in names}


def possible_folders(name: str) -> set[str]:
    """Return the folders that a name can have, whatever other names there are."""
    return {folder_of(name), _with_hash(name)}


def printable(name: str) -> str:
    """Return the name as messages may show it, with unprintable characters escaped."""
    return "".join(
        c if c.isprintable() or c in _JOINERS else c.encode("unicode_escape").decode() for c in name
    )


def _why_not(name: str) -> str | None:
    """Return what is wrong with a normalised name, or None if nothing is."""
    if not name.strip():
        return "it is empty"
    if name in (".", ".."):
        return "it is the name of a folder in every folder"
    key = name_key(name)  # equal for all names that people would confuse with this one
    if not key:
        return "it shows nothing but blanks or dots"
    if separator := next((c for c in "/\\" if c in name), None):
        return f"it holds the separator {separator}"
    if name.startswith("."):
        return "a dot at its start hides it"
    if name != name.strip() or name.endswith("."):
        return "it begins with a blank, or ends with a blank or a dot"
    if any((unicodedata.category(c) in _INVISIBLE and c not in _JOINERS) or c in _BLANK for c in name):
        return "it holds a control character or an invisible one"
    if key in RESERVED_NAMES:
        return "other things are kept under it"
    if name.casefold().split(".")[0].strip() in _DEVICES or key.split(".")[0].strip() in _DEVICES:
        return "it is a device on Windows"
    if len(name.encode("utf-8", "surrogatepass")) > LONGEST_NAME:
        return f"it is longer than {LONGEST_NAME} bytes"
    return None


def _with_hash(name: str) -> str:
    """Return a folder that only this name has: the characters that folders may have, and a hash of the whole name."""
    kept = "".join(
        "_" if _UNSAFE.match(c) or c in "/\\" or unicodedata.category(c) in _INVISIBLE else c for c in name
    ).strip(" .")
    short = kept.encode("utf-8", "replace")[: LONGEST_NAME - 12].decode("utf-8", "ignore").strip(" .") or "_"
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:10]
    return f"{short} ~{digest}"
