"""A run whose folder was moved: it finds what moved along with it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from augmentor.photos.place import is_local
from identity.runs.bundle import Bundle


def moved_here(bundle: Bundle, folder: Path) -> Bundle:
    """Return the run as one whose home is the folder in which it is now.

    The training set and the cache lay somewhere relative to the run. Where they lie in the same place relative to the
    new folder, and are gone from the old place, they moved along.

    Args:
        bundle: the run.
        folder: its folder now, an absolute path.
    """
    about: dict[str, Any] = bundle.about | {"home": str(folder)}
    home, config = bundle.about.get("home"), bundle.about.get("config")
    if home and isinstance(config, dict):
        moved = {kind: _moved(config.get(kind), Path(home), folder) for kind in ("data", "cache")}
        about["config"] = config | {kind: place for kind, place in moved.items() if place is not None}
    return replace(bundle, about=about)


def _moved(place: str | None, home: Path, folder: Path) -> str | None:
    """Return where a place is after it moved along; None if it did not."""
    if not place or not is_local(place) or Path(place).exists():
        return None
    try:
        beside = folder.parent / Path(place).relative_to(home.parent)
    except ValueError:  # it did not lie beside the run
        return None
    return str(beside) if beside.exists() else None
