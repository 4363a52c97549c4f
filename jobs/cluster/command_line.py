"""Parts that the command lines of the jobs share: exit codes, and paths that are the same on every node."""

import argparse
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from augmentor.errors import InputError, LikenessError
from augmentor.photos.place import is_local, place_of


class OneLineParser(argparse.ArgumentParser):
    """A parser that reports errors in one line; argparse's own prints the usage first and exits."""

    def error(self, message: str) -> NoReturn:
        """Raise an `InputError` with one line instead of exiting."""
        raise InputError(f"{message}; see {self.prog} --help")


def run_command(name: str, run: Callable[[], int]) -> int:
    """Run a job's `main`: print errors meant for the user as one line, and make interrupted jobs resumable.

    Args:
        name: name of the job, printed before the line.
        run: reads the command line, does the work, and returns the exit code.

    Returns:
        The exit code: that of `run`, 2 for an error meant for the user, 130 after an interruption.
    """
    try:
        return run()
    except LikenessError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{name}: interrupted; run the same command again to continue", file=sys.stderr)
        return 130


def stop_when_asked() -> None:
    """Treat SIGTERM, which clusters send, like Ctrl-C."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def check_place(option: str, uri: str, *, submitted: bool) -> None:
    """Check a path or URI before anything is done with it.

    Args:
        option: the option it was given with.
        uri: the path or URI as it was given.
        submitted: the job runs in a copy of the working directory (`ray job submit`), where relative paths are of no
            use.

    Raises:
        InputError: the URI has an unknown scheme, or the path is relative although the job was submitted.
    """
    place_of(uri)  # raises the error for unknown schemes
    if submitted and "://" not in uri and not Path(uri).is_absolute():
        raise InputError(
            f"{option} {uri}: a submitted job runs in a copy of the working directory, where relative paths "
            "do not work; use an absolute path that every node can reach, or a URI"
        )


def lies_in(one: str, other: str) -> bool:
    """Return whether one path or URI is the other, or lies in it.

    Example:
        >>> lies_in("/mnt/photos/Anna", "/mnt/photos"), lies_in("s3://b/photos2", "s3://b/photos")
        (True, False)
    """
    if is_local(one) != is_local(other):
        return False
    if is_local(one):
        inner, outer = (Path(uri.removeprefix("file://")).resolve() for uri in (one, other))
        return inner == outer or outer in inner.parents
    inner_uri, outer_uri = (uri.split("?", 1)[0].rstrip("/") + "/" for uri in (one, other))
    return inner_uri.startswith(outer_uri)


def absolute(uri: str) -> str:
    """Return a path or URI in a form that workers can use, whose working directory is another one."""
    return uri if "://" in uri else str(Path(uri).resolve())
