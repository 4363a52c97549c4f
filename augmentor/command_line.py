"""What all command lines share: the name that they were called by, and optional packages that they need."""

import importlib.util
import sys
from collections.abc import Sequence

from augmentor.errors import InputError

LIKENESS = "likeness"


def called_as(otherwise: str) -> str:
    """Return the words that the user typed to call the command that runs.

    `likeness COMMAND` sets `sys.argv[0]` to these two words, as `python -m` sets it to a file.

    Args:
        otherwise: the words of a command that was not called through `likeness`.
    """
    return sys.argv[0] if sys.argv[0].startswith(f"{LIKENESS} ") else otherwise


def require_extra(extra: str, modules: Sequence[str]) -> None:
    """Check that the packages of an extra of `pyproject.toml` are installed, without importing them.

    Args:
        extra: its name, such as "server".
        modules: top-level modules of its packages.

    Raises:
        InputError: at least one of them is missing.
    """
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise InputError(
            f"{', '.join(missing)} not installed, which this command needs: pip install '{LIKENESS}[{extra}]'"
        )
