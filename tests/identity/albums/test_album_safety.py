"""Albums destroy nothing of the user's: last copies, the user's own files and edited pages stay."""

# ruff: noqa: F811  (fixtures come from another module)

import csv
import json
import os
import shutil
from pathlib import Path

import pytest

from augmentor.photos.images import PARTIAL_PREFIX, PARTIAL_SUFFIX, encode_jpeg
from identity import organise as module
from identity.albums.sorting import undo
from identity.runs.bundle import Bundle
from identity.runs.collection import PeopleFile
from tests.identity.changed_run import with_people
from tests.identity.runs.test_recogniser import colour_of, photo
from tests.identity.test_organise import pages, photos, put, run, tree  # noqa: F401


@pytest.fixture
def albums(tmp_path: Path) -> Path:
    return tmp_path / "albums"


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def take_away(run: Bundle, albums: Path):  # type: ignore[no-untyped-def]
    assert run.folder is not None
    with PeopleFile(run.folder) as people:
        return undo(albums, people)


@pytest.mark.parametrize("how", ["hard", "copy"])
def test_the_last_copy_of_a_photo_stays_and_is_reported(
    run: Bundle,
    photos: Path,
    albums: Path,
    how: str,
) -> None:
    put(run, photos, albums, how)
    before = contents(albums)
    content = (photos / "deeper" / "a.png").read_bytes()
    shutil.rmtree(photos / "deeper")
    sorted_photos = put(run, photos, albums, how)
    assert contents(albums) == before
    assert len(sorted_photos.only_copies) == 2  # one in the album of each person in the photo
    assert all((albums / file).read_bytes() == content for file in sorted_photos.only_copies)
    undone = take_away(run, albums)
    assert sorted(undone.only_copies) == sorted(sorted_photos.only_copies) and tree(albums) == set(
        sorted_photos.only_copies
    )


@pytest.mark.parametrize("how", ["hard", "copy"])
def test_a_drive_that_was_missing_for_one_call_changes_nothing(
    run: Bundle,
    photos: Path,
    albums: Path,
    tmp_path: Path,
    how: str,
) -> None:
    first = put(run, photos, albums, how)
    before = {name: (albums / name).stat().st_ino for name in tree(albums)}
    (photos / "deeper").rename(tmp_path / "unplugged")
    (photos / "deeper").mkdir()
    put(run, photos, albums, how)
    (photos / "deeper").rmdir()
    (tmp_path / "unplugged").rename(photos / "deeper")
    third = put(run, photos, albums, how)
    assert {name: (albums / name).stat().st_ino for name in tree(albums)} == before
    assert third.new == 0 and third.only_copies == [] and third.placed == first.placed


@pytest.mark.parametrize("how", ["hard", "symlink", "copy"])
def test_undo_without_the_photos_removes_only_links_and_the_rest_later(
    run: Bundle,
    photos: Path,
    albums: Path,
    tmp_path: Path,
    how: str,
) -> None:
    sorted_photos = put(run, photos, albums, how)
    before = tree(albums)
    photos.rename(tmp_path / "unplugged")
    undone = take_away(run, albums)
    assert tree(albums) == (set() if how == "symlink" else before)
    assert len(undone.only_copies) == (0 if how == "symlink" else len(sorted_photos.placed))
    if how != "symlink":
        (tmp_path / "unplugged").rename(photos)
        assert take_away(run, albums).removed == len(sorted_photos.placed) and tree(albums) == set()


@pytest.mark.parametrize("how", ["hard", "copy"])
def test_photos_of_a_deleted_folder_stay_when_another_folder_is_organised(
    run: Bundle,
    photos: Path,
    albums: Path,
    tmp_path: Path,
    how: str,
) -> None:
    put(run, photos, albums, how)
    before = contents(albums)
    shutil.rmtree(photos)
    other = tmp_path / "other"
    other.mkdir()
    (other / "b.png").write_bytes(encode_jpeg(photo(colour_of(run, 4)), 98))
    sorted_photos = put(run, other, albums, how)
    assert before.items() <= contents(albums).items() and "person 4/b.png" in tree(albums)
    assert set(sorted_photos.only_copies) == set(before)


