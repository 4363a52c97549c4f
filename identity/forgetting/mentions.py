"""Search files for the names of a person, in whatever way the names are written.

Only whole words count: `Ann` is not mentioned in `Annette`. A name is recognised in both Unicode forms, with the
escapes of JSON (`\\u00fc`), HTML (`&#39;`) and URLs (`%C3%BC`), and in Parquet tables. A name of one or two characters
may be an ordinary word. It counts only as a separate value between quotes, tags, commas or slashes.
"""

import html
import re
import unicodedata
import urllib.parse
from collections.abc import Collection, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from augmentor.photos.names import normalised

SEARCHED = frozenset(
    [
        *(".json", ".jsonl", ".csv", ".tsv", ".html", ".htm", ".md", ".txt", ".log", ".xml", ".xmp"),
        *(".yaml", ".yml", ".parquet"),
    ]
)
_SHORT = 2  # characters
_BLOCK = 1 << 23
_OVERLAP = 4096
_BEFORE, _AFTER = r"""(?:^|["'>/,;=\t(\[])\s*""", r"""\s*(?:$|["'</,;\t)\]])"""
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
_NO_TEXT = re.compile(r"<(style|script)\b.*?</\1>", re.DOTALL | re.IGNORECASE)


class Mentions:
    """Searches texts and files for names.

    Args:
        names: the names of one person.

    Example:
        >>> ann = Mentions(["Ann"])
        >>> ann.in_text("Ann's photo"), ann.in_text("Annette")
        (True, False)
    """

    def __init__(self, names: Collection[str]) -> None:
        alternatives = "|".join(_pattern(normalised(name)) for name in sorted(set(names)) if name.strip())
        self._pattern = re.compile(alternatives, re.MULTILINE) if alternatives else None

    def in_text(self, text: str) -> bool:
        """Return whether a text contains one of the names, escaped or not."""
        pattern = self._pattern
        return pattern is not None and any(pattern.search(form) for form in _forms(text))

    def in_file(self, path: Path) -> bool:
        """Return whether a file contains one of the names; only files with a suffix in `SEARCHED` are searched.

        Raises:
            OSError: The file cannot be read.
        """
        if path.suffix.lower() not in SEARCHED:
            return False
        if path.suffix.lower() == ".parquet":
            return self._in_table(path)
        return any(self.in_text(block) for block in _blocks(path))

    def below(self, folder: Path) -> Iterator[Path]:
        """Yield the files whose content or name contains one of the names.

        Args:
            folder: a folder, which is searched at any depth, or a single file.
        """
        files = [folder] if folder.is_file() else sorted(folder.rglob("*"))
        for file in files:
            named = file != folder and self.in_text(file.name)
            if named or (file.is_file() and self.in_file(file)):
                yield file

    def _in_table(self, path: Path) -> bool:
        try:
            table = pq.ParquetFile(path)
            texts = [field.name for field in table.schema_arrow if _is_text(field.type)]
            for batch in table.iter_batches(columns=texts):
                for column in batch.columns:
                    if any(self.in_text(text) for text in column.unique().to_pylist() if text):
                        return True
        except pa.ArrowException:  # not a table after all, so its bytes are searched
            return any(self.in_text(block) for block in _blocks(path))
        return False


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _pattern(name: str) -> str:
    """Return a regular expression that matches a name."""
    if len(name) <= _SHORT and not _is_written_without_spaces(name[0]):
        return f"{_BEFORE}{re.escape(name)}{_AFTER}"
    # `Ada_B ~e45f48153b` is the folder of `Ada:B` (augmentor.photos.names), which does not mention `Ada_B`.
    other = r"(?!(?: |%20)~[0-9a-f]{10})"
    before = "" if _is_written_without_spaces(name[0]) else r"(?<!\w)"
    after = "" if _is_written_without_spaces(name[-1]) else r"(?!\w)"
    return f"{before}{re.escape(name)}{after}{other}"


def _is_written_without_spaces(character: str) -> bool:
    """Return whether a character belongs to a script without spaces between words, such as Chinese or Japanese."""
    return unicodedata.east_asian_width(character) in "WF"


def _forms(text: str) -> Iterator[str]:
    """Yield a text as it is and, if it may contain escapes, unescaped."""
    text = normalised(text)
    yield text
    if "\\u" in text:
        units = _ESCAPE.sub(lambda match: chr(int(match.group(1), 16)), text)
        joined = units.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        yield normalised(joined)
    if "&" in text:
        yield normalised(html.unescape(text))
    if "%" in text:
        yield normalised(urllib.parse.unquote(text))


def _blocks(path: Path) -> Iterator[str]:
    """Yield the text of a file in parts; the parts overlap, so that no name is cut in two."""
    if path.suffix.lower() in (".html", ".htm"):
        yield _NO_TEXT.sub("", path.read_text("utf-8", "replace"))
        return
    with path.open("rb") as file:
        tail = b""
        while block := file.read(_BLOCK):
            yield (tail + block).decode("utf-8", "replace")
            tail = block[-_OVERLAP:]
