"""Tests of `augmentor.photos.names`: which names are refused, which are equal, and which folder belongs to a name."""

import unicodedata
from pathlib import PurePath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from augmentor.errors import InputError
from augmentor.photos.names import (
    RESERVED_NAMES,
    checked_name,
    checked_new_name,
    folder_of,
    folders_of,
    found_name,
    name_key,
)

REFUSED = {
    "": "empty",
    "   ": "empty",
    ".": "every folder",
    "..": "every folder",
    "../x": "separator",
    "a/b": "separator",
    "a\\b": "separator",
    "/": "separator",
    ".work": "dot at its start",
    "Anna ": "blank",
    " Anna": "blank",
    "Anna.": "dot",
    "An\nna": "control",
    "An\x00na": "control",
    "Anna\u202egpj": "invisible",
    "An\u200bna": "invisible",
    "An\udc80na": "control",
    "nul": "device",
    "COM1": "device",
    "aux.txt": "device",
    "あ" * 67: "longer than",
}


@pytest.mark.parametrize(("name", "why"), REFUSED.items(), ids=ascii)
def test_a_name_that_is_no_name_is_refused_in_one_line_that_says_why(name: str, why: str) -> None:
    with pytest.raises(InputError, match=why) as refused:
        checked_name(name)
    assert str(refused.value).isprintable() and "choose another name" in str(refused.value)


@pytest.mark.parametrize("name", sorted(RESERVED_NAMES))
def test_reserved_names_are_refused_in_any_case(name: str) -> None:
    for spelling in (name, name.upper(), name.title()):
        with pytest.raises(InputError, match="kept under it"):
            checked_name(spelling)


@pytest.mark.parametrize(
    "name",
    [
        "Ada",
        "O'Brien",
        "Émilie Müller",
        "写真",
        "Ada:B",
        "100%",
        "A#B?c=1",
        "😀 👩‍👧",
        "[test]",
        "J. R. R."[:-1],
    ],
)
def test_names_of_people_are_kept_as_they_are(name: str) -> None:
    assert checked_name(name) == name


def test_one_name_in_two_unicode_forms_is_one_name() -> None:
    composed, decomposed = "Émilie Müller", unicodedata.normalize("NFD", "Émilie Müller")
    assert composed != decomposed
    assert checked_name(decomposed) == composed
    assert found_name(decomposed, ["Bo", composed]) == composed
    assert found_name(composed, ["Bo", decomposed]) == decomposed
    assert found_name("Emilie", [composed]) is None


@pytest.mark.parametrize("name", ["anna", "ANNA", "Ａｎｎａ", "An\u200dna"])
def test_a_name_that_hardly_differs_from_a_taken_one_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="hardly differs from 'Anna'"):
        checked_new_name(name, ["Bo", "Anna"])
    assert checked_new_name("Annette", ["Bo", "Anna"]) == "Annette"
    with pytest.raises(InputError, match="enrolled already"):
        checked_new_name("Anna", ["Anna"])


def test_names_with_signs_that_folders_cannot_hold_do_not_share_a_folder() -> None:
    names = [
        "Ada:B",
        "Ada_B",
        "Ada?B",
        "Ada*B",
        "..",
        ".",
        "x/y",
        "x_y",
        "Anna",
        "Anna ",
        "Anna.",
        "anna",
        "あ" * 200,
    ]
    folders = folders_of(names)
    assert len({folder.casefold() for folder in folders.values()}) == len(names)
    assert folders["Ada_B"] == "Ada_B" and folders["x_y"] == "x_y"
    assert folder_of(folder_of("Ada:B")) != folder_of("Ada:B")  # nobody can take a hashed folder by its name


@given(st.lists(st.text(st.characters(codec=None), max_size=300), unique=True, max_size=8))
def test_any_names_get_folders_of_their_own_that_lead_nowhere_else(names: list[str]) -> None:
    folders = folders_of(names)
    assert len({name_key(folder) for folder in folders.values()}) == len(names)
    for folder in folders.values():
        assert len(PurePath(folder).parts) == 1 and folder not in (".", "..")
        assert 0 < len(folder.encode()) <= 255 and "\x00" not in folder


@given(st.text(st.characters(codec=None), max_size=60))
def test_a_name_that_passes_stays_as_it_is_when_it_is_checked_again(name: str) -> None:
    try:
        passed = checked_name(name)
    except InputError:
        return
    assert checked_name(passed) == passed and passed.encode()
    assert len(PurePath(passed).parts) == 1


@pytest.mark.parametrize(
    "name",
    [
        *("\u200d", "\u200c\u200d", "\u3164", "\u2800", "\u115f\u1160", "\u2024\u2024", "\uff0e"),
        *(
            "unknown\u200d",
            "\uff55\uff4e\uff4b\uff4e\uff4f\uff57\uff4e",
            "no  face",
            "No\u00a0Face",
            "\uff43\uff4f\uff4e",
        ),
    ],
)
def test_a_name_that_shows_nothing_or_looks_reserved_is_refused(name: str) -> None:
    with pytest.raises(InputError):
        checked_name(name)


def test_joiners_within_names_and_emoji_stay() -> None:
    for name in ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\U0001f469\u200d\U0001f680"):
        assert checked_name(name) == name
