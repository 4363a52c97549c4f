"""The exceptions whose text is meant for the user, one line each.

    LikenessError
     ├── InputError      a wrong call, or input the program cannot work with
     └── PhotoError      one photo cannot be used; the others go on

`str(error)` is one line that names the file and, if possible, says what to do. Commands print it to stderr unchanged
and exit with 2. A photo that raises a `PhotoError` is listed in `failures.csv` with the error's `reason`.
"""

from pathlib import Path

from augmentor.path_text import shown

REASONS = ("unreadable", "too_large", "no_face", "several_faces", "too_small", "bad_pose")


class LikenessError(Exception):
    """An error whose text is meant for the user: always one line, and always printable as UTF-8."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(shown(message).splitlines()))


class InputError(LikenessError):
    """A wrong call, or input the program cannot work with."""


class PhotoError(LikenessError):
    """One photo cannot be used.

    Args:
        reason: one of `REASONS`.
        path: the photo as the user would name it; empty for an image that came without a name.
        detail: what exactly is wrong.

    Raises:
        ValueError: `reason` is none of `REASONS`.
    """

    def __init__(self, reason: str, path: str | Path = "", detail: str = "") -> None:
        if reason not in REASONS:
            raise ValueError(f"{reason!r} is not a reason for rejecting a photo; known: {', '.join(REASONS)}")
        self.reason = reason
        self.path = shown(path)
        self.detail = detail
        text = f"{reason} ({detail})" if detail else reason
        super().__init__(f"{self.path}: {text}" if self.path else text)

    def __reduce__(self) -> tuple[type["PhotoError"], tuple[str, str, str]]:
        """Let other processes rebuild the exception from its constructor's arguments instead of its text."""
        return type(self), (self.reason, self.path, self.detail)
