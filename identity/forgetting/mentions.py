"""Search files for names of a person, however the name is written there.

A name counts where it stands by itself: `Ann` is not in `Annette`, but it is in `Ann_0001.jpg`. A longer name of
somebody else (`Ann Smith`) is no mention of it. A name is found in either Unicode form, escaped as in JSON (`\\u00fc`,
`\\"`), HTML (`&#39;`), CSV (`""`) or a URL (`%C3%BC`), and in Parquet tables. A name of one or two characters counts
only where it is a value of its own, between quotes, tags, commas or slashes: it is a word of ordinary prose as well.
"""

import html
import os
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
_SOMEBODY_ELSE = (
    "\N{REPLACEMENT CHARACTER}"  # no letter and no blank: what stood beside it is no longer a word with it
)
_NO_TEXT = re.compile(r"<(style|script)\b.*?</\1>", re.DOTALL | re.IGNORECASE)


MENTIONED, UNREADABLE = "mentions the person", "cannot be read, so it was not searched"


class Mentions:
    """Finds some names in texts and files.

    Args:
        names: the names of one person.
        others: the names of other people; where one of them holds a name of the person, that is no mention.
    """

    def __init__(self, names: Collection[str], others: Collection[str] = ()) -> None:
        own = {normalised(name) for name in names if name.strip()}
        longer = {normalised(other) for other in others} - own
        longer = {other for other in longer if any(name in other for name in own)}
        self._pattern = _any_of(own)
        self._others = _any_of(longer)

    def in_text(self, text: str) -> bool:
        """Return whether a text has one of the names, as it is or escaped."""
        pattern = self._pattern
        return pattern is not None and any(
            pattern.search(self._without_others(form)) for form in _forms(text)
        )

    def _without_others(self, text: str) -> str:
        return self._others.sub(_SOMEBODY_ELSE, text) if self._others else text

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

    def below(self, folder: Path) -> Iterator[tuple[Path, str]]:
        """Search the files below a folder, or the file itself.

        Yields:
            Each file whose content or name has one of the names, or that cannot be searched, and which of the two.
        """
        unreadable: list[Path] = []
        files = [folder] if folder.is_file() else sorted(_files_below(folder, unreadable))
        for file in files:
            try:
                named = file != folder and self.in_text(file.name)
                if named or (file.is_file() and self.in_file(file)):
                    yield file, MENTIONED
            except OSError:
                unreadable.append(file)
        for place in unreadable:
            yield place, UNREADABLE

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


def _files_below(folder: Path, unreadable: list[Path]) -> Iterator[Path]:
    """Yield the files and folders below a folder; folders that cannot be listed are added to `unreadable`."""

    def note(error: OSError) -> None:
        unreadable.append(Path(error.filename or folder))

    for place, folders, files in os.walk(folder, onerror=note):
        yield from (Path(place) / name for name in (*folders, *files))


def _any_of(names: Collection[str]) -> re.Pattern[str] | None:
    """Return a regular expression that finds any of some names, the longest first; None if there are none."""
    longest_first = sorted(names, key=lambda name: (-len(name), name))
    return re.compile("|".join(map(_pattern, longest_first)), re.MULTILINE) if names else None


def _pattern(name: str) -> str:
    """A regular expression that finds a name."""
    if len(name) <= _SHORT and not _stands_without_blanks(name[0]):
        return f"{_BEFORE}{re.escape(name)}{_AFTER}"
    # `Ada_B ~e45f48153b` is the folder of `Ada:B` (augmentor.photos.names), and no mention of `Ada_B`
    other = r"(?!(?: |%20)~[0-9a-f]{10})"
    before = "" if _stands_without_blanks(name[0]) else rf"(?<!{_more_of(name[0])})"
    after = "" if _stands_without_blanks(name[-1]) else rf"(?!{_more_of(name[-1])})"
    return f"{before}{re.escape(name)}{after}{other}"


def _more_of(character: str) -> str:
    """Return a regular expression of the characters that, beside this one, make a name part of a longer word.

    Letters do, and beside a digit digits. `_` does not: names of files number people so (`Ada_Lovelace_0001.jpg`).
    """
    return r"[^\W_]" if character.isdigit() else r"[^\W\d_]"


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
    if '\\"' in text or "\\\\" in text or "\\/" in text:  # JSON
        yield re.sub(r'\\(["\\/])', r"\1", text)
    if '""' in text:  # CSV
        yield text.replace('""', '"')
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
