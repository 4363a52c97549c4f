"""The result of a check before a job: one line, and what to do if something is missing."""

from collections.abc import Callable
from dataclasses import dataclass

from augmentor.errors import LikenessError


@dataclass(frozen=True)
class Finding:
    """The result of checking one thing that a job needs.

    Attributes:
        what: what was checked and its state, as in `ssh: /usr/bin/ssh`.
        ok: nothing is missing.
        way_out: what to do if something is missing.
    """

    what: str
    ok: bool = True
    way_out: str = ""

    def line(self) -> str:
        """Return the line that is printed."""
        if self.ok:
            return f"ok       {self.what}"
        return f"MISSING  {self.what}{'; ' if self.way_out else ''}{self.way_out}"


def found(name: str, look: Callable[[], str], way_out: str) -> Finding:
    """Run a check and return its result; any failure becomes one line.

    Args:
        name: what is checked.
        look: returns the state as text, or raises an error if something is missing.
        way_out: what to do if something is missing.
    """
    try:
        return Finding(f"{name}: {look()}")
    except (LikenessError, OSError, ImportError, ValueError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        return Finding(f"{name}: {reason}", False, way_out if way_out not in reason else "")
