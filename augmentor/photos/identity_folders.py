"""Map people to their folders: one folder for each person, called like the person, on a disk or in a bucket."""

import unicodedata
from collections.abc import Iterable, Sequence

from augmentor.errors import InputError
from augmentor.path_text import is_utf8
from augmentor.photos.file_kinds import is_called_photo, is_system_file, is_system_folder
from augmentor.photos.names import checked_name, name_key, normalised


def identity_folders(where: str, folders: Iterable[str], files: Iterable[str]) -> dict[str, str]:
    """Return the folder of each person, sorted by name.

    A folder whose name a Mac wrote (decomposed, NFD) belongs to the composed name (NFC). Folders of systems and hidden
    ones (`augmentor.photos.file_kinds.is_system_folder`) are nobody's.

    Args:
        where: what messages call the folder they lie in.
        folders: names of the folders there.
        files: names of the files there.

    Returns:
        Name → folder as it is spelled.

    Raises:
        InputError: there is no folder, a photo lies beside them, a name is one that nobody can have, or two folders
            have names that people or file systems would take for one.
    """
    own = sorted(name for name in folders if not is_system_folder(name))
    loose = sorted(
        name
        for name in files
        if is_called_photo(name) and not is_system_file(name) and not name.startswith("._")
    )
    if not own:
        problem = f"only loose photos ({loose[0]}, ...)" if loose else "no folder"
        raise InputError(f"{where}: {problem}; expected one folder of photos per person")
    if loose:
        raise InputError(
            f"{where}: {len(loose)} photo(s) beside the folders, the first is {loose[0]}; "
            "move each into the folder of its person"
        )
    people: dict[str, str] = {}
    for folder in own:
        name = _name_of(where, folder)
        if name in people:
            raise _same(where, people[name], folder)
        people[name] = folder
    _check_apart(where, people)
    return dict(sorted(people.items()))


def spellings(name: str) -> Sequence[str]:
    """Return how the folder of a name may be spelled: composed, as names are here, or decomposed, as Macs wrote it."""
    return list(dict.fromkeys((normalised(name), unicodedata.normalize("NFD", name))))


def _name_of(where: str, folder: str) -> str:
    """Return the name of the person to whom a folder belongs.

    Raises:
        InputError: the folder's name is not one that a person can have.
    """
    if not is_utf8(folder):
        raise InputError(f"{where}/{folder}: a name that is not valid UTF-8; rename the folder")
    try:
        name = checked_name(folder)
    except InputError as error:
        raise InputError(f"{where}: rename the folder {error}") from error
    if folder not in spellings(name):
        raise InputError(
            f"{where}/{folder}: neither composed (NFC) nor decomposed (NFD) Unicode; rename the folder to {name}"
        )
    return name


def _check_apart(where: str, people: dict[str, str]) -> None:
    """Raise an `InputError` if people or file systems would take two of the names for the same one."""
    keys: dict[str, str] = {}
    for name, folder in people.items():
        other = keys.setdefault(name_key(name), folder)
        if other != folder:
            raise _same(where, other, folder)


def _same(where: str, one: str, other: str) -> InputError:
    return InputError(
        f"{where}: the folders {_quoted(one)} and {_quoted(other)} have names that are hard to tell apart; merge them "
        "if they belong to one person, or rename one of them"
    )


def _quoted(folder: str) -> str:
    """Return a folder's name in quotes; letters beyond ASCII also as codes, because the two names may look alike."""
    return repr(folder) if folder.isascii() else f"{folder!r} ({folder!a})"
