"""Files that nobody but the user may read: runs, caches, and what is written on the way."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def private_files() -> Iterator[None]:
    """While this lasts, new files and folders of this process are open to nobody but the user (umask 077).

    Also a decorator for the `main` of a command. It concerns the whole process: libraries that write caches and
    temporary files, worker processes that are started, SQLite's own files.
    """
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)
