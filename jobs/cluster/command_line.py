"""What the command lines of the jobs share: how they end, and paths that lead somewhere on every node."""

import argparse
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from augmentor.errors import InputError, LikenessError
from augmentor.photos.place import is_local, place_of


class OneLineParser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line; argparse's own prints the usage first and exits."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong in one line, as an `InputError`."""
        raise InputError(f"{message}; see {self.prog} --help")


def run_command(name: str, run: Callable[[], int]) -> int:
    """What every job's `main` does: one line for errors meant for the user, and a stop that can be gone on from.

    Args:
        name: of the job, before its lines.
        run: reads the command line and does the work; gives the exit code.

    Returns:
        The exit code: that of `run`, 2 for an error meant for the user, 130 if it was interrupted.
    """
    try:
        return run()
    except LikenessError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{name}: interrupted; the same command goes on from here", file=sys.stderr)
        return 130


def stop_when_asked() -> None:
    """Take SIGTERM, which clusters send, for Ctrl-C."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def check_place(option: str, uri: str, *, submitted: bool) -> None:
    """Check a path or URI before anything is done with it.

    Args:
        option: what the command line calls it.
        uri: as it was given.
        submitted: the job runs in a copy of the working directory (`ray job submit`), where relative paths lead
            nowhere.

    Raises:
        InputError: a URI of an unknown kind, or a path that leads nowhere.
    """
    place_of(uri)  # says which kinds there are
    if submitted and "://" not in uri and not Path(uri).is_absolute():
        raise InputError(
            f"{option} {uri}: a submitted job runs in a copy of the working directory, where relative paths "
            "lead nowhere; give an absolute path that every node can see, or a URI"
        )


def lies_in(one: str, other: str) -> bool:
    """Whether a path or URI is the other, or lies in it."""
    if is_local(one) != is_local(other):
        return False
    if is_local(one):
        inner, outer = (Path(uri.removeprefix("file://")).resolve() for uri in (one, other))
        return inner == outer or outer in inner.parents
    inner_uri, outer_uri = (uri.split("?", 1)[0].rstrip("/") + "/" for uri in (one, other))
    return inner_uri.startswith(outer_uri)


def absolute(uri: str) -> str:
    """As workers, whose working directory is another, can use it."""
    return uri if "://" in uri else str(Path(uri).resolve())
