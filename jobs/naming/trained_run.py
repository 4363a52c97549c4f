"""A trained run by path or URI: which one it is, and a folder to load it from."""

import hashlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from augmentor.errors import InputError
from augmentor.photos.place import FolderPlace, Place, place_of
from identity.decisions.open_set import Decision

_BUNDLE = "bundle.json"  # names the other files by their content: who knows it knows the run


def check_run(uri: str, fpir: float) -> str:
    """Check, without loading its networks, that a run is there and can tell a rate; its digest.

    Args:
        uri: path or URI of its folder.
        fpir: share of strangers who may be given a name.

    Raises:
        InputError: no run, a damaged one, or one that cannot tell that rate.
    """
    place = place_of(uri)
    content, told = _read(place)
    try:
        decision = Decision.from_dict(told["decision"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{place.name(_BUNDLE)}: damaged ({error}); train again") from error
    decision.threshold(fpir)
    return hashlib.sha256(content).hexdigest()


@contextmanager
def run_folder(uri: str, digest: str) -> Iterator[Path]:
    """A folder on this machine that holds a run: its own, or a copy that is removed afterwards.

    Args:
        uri: path or URI of the run.
        digest: of `check_run`.

    Raises:
        InputError: it is not there, or another one now.
    """
    place = place_of(uri)
    content, told = _read(place)
    if hashlib.sha256(content).hexdigest() != digest:
        raise InputError(f"{place.name()}: changed while the job ran; start it again, with another --out")
    if isinstance(place, FolderPlace):
        yield place.folder
        return
    with tempfile.TemporaryDirectory(prefix="likeness-run-") as folder:
        try:
            names = [Path(file["file"]).name for file in told["files"].values()]
            backbone = told["backbone"] and Path(told["backbone"]["weights"]).name
            if backbone and place.stamp(backbone):
                names.append(backbone)
            for name in names:
                (Path(folder) / name).write_bytes(place.read(name))
        except (OSError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{place.name()}: cannot be fetched ({error}); train again") from error
        (Path(folder) / _BUNDLE).write_bytes(content)
        yield Path(folder)


def _read(place: Place) -> tuple[bytes, dict[str, Any]]:
    try:
        content = place.read(_BUNDLE)
    except OSError as error:
        raise InputError(
            f"{place.name()}: no trained model (no {_BUNDLE} can be read); make one with identity.train"
        ) from error
    try:
        told = json.loads(content)
    except ValueError as error:
        raise InputError(f"{place.name(_BUNDLE)}: damaged ({error}); train again") from error
    if not isinstance(told, dict):
        raise InputError(f"{place.name(_BUNDLE)}: damaged (no object); train again")
    return content, told