@pytest.mark.parametrize("how", ["hard", "symlink", "copy"])
def test_a_library_that_was_moved_is_recognised(
    run: Bundle,
    photos: Path,
    albums: Path,
    tmp_path: Path,
    how: str,
) -> None:
    before = put(run, photos, albums, how)
    moved = photos.rename(tmp_path / "moved library")
    sorted_photos = put(run, moved, albums, how)
    assert sorted_photos.new == 0 and {p.file for p in sorted_photos.placed} == {
        p.file for p in before.placed
    } == tree(albums)
    assert sorted_photos.only_copies == sorted_photos.left == []
    assert all((albums / file).exists() for file in tree(albums)), "no dead links"
    assert take_away(run, albums).removed == len(before.placed) and tree(albums) == set()


def test_a_second_folder_replaces_the_first_in_the_albums_if_both_exist(
    run: Bundle,
    photos: Path,
    albums: Path,
    tmp_path: Path,
) -> None:
    put(run, photos, albums)
    other = tmp_path / "other"
    other.mkdir()
    (other / "b.png").write_bytes(encode_jpeg(photo(colour_of(run, 4)), 98))
    sorted_photos = put(run, other, albums)
    assert tree(albums) == {"person 4/b.png"} and sorted_photos.only_copies == []
    assert len(tree(photos)) == 7


def test_the_copy_stays_if_the_original_became_a_link_to_it(
    run: Bundle,
    photos: Path,
    albums: Path,
) -> None:
    put(run, photos, albums, "copy")
    content = (photos / "nobody.png").read_bytes()
    (photos / "nobody.png").unlink()
    (photos / "nobody.png").symlink_to(albums / "no face" / "nobody.png")
    assert take_away(run, albums).only_copies == ["no face/nobody.png"]
    assert (albums / "no face" / "nobody.png").read_bytes() == content


def test_the_copy_stays_if_the_original_became_empty(run: Bundle, photos: Path, albums: Path) -> None:
    put(run, photos, albums, "copy")
    (photos / "nobody.png").write_bytes(b"")
    assert take_away(run, albums).only_copies == ["no face/nobody.png"]


def test_the_users_own_pages_are_neither_overwritten_nor_removed(
    run: Bundle,
    photos: Path,
    albums: Path,
) -> None:
    mine = {"index.html": b"my page", "albums.csv": b"my list", ".thumbnails/mine.jpg": b"my picture"}
    for file, content in mine.items():
        (albums / file).parent.mkdir(parents=True, exist_ok=True)
        (albums / file).write_bytes(content)
    page = pages(put(run, photos, albums), photos, albums)
    assert page.name == "index (2).html" and (albums / "albums (2).csv").is_file()
    assert mine.items() <= contents(albums).items()
    pages(put(run, photos, albums), photos, albums)
    assert not (albums / "index (3).html").exists(), "a second call writes the same page again"
    take_away(run, albums)
    assert contents(albums) == mine


def test_a_page_that_the_user_edited_stays(run: Bundle, photos: Path, albums: Path) -> None:
    pages(put(run, photos, albums), photos, albums)
    (albums / "index.html").write_text("edited")
    thumbnail = next((albums / ".thumbnails").iterdir())
    thumbnail.write_bytes(b"painted over")
    assert pages(put(run, photos, albums), photos, albums).name == "index (2).html"
    undone = take_away(run, albums)
    assert contents(albums) == {"index.html": b"edited", f".thumbnails/{thumbnail.name}": b"painted over"}
    assert undone.left == []


def test_a_broken_link_counts_as_an_unreadable_photo(
    run: Bundle,
    photos: Path,
    albums: Path,
) -> None:
    (photos / "dead.jpg").symlink_to(photos / "was here.jpg")
    sorted_photos = put(run, photos, albums)
    assert sorted_photos.photos["dead.jpg"].status == "error" and len(sorted_photos.placed) == 7


