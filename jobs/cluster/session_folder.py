"""Make a folder for the Ray that a job starts: private, with a short path, and removed afterwards.

Ray keeps sockets and logs in it. The path of a socket may have 107 bytes, so a long TMPDIR cannot be used. Ray makes
its own folders readable for everybody, although its logs name photos.
"""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from augmentor.errors import InputError

PREFIX = "lk-ray-"
# Bytes of the folder's path; Ray adds up to 68, as in /session_<date>_<time>_<pid>/sockets/plasma_store.
LONGEST = 38
_LOCK, _RAYS = "lock", "r"
_SECONDS = 5.0  # how long Ray's processes may take to end


@contextmanager
def session_folder() -> Iterator[Path]:
    """Make a folder that only this user can reach, and remove it at the end.

    It lies in RAY_TMPDIR, TMPDIR, /tmp, /var/tmp or /dev/shm: the first that is writable and has a short enough path.
    Folders that killed jobs left there are removed as well.

    Raises:
        InputError: none of them can be used.
    """
    parent = _parent()
    _sweep(parent)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))  # mode 0700
    # The descriptor is closed on exec, so Ray's processes do not hold the lock.
    lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield (
            folder / _RAYS
        )  # Ray opens its own folder to everybody, so it gets one inside the private folder
    finally:
        _remove(folder)
        os.close(lock)


def _parent() -> Path:
    """Return the folder in which to make the new folder."""
    wanted = [os.environ.get("RAY_TMPDIR"), tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm"]
    for text in wanted:
        if not text:
            continue
        folder = Path(text).resolve()
        short = len(os.fsencode(folder / f"{PREFIX}12345678" / _RAYS)) <= LONGEST
        if short and folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
            return folder
    raise InputError(
        f"no folder for Ray's sockets: {', '.join(filter(None, wanted))} cannot be written, or their paths are too "
        "long; set RAY_TMPDIR to a folder with a short path"
    )


def _sweep(parent: Path) -> None:
    """Remove the folders that killed jobs of this user left; no process holds their locks."""
    for folder in parent.glob(f"{PREFIX}*"):
        with suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            lock = os.open(folder / _LOCK, os.O_RDWR)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


def _remove(folder: Path) -> None:
    """Remove the folder, even while ending processes still write to it."""
    until = time.monotonic() + _SECONDS
    while True:
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists() or time.monotonic() > until:
            return
        time.sleep(0.2)
