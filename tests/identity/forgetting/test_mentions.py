"""Searching files for a name: what counts as a mention and what does not."""

import html
import json
import unicodedata
import urllib.parse
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from identity.forgetting.mentions import Mentions

NAMES = ['Ann "Annie" Smith', "O'Brien", "Zoë Ω", "Ann", "写真", "A#B?c=1", "😀", "<b>&amp;"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "written",
    [
        str,
        html.escape,
        json.dumps,
        lambda name: json.dumps(name, ensure_ascii=False),
        urllib.parse.quote,
        lambda name: unicodedata.normalize("NFD", name),
        lambda name: f"photos/{name}/1.jpg",
    ],
)
def test_a_name_is_found_however_it_is_escaped(tmp_path: Path, name: str, written) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "notes.txt"
    file.write_text(f"first line\nand {written(name)}, who came", "utf-8")
    assert Mentions([name]).in_file(file)
    assert not Mentions(["Bo"]).in_file(file)


def test_a_name_counts_as_whole_words_only() -> None:
    ann = Mentions(["Ann"])
    assert ann.in_text("with Ann.") and ann.in_text("Ann's") and ann.in_text("Ann/1.jpg")
    assert not ann.in_text("Annette") and not ann.in_text("JoAnn") and not ann.in_text("ann")
    assert Mentions(["写真"]).in_text("旧写真館"), "this script has no spaces between words"


def test_the_folder_of_another_person_is_not_a_mention() -> None:
    ada = Mentions(["Ada_B"])
    assert not ada.in_text("albums/Ada_B ~e45f48153b/1.jpg")
    assert not ada.in_text("Ada_B%20~e45f48153b/1.jpg")
    assert ada.in_text("albums/Ada_B/1.jpg") and ada.in_text("Ada_B ~ her brother")


def test_a_name_of_one_letter_is_not_recognised_in_prose() -> None:
    a = Mentions(["a"])
    assert not a.in_text("a person on a photo <a href='x'>page</a>")
    for text in ('{"name": "a"}', "x.jpg,a,ok", "<td>a</td>", "a/1.jpg", "photos/a/1.jpg", "a"):
        assert a.in_text(text), text


def test_styles_and_scripts_of_a_page_are_not_searched(tmp_path: Path) -> None:
    page = tmp_path / "index.html"
    page.write_text("<style>h1,a,b{}</style><p>nobody</p>")
    assert not Mentions(["a"]).in_file(page)
    page.write_text("<style>h1{}</style><td>a</td>")
    assert Mentions(["a"]).in_file(page)


def test_tables_and_long_files_are_searched(tmp_path: Path) -> None:
    table = tmp_path / "names.parquet"
    pq.write_table(pa.table({"name": ["Bo", "Zoë Ω"], "score": [1.0, 2.0]}), table, compression="zstd")
    assert Mentions(["Zoë Ω"]).in_file(table) and not Mentions(["Ann"]).in_file(table)
    long = tmp_path / "long.csv"
    long.write_bytes(b"x" * (2**23 - 3) + " Zoë Ω ".encode() + b"x" * 2**20)
    assert Mentions(["Zoë Ω"]).in_file(long)
    (tmp_path / "Zoë Ω.jpg").write_bytes(b"")
    assert [path.name for path, _ in Mentions(["Zoë Ω"]).below(tmp_path)] == [
        "Zoë Ω.jpg",
        "long.csv",
        "names.parquet",
    ]


@pytest.mark.parametrize(
    "text", ["Ada_Lovelace_0009.jpg", "x-Ada_Lovelace.jpg", "2_Ada_Lovelace", "Ada_Lovelace2.jpg"]
)
def test_a_name_is_recognised_in_numbered_file_names(text: str) -> None:
    assert Mentions(["Ada_Lovelace"]).in_text(text)
    assert not Mentions(["Ada_Love"]).in_text(text)


def test_a_name_that_ends_in_a_number_is_not_mentioned_by_a_longer_number() -> None:
    assert Mentions(["person 1"]).in_text("person 1_02.jpg")
    assert not Mentions(["person 1"]).in_text("person 12.jpg")


def test_the_longer_name_of_another_person_is_not_a_mention() -> None:
    ann = Mentions(["Ann"], others=["Ann Smith", "Bo", "Ann_Lee"])
    assert not ann.in_text("Ann Smith and Ann_Lee_0001.jpg")
    assert ann.in_text("Ann and Ann Smith") and ann.in_text("Ann Smithson")


def test_quotes_in_a_name_are_recognised_when_csv_doubles_them() -> None:
    assert Mentions(['Ann "Annie" Smith']).in_text('1,"Ann ""Annie"" Smith",0.5')


@pytest.mark.parametrize(
    "column",
    [
        pa.array([["Bo", "Zoë Ω"], []]),
        pa.array([{"name": "Zoë Ω", "n": 1}]),
        pa.array(["Zoë Ω", "Bo"]).dictionary_encode(),
        pa.array([[{"people": ["Zoë Ω"]}]]),
    ],
)
def test_nested_and_encoded_columns_of_a_table_are_searched(tmp_path: Path, column: pa.Array) -> None:
    pq.write_table(pa.table({"x": column}), tmp_path / "x.parquet")
    assert Mentions(["Zoë Ω"]).in_file(tmp_path / "x.parquet")
    assert not Mentions(["Zoë"], others=["Zoë Ω"]).in_file(tmp_path / "x.parquet")


def test_a_short_name_is_found_as_the_name_of_a_file_and_with_a_plus_for_a_space() -> None:
    assert Mentions(["Al"]).in_text("photos/Al.jpg") and not Mentions(["Al"]).in_text("Al. came, too")
    assert Mentions(["Ada Love"]).in_text("?name=Ada+Love&x=1")


@pytest.mark.parametrize(
    "text",
    [
        *("Ann%20Smith", "Ann+Smith", "Ann_Smith_0001.jpg", "Ann-Smith", "Ann\u00a0Smith", "Ann  Smith"),
        *("Ann O&#x27;Brien", "Ann O&#39;Brien", "Ann \\u00c9mile", "Ann%20%C3%89mile", 'Ann ""Annie"" Lee'),
    ],
)
def test_somebody_elses_longer_name_is_no_mention_however_it_is_spelled(text: str) -> None:
    ann = Mentions(["Ann"], others=["Ann Smith", "Ann O'Brien", "Ann Émile", 'Ann "Annie" Lee'])
    assert not ann.in_text(f"<a href='{text}'>") and ann.in_text(f"Ann, {text}")


def test_a_name_is_found_in_files_that_join_its_words() -> None:
    ada = Mentions(["Ada Lovelace"])
    assert ada.in_text("Ada_Lovelace_0001.jpg") and ada.in_text("ada/Ada-Lovelace.png")
    assert not ada.in_text("Ada_Lovelaces.jpg")