def test_a_photo_whose_name_is_not_utf8_stops_nothing_and_is_reported(
    run: Bundle, photos: Path, albums: Path
) -> None:
    odd = os.fsdecode(os.fsencode(photos) + b"/caf\xe9.jpg")
    Path(odd).write_bytes((photos / "a.png").read_bytes())
    sorted_photos = put(run, photos, albums)
    (name,) = [path for path in sorted_photos.photos if path.startswith("caf")]
    assert name.isprintable() and sorted_photos.photos[name].status == "error"
    page = pages(sorted_photos, photos, albums).read_text("utf-8")
    assert name in page and len(sorted_photos.placed) == 7


def test_partial_files_of_a_killed_call_are_removed(run: Bundle, photos: Path, albums: Path) -> None:
    put(run, photos, albums, "copy")
    half = albums / "person 0" / f"{PARTIAL_PREFIX}0123456789abcdef{PARTIAL_SUFFIX}"
    half.write_bytes(b"half a photo")
    put(run, photos, albums, "copy")
    assert not half.exists()


def test_names_that_differ_only_in_characters_forbidden_in_folders_have_separate_albums(
    run: Bundle,
    photos: Path,
    albums: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    named = with_people(run, labels=("Ada:B", "Ada_B", *run.labels[2:]))
    sorted_photos = put(named, photos, albums)
    folders = {placed.album for placed in sorted_photos.placed if placed.photo == "deeper/a.png"}
    assert len(folders) == 2 and "Ada_B" in folders
    assert "Ada:B" in pages(sorted_photos, photos, albums).read_text("utf-8"), (
        "the page shows the name itself"
    )


def test_people_and_photos_with_very_long_names_have_a_place(
    run: Bundle,
    photos: Path,
    albums: Path,
) -> None:
    long = "あ" * 81 + ".png"
    (photos / long).write_bytes(encode_jpeg(photo(colour_of(run, 0)), 98))
    (photos / "deeper" / long).write_bytes(encode_jpeg(photo(colour_of(run, 0)), 97))
    named = with_people(run, labels=("あ" * 200, *run.labels[1:]))  # earlier versions allowed such names
    sorted_photos = put(named, photos, albums)
    assert len([placed for placed in sorted_photos.placed if placed.photo.endswith(long)]) == 2
    assert all((albums / placed.file).is_file() for placed in sorted_photos.placed)


@pytest.mark.parametrize("start", ["=1+1", "+1", "-1", "@SUM(1)"])
def test_spreadsheets_do_not_take_a_file_name_for_a_formula(
    run: Bundle,
    photos: Path,
    albums: Path,
    start: str,
) -> None:
    (photos / f"{start}.png").write_bytes(encode_jpeg(photo(colour_of(run, 0)), 98))
    pages(put(run, photos, albums), photos, albums)
    with (albums / "albums.csv").open(newline="", encoding="utf-8") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert f"'{start}.png" in cells and not any(cell.startswith(start) for cell in cells)
    listed = json.loads((albums / "albums.json").read_text("utf-8"))["photos"]
    assert f"{start}.png" in [entry["photo"] for entry in listed]


def test_the_command_lists_files_that_may_be_the_only_copies(
    run: Bundle,
    photos: Path,
    albums: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["--model", str(tmp_path / "run")]
    assert module.main([*words, "--workers", "1", str(photos), str(albums)]) == 0
    (photos / "nobody.png").unlink()
    capsys.readouterr()
    assert module.main([*words, "--workers", "1", str(photos), str(albums)]) == 0
    assert "may be the only copies" in capsys.readouterr().err
    assert module.main([*words, "--undo", str(albums)]) == 0
    assert str(albums / "no face" / "nobody.png") in capsys.readouterr().err
    assert tree(albums) == {"no face/nobody.png"}


def test_a_copy_of_a_run_does_not_touch_the_albums_of_the_original(
    run: Bundle,
    photos: Path,
    albums: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    put(run, photos, albums)
    before = contents(albums)
    shutil.copytree(tmp_path / "run", tmp_path / "copied")
    assert module.main(["--model", str(tmp_path / "copied"), "--undo", str(albums)]) == 2
    assert module.main(["--model", str(tmp_path / "copied"), str(photos), str(albums)]) == 2
    assert "of which this one is a copy" in capsys.readouterr().err
    assert contents(albums) == before
    with PeopleFile(tmp_path / "copied") as people:
        people.moved_here()
    assert module.main(["--model", str(tmp_path / "copied"), "--undo", str(albums)]) == 0
    assert tree(albums) == set()


def test_a_file_never_replaces_another(run: Bundle, photos: Path, albums: Path) -> None:
    for name in ("a.png", "a (2).png"):
        (albums / "person 0" / name).parent.mkdir(parents=True, exist_ok=True)
        (albums / "person 0" / name).symlink_to("nowhere")
    sorted_photos = put(run, photos, albums, "copy")
    assert (albums / "person 0" / "a.png").readlink() == Path("nowhere")
    assert {p.file for p in sorted_photos.placed if p.album == "person 0"} == {
        "person 0/a (3).png",
        "person 0/a (4).png",
    }


@pytest.mark.parametrize("how", ["hard", "copy"])
def test_a_damaged_original_does_not_cost_the_good_copy(
    run: Bundle, photos: Path, albums: Path, how: str
) -> None:
    put(run, photos, albums, how)
    original = photos / "deeper" / "a.png"
    content = original.read_bytes()
    original.unlink()
    original.write_bytes(content[:300])
    sorted_photos = put(run, photos, albums, how)
    assert len(sorted_photos.only_copies) == 2 and all(
        (albums / f).read_bytes() == content for f in sorted_photos.only_copies
    )
    undone = take_away(run, albums)
    assert sorted(undone.only_copies) == sorted(sorted_photos.only_copies) and tree(albums) == set(
        sorted_photos.only_copies
    )
    original.write_bytes(content)
    assert take_away(run, albums).only_copies == [] and tree(albums) == set()


def test_an_original_that_changed_and_can_be_read_replaces_its_copies(
    run: Bundle, photos: Path, albums: Path
) -> None:
    put(run, photos, albums, "copy")
    original = photos / "deeper" / "a.png"
    original.write_bytes(encode_jpeg(photo(colour_of(run, 0), colour_of(run, 1)), 97))
    sorted_photos = put(run, photos, albums, "copy")
    assert sorted_photos.only_copies == []
    assert all(
        (albums / f.file).read_bytes() == original.read_bytes()
        for f in sorted_photos.placed
        if f.photo == "deeper/a.png"
    )


def test_an_album_that_the_user_made_a_link_stops_nothing(
    run: Bundle, photos: Path, albums: Path, tmp_path: Path
) -> None:
    put(run, photos, albums, "copy")
    album = next(path for path in sorted(albums.iterdir()) if path.is_dir() and any(path.glob("*.png")))
    album.rename(tmp_path / "elsewhere")
    album.symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "mine.txt").write_text("mine")
    take_away(run, albums)
    take_away_twice = [path.name for path in (tmp_path / "elsewhere").iterdir()]
    assert take_away_twice == ["mine.txt"] and album.is_symlink()


def test_thumbnails_that_the_user_made_a_link_stop_nothing(
    run: Bundle, photos: Path, albums: Path, tmp_path: Path
) -> None:
    pages(put(run, photos, albums, "copy"), photos, albums)
    (albums / ".thumbnails").rename(tmp_path / "elsewhere")
    (albums / ".thumbnails").symlink_to(tmp_path / "elsewhere")
    take_away(run, albums)
    assert (albums / ".thumbnails").is_symlink() and not (albums / "index.html").exists()
