"""The folder of this software in the user's cache."""

import os
from pathlib import Path

from augmentor.errors import InputError

VARIABLE = "XDG_CACHE_HOME"


def user_cache() -> Path:
    """Return the folder; it may not be there.

    Raises:
        InputError: the user has no home folder, as in containers that run under any number.

    Source:
        XDG Base Directory Specification.
    """
    if folder := os.environ.get(VARIABLE):
        return Path(folder) / "likeness"
    try:
        return Path.home() / ".cache" / "likeness"
    except RuntimeError as error:
        raise InputError(f"this user has no home folder; set {VARIABLE} to a folder for caches") from error
