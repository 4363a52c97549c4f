"""What the command lines of the jobs share: errors in one line, paths that lead somewhere on every node."""

import argparse
from pathlib import Path
from typing import NoReturn

from augmentor.errors import InputError
from augmentor.place import is_local, place_of


class OneLineParser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line; argparse's own prints the usage first and exits."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong in one line, as an `InputError`."""
        raise InputError(f"{message}; see {self.prog} --help")


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
