"""Check on a node of a cluster what it needs for a job: `python -m jobs.preflight --here`.

Packages are imported and storage is written to, so that errors which a job would meet after an hour appear at once.
"""

import importlib
import importlib.metadata
import os
import platform
import queue
import resource
import secrets
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from augmentor.errors import InputError
from augmentor.path_text import is_utf8
from augmentor.photos.file_kinds import is_no_photo, is_system_folder
from augmentor.photos.place import Place, is_local, place_of
from jobs.cluster.check_result import Finding, found

# Distribution → module
PACKAGES = {
    "likeness": "augmentor",
    "ray": "ray",
    "numpy": "numpy",
    "dlib-bin": "dlib",
    "opencv-python-headless": "cv2",
    "pyarrow": "pyarrow",
}
OPEN_FILES = 4096  # Ray's own processes open a few for every worker
FREE_BYTES = 1_000_000_000
STORAGE_SECONDS = 30.0
FULL = 0.95  # Ray puts nothing on a disk that is fuller than this


def node_findings(data: str | None, out: str | None) -> list[Finding]:
    """Check everything about this machine; storage is checked only if it is given.

    Args:
        data: the job's --data; None to leave it out.
        out: the job's --out; None to leave it out.
    """
    findings = [_python(), *(_package(name, module) for name, module in PACKAGES.items())]
    findings += [*_models(), _open_files(), _scratch()]
    if data:
        findings.append(readable(data))
    if out:
        findings.append(writable(out))
        if findings[-1].ok:
            findings.append(free_space(out))
    return findings


def _python() -> Finding:
    ok = (3, 10) <= tuple(map(int, platform.python_version_tuple()[:2])) < (3, 14)
    return Finding(f"Python: {platform.python_version()}", ok, "3.10, 3.11, 3.12 or 3.13 is needed")


def _package(name: str, module: str) -> Finding:
    def look() -> str:
        importlib.import_module(module)
        return importlib.metadata.version(name)

    return found(name, look, "pip install -c requirements.lock '.[cluster]' in the checkout")


def _models() -> list[Finding]:
    def detector() -> str:
        # Imported here, because it imports OpenCV, which may be missing.
        from augmentor.faces.face_source import face_source

        face_source().check_models()
        return "found"

    def head() -> str:
        from augmentor.head.head_model import load_head_model

        return f"{len(load_head_model().mean)} points"

    again = "pip install --force-reinstall --no-deps . in the checkout"
    return [
        found("face models", detector, "likeness models --fetch on this machine, or LIKENESS_MODELS=DIR"),
        found("head model", head, again),
    ]


def _open_files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    endless = resource.RLIM_INFINITY
    return Finding(
        f"open files: {soft}, may be raised to {'any' if hard == endless else hard}",
        hard == endless or hard >= OPEN_FILES,
        f"allow {OPEN_FILES}: 'nofile' in /etc/security/limits.conf, or LimitNOFILE of the service",
    )


def _scratch() -> Finding:
    """Check the disk to which Ray writes when its memory is full."""
    folder = tempfile.gettempdir()
    total, used, _ = shutil.disk_usage(folder)
    return Finding(
        f"{folder}: {used / total:.0%} full",
        used < FULL * total,
        f"make room, because Ray stops at {FULL:.0%}",
    )


def _soon(look: Callable[[], str]) -> str:
    """Return what `look` returns, after at most STORAGE_SECONDS; libraries for buckets keep trying for minutes.

    Raises:
        InputError: there is no answer in time.
        Exception: what `look` raised.
    """
    answers: queue.Queue[str | Exception] = queue.Queue()

    def ask() -> None:
        try:
            answers.put(look())
        except Exception as error:
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=STORAGE_SECONDS)
    except queue.Empty:
        raise InputError(f"no answer in {STORAGE_SECONDS:.0f} s") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def readable(data: str) -> Finding:
    """Check whether photos can be read, by reading the first photo of the first person."""

    def look() -> str:
        place = place_of(data)
        people = [name for name in place.entries()[0] if not is_system_folder(name)]
        if not people:
            raise InputError("no folders of photos there")
        photo = _first_file(place, people)
        return f"{len(people)} folders; {photo} read, {len(place.read(photo))} bytes"

    return found(
        f"--data {data}",
        lambda: _soon(look),
        "mount it on every node, or allow the node's role to read there",
    )


def _first_file(place: Place, people: list[str]) -> str:
    for person in people:
        files = [name for name in place.entries(person)[1] if is_utf8(name) and not is_no_photo(name)]
        if files:
            return f"{person}/{files[0]}"
    raise InputError(f"no photos in its {len(people)} folders")


def writable(out: str) -> Finding:
    """Check whether files can be written, read and removed; leaves everything as it was."""

    def look() -> str:
        place = place_of(out)
        content = secrets.token_bytes(16)
        marker = f"preflight-{socket.gethostname()}-{content.hex()}"
        tidy = _remover_of_new_folders(out)
        try:
            place.write(marker, content)
            if place.read(marker) != content:
                raise InputError("the content that was read is not the content that was written")
            place.remove(marker)
        finally:
            tidy()
        return "written, read and removed"

    return found(
        f"--out {out}",
        lambda: _soon(look),
        "mount it on every node, or allow the node's role to write and delete there",
    )


def _remover_of_new_folders(out: str) -> Callable[[], None]:
    """Return a function that removes the folders above `out` that do not exist yet, if they are empty then."""
    if not is_local(out):
        return lambda: None
    folder = Path(out.removeprefix("file://")).absolute()
    new = [path for path in (folder, *folder.parents) if not path.exists()]

    def remove() -> None:
        for path in new:
            if path.is_dir() and not any(os.scandir(path)):
                path.rmdir()

    return remove


def free_space(out: str) -> Finding:
    """Check whether there is room on the disk."""
    free = place_of(out).free_bytes()
    if free is None:
        return Finding("free space: unknown for a bucket, which does not run out")
    return Finding(f"free space: {free / 1e9:.1f} GB", free >= FREE_BYTES, "make room, or another --out")
