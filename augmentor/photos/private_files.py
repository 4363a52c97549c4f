"""Keep files private to the user: runs, caches, and temporary files."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def private_files() -> Iterator[None]:
    """Make new files and folders of this process accessible to the user alone while the context lasts (umask 077).

    The context manager can also decorate the `main` of a command. The umask affects the whole process: libraries that
    write caches and temporary files, worker processes that are started, SQLite's own files.
    """
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)
