"""Search files for the names of a person, in whatever way the names are written.

Only whole words count: `Ann` is not mentioned in `Annette`, but in `Ann_0001.jpg`. The longer name of another person
(`Ann Smith`) does not count either. A name is recognised in both Unicode forms, with the escapes of JSON (`\\u00fc`,
`\\"`), HTML (`&#39;`), CSV (`""`) and URLs (`%C3%BC`), and in Parquet tables. A name of one or two characters may be an
ordinary word. It counts only as a separate value between quotes, tags, commas or slashes.
"""

import html
import json
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
_BEFORE, _AFTER = r"""(?:^|["'>/,;=\t(\[])\s*""", r"""\s*(?:$|["'</,;\t)\]]|\.\w{2,5}(?:$|["'<,;\t)\]]))"""
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
# Replaces other people's names. It is neither a letter nor a space, so the words next to it stay separate words.
_OTHER_PERSON = "\N{REPLACEMENT CHARACTER}"
_NO_TEXT = re.compile(r"<(style|script)\b.*?</\1>", re.DOTALL | re.IGNORECASE)


MENTIONED, UNREADABLE = "mentions the person", "cannot be read, so it was not searched"


class Mentions:
    """Searches texts and files for names.

    Args:
        names: the names of one person.
        names: the names of one person.
        others: names of other people; a name of the person that is only a part of one of them does not count.

    Example:
        >>> ann = Mentions(["Ann"], others=["Ann Smith"])
        >>> ann.in_text("Ann's photo"), ann.in_text("Annette"), ann.in_text("a photo of Ann Smith")
        (True, False, False)
    """

    def __init__(self, names: Collection[str], others: Collection[str] = ()) -> None:
        own = {normalised(name) for name in names if name.strip()}
        longer = {normalised(other) for other in others} - own
        longer = {other for other in longer if any(name in other for name in own)}
        self._pattern = _any_of(own)
        self._others = _any_spelling_of(longer)

    def in_text(self, text: str) -> bool:
        """Return whether a text contains one of the names, escaped or not."""
        pattern = self._pattern
        return pattern is not None and any(
            pattern.search(self._without_others(form)) for form in _forms(text)
        )

    def _without_others(self, text: str) -> str:
        return self._others.sub(_OTHER_PERSON, text) if self._others else text

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

    def below(self, folder: Path) -> Iterator[tuple[Path, str]]:
        """Search the files in a folder and yield those that mention the person or cannot be searched.

        Args:
            folder: a folder, which is searched at any depth, or a single file.

        Yields:
            The path and `MENTIONED` if the content or the name of the file contains one of the names; the path and
            `UNREADABLE` if a file or folder cannot be read.
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
            for batch in table.iter_batches():
                for column in batch.columns:
                    if any(self.in_text(text) for text in _texts_in(column)):
                        return True
        except pa.ArrowException:  # not a table after all, so its bytes are searched
            return any(self.in_text(block) for block in _blocks(path))
        return False


def _texts_in(column: pa.Array) -> Iterator[str]:
    """Yield the texts of a column, once each, also those in lists, structures and dictionaries."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        yield from _texts_in(column.dictionary)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        yield from _texts_in(column.flatten())
    elif pa.types.is_struct(kind):
        for field in column.flatten():
            yield from _texts_in(field)
    elif pa.types.is_map(kind):
        yield from _texts_in(column.keys)
        yield from _texts_in(column.items)
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        yield from filter(None, column.unique().to_pylist())


def _files_below(folder: Path, unreadable: list[Path]) -> Iterator[Path]:
    """Yield the files and folders in a folder at any depth; add folders that cannot be listed to `unreadable`."""

    def note(error: OSError) -> None:
        unreadable.append(Path(error.filename or folder))

    for place, folders, files in os.walk(folder, onerror=note):
        yield from (Path(place) / name for name in (*folders, *files))


def _any_of(names: Collection[str]) -> re.Pattern[str] | None:
    """Return a regular expression that matches any of the names, the longest first; None if there are none."""
    longest_first = sorted(names, key=lambda name: (-len(name), name))
    return re.compile("|".join(map(_pattern, longest_first)), re.MULTILINE) if names else None


def _any_spelling_of(names: Collection[str]) -> re.Pattern[str] | None:
    """Return a regular expression that finds some names, also escaped; None if there are none."""
    escaped = {
        spelling
        for name in names
        for spelling in (
            *(html.escape(name), html.escape(name).replace("&#x27;", "&#39;"), json.dumps(name)[1:-1]),
            *(
                json.dumps(name, ensure_ascii=False)[1:-1],
                urllib.parse.quote(name),
                urllib.parse.quote_plus(name),
            ),
            name.replace('"', '""'),
        )
        if spelling != name
    }
    plain = [_pattern(name) for name in sorted(names, key=lambda name: (-len(name), name))]
    longest_first = sorted(escaped, key=lambda spelling: (-len(spelling), spelling))
    patterns = [*map(re.escape, longest_first), *plain]
    return re.compile("|".join(patterns), re.MULTILINE) if patterns else None


def _pattern(name: str) -> str:
    """Return a regular expression that matches a name."""
    if len(name) <= _SHORT and not _is_written_without_spaces(name[0]):
        return f"{_BEFORE}{re.escape(name)}{_AFTER}"
    # `Ada_B ~e45f48153b` is the folder of `Ada:B` (augmentor.photos.names), which does not mention `Ada_B`.
    other = r"(?!(?: |%20)~[0-9a-f]{10})"
    before = "" if _is_written_without_spaces(name[0]) else rf"(?<!{_more_of(name[0])})"
    after = "" if _is_written_without_spaces(name[-1]) else rf"(?!{_more_of(name[-1])})"
    return f"{before}{_spelled(name)}{after}{other}"


def _spelled(name: str) -> str:
    """Return a regular expression for a name whose words files may join otherwise: `Ada_Lovelace`, `Ada-Lovelace`."""
    return r"[\s_-]+".join(re.escape(word) for word in re.split(r"[\s_-]+", name) if word) or re.escape(name)


def _more_of(character: str) -> str:
    """Return a regular expression for the characters that continue a word next to a given character.

    Letters continue every word; digits continue only numbers. `_` does not continue a word, because many data sets
    number their files in this way (`Ada_Lovelace_0001.jpg`).
    """
    return r"[^\W_]" if character.isdigit() else r"[^\W\d_]"


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
    if '\\"' in text or "\\\\" in text or "\\/" in text:  # JSON
        yield re.sub(r'\\(["\\/])', r"\1", text)
    if '""' in text:  # CSV
        yield text.replace('""', '"')
    if "&" in text:
        yield normalised(html.unescape(text))
    if "%" in text or "+" in text:
        yield normalised(urllib.parse.unquote(text))
        yield normalised(urllib.parse.unquote_plus(text))


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
