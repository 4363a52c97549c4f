"""Check a trained run at a path or URI, and provide a folder to load it from."""

import hashlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from augmentor.errors import InputError
from augmentor.faces.face_source import SOURCES
from augmentor.photos.place import FolderPlace, Place, place_of
from identity.decisions.open_set import Decision
from identity.runs.bundle import VERSION

_BUNDLE = "bundle.json"  # names the other files by their content, so its digest identifies the run


def check_run(uri: str, fpir: float) -> tuple[str, str]:
    """Check that a run exists and has a threshold for a rate, without loading its networks.

    Args:
        uri: path or URI of the run's folder.
        fpir: share of strangers who may be given a name.

    Returns:
        The digest of the run, and the name of its face source.

    Raises:
        InputError: there is no run, it is damaged, or it has no threshold for this rate.
    """
    place = place_of(uri)
    content, bundle = _read(place)
    try:
        decision = Decision.from_dict(bundle["people"]["decision"])
        detector = bundle["detector"]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{place.name(_BUNDLE)}: damaged ({error}); train again") from error
    decision.threshold(fpir)
    if detector not in SOURCES:
        raise InputError(
            f"{place.name(_BUNDLE)}: made with --detector {detector}, which this program does not have"
        )
    return hashlib.sha256(content).hexdigest(), detector


def check_unchanged(uri: str, digest: str) -> None:
    """Check that a run in a bucket is still the one that the job began with.

    A run on a disk needs no check: it is read again by whoever decides on a name.

    Args:
        uri: path or URI of the run's folder.
        digest: the digest that `check_run` returned.

    Raises:
        InputError: the run is gone, or somebody was enrolled in it or forgotten since.
    """
    place = place_of(uri)
    if isinstance(place, FolderPlace):
        return
    content, _ = _read(place)
    if hashlib.sha256(content).hexdigest() != digest:
        raise _changed(place)


@contextmanager
def run_folder(uri: str, digest: str) -> Iterator[Path]:
    """Yield a folder on this machine that holds a run: its own, or a copy that is removed afterwards.

    Args:
        uri: path or URI of the run's folder.
        digest: the digest that `check_run` returned.

    Raises:
        InputError: the run is gone, or is another one now.
    """
    place = place_of(uri)
    content, bundle = _read(place)
    if hashlib.sha256(content).hexdigest() != digest:
        raise _changed(place)
    if isinstance(place, FolderPlace):
        yield place.folder
        return
    with tempfile.TemporaryDirectory(prefix="likeness-run-") as folder:
        try:
            names = [Path(file["file"]).name for file in bundle["files"].values()]
            backbone = bundle["backbone"] and Path(bundle["backbone"]["weights"]).name
            if backbone and place.stamp(backbone):
                names.append(backbone)
            for name in names:
                (Path(folder) / name).write_bytes(place.read(name))
        except (OSError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{place.name()}: cannot be downloaded ({error}); train again") from error
        (Path(folder) / _BUNDLE).write_bytes(content)
        yield Path(folder)


def _changed(place: Place) -> InputError:
    return InputError(f"{place.name()}: changed while the job ran; run the command again with another --out")


def _read(place: Place) -> tuple[bytes, dict[str, Any]]:
    try:
        content = place.read(_BUNDLE)
    except OSError as error:
        raise InputError(
            f"{place.name()}: no trained model here (no {_BUNDLE} can be read); make one with identity.train"
        ) from error
    try:
        bundle = json.loads(content)
    except ValueError as error:
        raise InputError(f"{place.name(_BUNDLE)}: damaged ({error}); train again") from error
    if not isinstance(bundle, dict) or "version" not in bundle:
        raise InputError(f"{place.name(_BUNDLE)}: damaged (no object with a version); train again")
    if bundle["version"] != VERSION:
        raise InputError(
            f"{place.name(_BUNDLE)}: version {bundle['version']} of the bundle, this program reads {VERSION}; "
            "train again"
        )
    return content, bundle
