"""The private temporary folder of a server, which is deleted with it or, at the latest, when the next server starts.

A server that is killed cannot delete its folder. Therefore each server holds a lock on a file in its folder, which the
system releases when the process ends in whatever way. A folder whose lock is free belonged to a server that has ended.
The content of the file says that a server made the folder: a folder of the user's with a similar name has no such file
and stays.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import IO

PREFIX, _NEW = "likeness-server-", "likeness-starting-"
_LOCK, _MARK = "lock", b"temporary folder of a likeness server\n"
_STARTING_SECONDS = 3600.0  # a folder that is not locked by then belongs to a server that was killed


class Scratch:
    """A private temporary folder, which `close` deletes.

    Args:
        within: folder to make it in; the system's folder for temporary files if None.

    Raises:
        OSError: The folder cannot be made.
    """

    def __init__(self, within: Path | None = None) -> None:
        within = (within or Path(tempfile.gettempdir())).resolve()
        sweep(within)
        # made under another name, so that no other server deletes it before it is locked
        new = Path(tempfile.mkdtemp(prefix=f"{_NEW}{os.getpid()}-", dir=within))
        self._lock: IO[bytes] = (new / _LOCK).open("wb")
        self._lock.write(_MARK)
        self._lock.flush()
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.root = new.rename(within / new.name.replace(_NEW, PREFIX))

    def close(self) -> None:
        """Delete the folder and everything in it."""
        _delete(self.root)
        self._lock.close()


def sweep(within: Path) -> int:
    """Delete the folders of servers that have ended; return how many there were.

    Args:
        within: folder that contains the servers' folders.
    """
    swept = 0
    with contextlib.suppress(OSError):
        for folder in within.iterdir():
            if folder.name.startswith((PREFIX, _NEW)) and _is_dead(folder):
                _delete(folder)
                swept += 1
    return swept


def _delete(folder: Path) -> None:
    """Delete a server's folder; the lock comes last, because it shows that the folder is a server's."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != _LOCK:
                path.unlink(missing_ok=True)
        (folder / _LOCK).unlink(missing_ok=True)
        folder.rmdir()


def _is_dead(folder: Path) -> bool:
    """Return whether a server of this user made the folder and no server holds its lock."""
    try:
        state = folder.lstat()
        if state.st_uid != os.getuid() or not folder.is_dir() or folder.is_symlink():
            return False
        if folder.name.startswith(_NEW) and time.time() - state.st_mtime <= _STARTING_SECONDS:
            return False
        if not any(folder.iterdir()):  # the server ended before it wrote the lock or after it deleted it
            return True
        if (folder / _LOCK).is_symlink():
            return False
        with (folder / _LOCK).open("rb") as lock:
            if lock.read(len(_MARK) + 1) != _MARK:
                return False
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
