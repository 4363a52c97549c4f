"""A run whose folder was moved: it finds what moved along with it."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from augmentor.balanced_set.layout import MANIFEST
from augmentor.balanced_set.manifest import read_manifest
from augmentor.errors import InputError
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
        moved = {kind: moved_place(config.get(kind), Path(home), folder) for kind in ("data", "cache")}
        if moved["data"] is not None and not is_set_of(
            Path(moved["data"]), bundle.sources["sha256"].to_pylist()
        ):
            del moved["data"]  # another set of the same name
        about["config"] = config | {kind: place for kind, place in moved.items() if place is not None}
    return replace(bundle, about=about)


def moved_place(place: str | None, home: Path, folder: Path) -> str | None:
    """Return where a place is after it moved along with the run; None if it did not.

    Args:
        place: a path as the run knows it, or a URI.
        home: folder of the run before it was moved.
        folder: folder of the run now.
    """
    if not place or not is_local(place) or Path(place).exists():
        return None
    try:
        beside = folder.parent / Path(place).relative_to(home.parent)
    except ValueError:  # it did not lie beside the run
        return None
    return str(beside) if beside.exists() else None


def is_set_of(place: Path, sha256: Collection[str]) -> bool:
    """Return whether a balanced set has images of some photos.

    Args:
        place: folder of the set.
        sha256: SHA-256 of the photos' files.
    """
    try:
        photos = set(read_manifest(place / MANIFEST)["source_sha256"].to_pylist())
    except (InputError, OSError):
        return False
    return not photos.isdisjoint(sha256)
