"""Turn paths into text that tables, JSON and messages can hold, and back."""

import re
from pathlib import PurePath

_ESCAPED = re.compile(rb"\\x([89a-f][0-9a-f])")


def shown(path: str | PurePath) -> str:
    """Return a path as tables, JSON and messages can hold it: bytes that are not UTF-8 are escaped.

    Example:
        >>> shown("caf\\udce9.jpg")
        'caf\\\\xe9.jpg'
    """
    return str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def as_on_disk(path: str) -> str:
    """Return the path that `shown` escaped; a path without such escapes is returned unchanged.

    A file whose real name looks like an escaped one (`caf\\xe9.jpg`, with a backslash) is mistaken for one.
    """
    name = _ESCAPED.sub(lambda match: bytes([int(match[1], 16)]), path.encode("utf-8", "surrogateescape"))
    return name.decode("utf-8", "surrogateescape")


def is_utf8(path: str | PurePath) -> bool:
    """Return whether a path can be written as UTF-8."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def as_cell(text: str) -> str:
    """Return a text as a cell of a CSV table that no spreadsheet evaluates as a formula.

    A text that begins like a formula gets an apostrophe in front.

    Source:
        OWASP, "CSV Injection".

    Example:
        >>> as_cell("=1+1"), as_cell("a.jpg")
        ("'=1+1", 'a.jpg')
    """
    return f"'{text}" if text and text[0] in "=+-@\t\r" else text
