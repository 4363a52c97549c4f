"""What a look before a job has found: one line, and the way out where something is missing."""

from collections.abc import Callable
from dataclasses import dataclass

from augmentor.errors import LikenessError


@dataclass(frozen=True)
class Finding:
    """One thing that a job needs.

    Attributes:
        what: what was looked at and how it is, as in `ssh: /usr/bin/ssh`.
        ok: it is there.
        way_out: what to do where it is not.
    """

    what: str
    ok: bool = True
    way_out: str = ""

    def line(self) -> str:
        """As it is printed."""
        if self.ok:
            return f"ok       {self.what}"
        return f"MISSING  {self.what}{'; ' if self.way_out else ''}{self.way_out}"


def found(name: str, look: Callable[[], str], way_out: str) -> Finding:
    """What `look` returns, or why it failed: whatever is wrong with a machine, it is said in a line."""
    try:
        return Finding(f"{name}: {look()}")
    except (LikenessError, OSError, ImportError, ValueError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        return Finding(f"{name}: {reason}", False, way_out if way_out not in reason else "")
