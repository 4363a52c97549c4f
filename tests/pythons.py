"""The quick tests under every Python that is promised: `make test-pythons`, or `python -m tests.pythons --ends`.

Interpreters are looked for on the PATH and among those of pyenv. Each gets an environment of its own below
build/pythons, which is kept and made again when pyproject.toml or requirements.lock has changed. A Python that is not
here is named and skipped.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
ENVIRONMENTS = ROOT / "build" / "pythons"
PROMISED = ("3.10", "3.11", "3.12", "3.13")
# Every package, in a minute: `tests/conftest.py` marks their tests with `pythons`, but for the slow ones.
FILES = (
    "tests/augmentor/photos/test_file_kinds.py",
    "tests/augmentor/photos/test_identity_folders.py",
    "tests/augmentor/photos/test_images.py",
    "tests/augmentor/balanced_set/test_manifest.py",
    "tests/augmentor/photos/test_names.py",
    "tests/augmentor/photos/test_place.py",
    "tests/identity/runs/test_bundle.py",
    "tests/identity/test_forget.py",
    "tests/identity/test_organise.py",
    "tests/jobs/balancing/test_partition.py",
    "tests/server/test_app.py",
    "tests/server/test_uploads.py",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tests; returns 0 if they pass under every Python that is here."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.pythons", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "--ends", action="store_true", help="only the oldest and the newest that are promised"
    )
    parser.add_argument("versions", nargs="*", metavar="VERSION", help=f"some of {' '.join(PROMISED)} (all)")
    options = parser.parse_args(arguments)
    if unknown := set(options.versions) - set(PROMISED):
        parser.error(f"{', '.join(sorted(unknown))}: not promised; promised are {', '.join(PROMISED)}")
    wanted = options.versions or ([PROMISED[0], PROMISED[-1]] if options.ends else PROMISED)
    results = {version: _try(version) for version in wanted}
    for version, result in results.items():
        print(f"Python {version}: {result}")
    return 1 if any(result.startswith("FAILED") for result in results.values()) else 0


def interpreter(version: str) -> Path | None:
    """Return an interpreter of a version such as 3.13, or None if none is here."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [shutil.which(f"python{version}"), *sorted(pyenv.glob(f"{version}.*/bin/python"), reverse=True)]
    return next((Path(path) for path in found if path and _version_of(Path(path)) == version), None)


def _version_of(python: Path) -> str:
    """Return the version that an interpreter says it has; empty if it does not run, as pyenv's stand-ins may."""
    told = subprocess.run(
        [python, "-c", "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"],
        capture_output=True,
        text=True,
        check=False,
    )
    return told.stdout.strip()


def _try(version: str) -> str:
    """Run the tests under one Python and return how it went."""
    python = interpreter(version)
    if python is None:
        return f"not here, not tested; install it, or pyenv install {version}"
    started = time.monotonic()
    try:
        own = environment(version, python)
    except subprocess.CalledProcessError:
        return f"FAILED, the packages cannot be installed ({python})"
    made = time.monotonic()
    command = [own, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "pythons", *FILES]
    code = subprocess.run(command, cwd=ROOT, check=False).returncode
    told = f"set up in {made - started:.0f} s, tested in {time.monotonic() - made:.0f} s ({python})"
    return told if code == 0 else f"FAILED, {told}"


def environment(version: str, python: Path) -> Path:
    """Return the interpreter of an environment with the locked packages.

    Raises:
        subprocess.CalledProcessError: they cannot be installed.
    """
    folder = ENVIRONMENTS / version
    own, stamp = folder / "bin" / "python", folder / ".made"
    files = [(ROOT / name).read_bytes() for name in ("pyproject.toml", "requirements.lock")]
    digest = hashlib.sha256(b"\0".join([str(python).encode(), *files])).hexdigest()
    if stamp.is_file() and stamp.read_text() == digest:
        return own
    subprocess.run([python, "-m", "venv", "--clear", folder], check=True)
    install(own, ["-e", ".[dev]"])
    stamp.write_text(digest)
    return own


def install(own: Path, what: Sequence[str]) -> None:
    """Install packages into the environment of an interpreter, in the versions of the lock.

    Args:
        own: the interpreter.
        what: as pip takes it; paths are relative to the checkout.

    Raises:
        subprocess.CalledProcessError: they cannot be installed.
    """
    options = ["-q", "-c", "requirements.lock", *what]
    pip = [own, "-m", "pip", "install", "--disable-pip-version-check"]
    subprocess.run([*pip, "-q", "uv"], check=True)
    # uv takes a third of pip's time, but does not read pip's settings: where these matter, pip can still do it
    command = [own.with_name("uv"), "pip", "install", "--python", own, *options]
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        subprocess.run([*pip, "--no-compile", *options], cwd=ROOT, check=True)


if __name__ == "__main__":
    sys.exit(main())
