"""The folder of this software in the user's cache."""

import os
from pathlib import Path


def user_cache() -> Path:
    """Return the folder; it may not be there.

    Source:
        XDG Base Directory Specification.
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "likeness"
