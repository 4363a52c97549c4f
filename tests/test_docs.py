"""The documents agree with the code: links, files, commands with their options, columns and keys."""

import argparse
import re
from pathlib import Path

import pytest

from augmentor.balanced_set.manifest import SCHEMA as MANIFEST
from identity.evaluation.rates import COUNTS, RATES
from jobs.likeness import COMMANDS
from jobs.naming.names_table import SCHEMA as NAMES

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "datasets").glob("*.md")),
]
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text("utf-8") for page in PAGES}
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)")
FILE = re.compile(r"`((?:augmentor|identity|jobs|datasets|tests)/[\w/.-]+\.\w+)`")
CALL = re.compile(rf"likeness ({'|'.join(command.name for command in COMMANDS)})(?![\w-])([^`\n#|]*)")
# Pages that name files as they were, on purpose.
HISTORY = ("docs/decisions/",)


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", TEXTS)
def test_links_lead_somewhere(name: str) -> None:
    for path, anchor in LINK.findall(TEXTS[name]):
        target = (ROOT / name).parent / path if path else ROOT / name
        assert target.exists(), path
        if anchor:
            assert anchor in anchors(target.read_text("utf-8")), f"{path}#{anchor}"


@pytest.mark.parametrize("name", [name for name in TEXTS if not name.startswith(HISTORY)])
def test_files_that_are_named_exist(name: str) -> None:
    for path in FILE.findall(TEXTS[name]):
        assert (ROOT / path).exists(), path


def test_commands_in_the_documents_have_the_options_that_they_are_given() -> None:
    options: dict[str, set[str]] = {}
    for command in COMMANDS:
        actions: list[argparse.Action] = command.make_parser()._actions
        options[command.name] = {option for action in actions for option in action.option_strings}
    called = set()
    for name, text in TEXTS.items():
        for command, words in CALL.findall(text.replace("\\\n", " ")):
            called.add(command)
            assert set(re.findall(r"(?<!\S)--[\w-]+", words)) <= options[command], (name, command, words)
    assert called == set(options)


def test_every_column_and_key_is_explained() -> None:
    formats = TEXTS["docs/formats.md"]
    for name in (*MANIFEST.names, *NAMES.names, *RATES, *COUNTS, "ms_per_face"):
        assert f"`{name}`" in formats, name


def test_every_command_is_in_the_list() -> None:
    for command in COMMANDS:
        assert f"`likeness {command.name}`" in TEXTS["docs/commands.md"], command.name


def test_the_readme_stays_short() -> None:
    assert len(TEXTS["README.md"].splitlines()) <= 160
