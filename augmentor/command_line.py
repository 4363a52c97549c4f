"""Functions for all command lines: a parser, the name of the command, and a check for optional packages."""

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from typing import NoReturn

from augmentor.errors import InputError

LIKENESS = "likeness"


class CommandParser(argparse.ArgumentParser):
    """A parser that reports a wrong call in one line on stderr and ends with exit code 2.

    argparse's own parser prints the usage, which can take many lines, above the line that says what is wrong.
    """

    def error(self, message: str) -> NoReturn:
        """Report a wrong call."""
        self.exit(2, f"{self.prog}: {message} (use --help to list the options)\n")


def called_as(otherwise: str) -> str:
    """Return the words with which the user called the running command, for its usage line.

    `likeness COMMAND` sets `sys.argv[0]` to these two words, where `python -m` sets it to a file.

    Args:
        otherwise: what to return if the command was not called through `likeness`.
    """
    return sys.argv[0] if sys.argv[0].startswith(f"{LIKENESS} ") else otherwise


def require_extra(extra: str, modules: Sequence[str]) -> None:
    """Check that the packages of an extra of `pyproject.toml` are installed, without importing them.

    Args:
        extra: name of the extra, such as "server".
        modules: names of the top-level modules that its packages provide.

    Raises:
        InputError: at least one of them is missing; the message says how to install it.
    """
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise InputError(
            f"{', '.join(missing)} not installed; this command needs it: pip install '{LIKENESS}[{extra}]'"
        )
