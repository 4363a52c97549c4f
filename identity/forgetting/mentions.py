"""Search files for names of a person, however the name is written there.

A name counts where it stands as whole words: `Ann` is not in `Annette`. It is found in either Unicode form, escaped as
in JSON (`\\u00fc`), HTML (`&#39;`) or a URL (`%C3%BC`), and in Parquet tables. A name of one or two characters counts
only where it is a value of its own, between quotes, tags, commas or slashes: it is a word of ordinary prose as well.
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
    """Finds some names in texts and files.

    Args:
        names: of one person.
    """

    def __init__(self, names: Collection[str]) -> None:
        alternatives = "|".join(_pattern(normalised(name)) for name in sorted(set(names)) if name.strip())
        self._pattern = re.compile(alternatives, re.MULTILINE) if alternatives else None

    def in_text(self, text: str) -> bool:
        """Whether a text has one of the names, as it is or escaped."""
        found = self._pattern
        return found is not None and any(found.search(form) for form in _forms(text))

    def in_file(self, path: Path) -> bool:
        """Whether a file has one of the names; files of other kinds than `SEARCHED` do not.

        Raises:
            OSError: it cannot be read.
        """
        if path.suffix.lower() not in SEARCHED:
            return False
        if path.suffix.lower() == ".parquet":
            return self._in_table(path)
        return any(self.in_text(block) for block in _blocks(path))

    def below(self, folder: Path) -> Iterator[Path]:
        """Yield the files below a folder, or the file itself, whose content or name has one of the names."""
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
        except pa.ArrowException:  # no table: its bytes are all there is
            return any(self.in_text(block) for block in _blocks(path))
        return False


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _pattern(name: str) -> str:
    """A regular expression that finds a name."""
    if len(name) <= _SHORT and not _stands_without_blanks(name[0]):
        return f"{_BEFORE}{re.escape(name)}{_AFTER}"
    # `Ada_B ~e45f48153b` is the folder of `Ada:B` (augmentor.photos.names), and no mention of `Ada_B`
    other = r"(?!(?: |%20)~[0-9a-f]{10})"
    before = "" if _stands_without_blanks(name[0]) else r"(?<!\w)"
    after = "" if _stands_without_blanks(name[-1]) else r"(?!\w)"
    return f"{before}{re.escape(name)}{after}{other}"


def _stands_without_blanks(character: str) -> bool:
    """Whether a character is of a script that puts no blanks between words, such as Chinese or Japanese."""
    return unicodedata.east_asian_width(character) in "WF"


def _forms(text: str) -> Iterator[str]:
    """A text as it is and with what it may escape undone."""
    text = normalised(text)
    yield text
    if "\\u" in text:
        units = _ESCAPE.sub(lambda found: chr(int(found.group(1), 16)), text)
        joined = units.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        yield normalised(joined)
    if "&" in text:
        yield normalised(html.unescape(text))
    if "%" in text:
        yield normalised(urllib.parse.unquote(text))


def _blocks(path: Path) -> Iterator[str]:
    """The text of a file, a part at a time; parts overlap, so that no name is cut."""
    if path.suffix.lower() in (".html", ".htm"):
        yield _NO_TEXT.sub("", path.read_text("utf-8", "replace"))
        return
    with path.open("rb") as file:
        tail = b""
        while block := file.read(_BLOCK):
            yield (tail + block).decode("utf-8", "replace")
            tail = block[-_OVERLAP:]
