"""Sorting photos into albums, with stand-ins for detector and networks; files and database are real."""

import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from augmentor.errors import InputError
from augmentor.photos.images import encode_jpeg, sha256_of
from identity import organise as module
from identity.albums.page import write_pages
from identity.albums.sorting import Albums, organise, undo
from identity.decisions.open_set import ProbabilityCurve
from identity.decisions.same_person import SamePerson
from identity.runs.bundle import Bundle
from identity.runs.collection import FILE, PeopleFile
from identity.runs.recogniser import Recogniser
from tests.identity.changed_run import with_decision
from tests.identity.runs.test_recogniser import SquareFaces, colour_of, photo
from tests.identity.test_enrol import trained
from tests.stand_in_faces import find_with

STRANGER, OTHER_STRANGER = (60, 240, 250), (130, 130, 40)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bundle:
    """A run of six people who differ by colour; a face that scores below 1.5 is unknown."""
    find_with(SquareFaces, monkeypatch)
    bundle = trained(people=6, seed=3)
    thresholds = bundle.decision.thresholds | {"fpir_10": 1.5}
    bundle = with_decision(bundle, thresholds=thresholds)
    (tmp_path / "run").mkdir()
    monkeypatch.setattr(Bundle, "load", classmethod(lambda _cls, _folder: bundle))
    return replace(
        bundle,
        same_person=SamePerson((0.0001, 0.1), (0.98, 0.5), 100, 100, 50, ProbabilityCurve(10.0, -7.0)),
        folder=tmp_path / "run",
    )


def recogniser_of(run: Bundle) -> Recogniser:
    recogniser = Recogniser(run, 0.1)
    colours = np.array([colour_of(run, k) for k in range(6)])
    scores = recogniser.images([photo(tuple(int(v) for v in colour)) for colour in colours])
    recogniser.threshold = min(answer.faces[0].score for answer in scores) - 1e-3
    return recogniser


@pytest.fixture
def photos(run: Bundle, tmp_path: Path) -> Path:
    """Photos of person 0 alone, of persons 0 and 1, of a stranger twice, of another once, of nobody; a broken file."""
    folder = tmp_path / "photos"
    (folder / "deeper").mkdir(parents=True)
    pictures = {
        "a.png": photo(colour_of(run, 0)),
        "deeper/a.png": photo(colour_of(run, 0), colour_of(run, 1)),
        "s1.png": photo(STRANGER),
        "s2.png": photo(STRANGER, (0, 0, 0)),
        "t.png": photo(OTHER_STRANGER),
        "nobody.png": photo((0, 0, 0)),
    }
    for name, picture in pictures.items():
        (folder / name).write_bytes(encode_jpeg(picture, 98))
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 no photo")
    return folder


def tree(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() or p.is_symlink()}


def put(run: Bundle, photos: Path, albums: Path, how: str = "hard") -> Albums:
    assert run.folder is not None
    recogniser = recogniser_of(run)
    with PeopleFile(run.folder) as people:
        return organise(recogniser, photos, albums, people, how=how)


def pages(sorted_photos: Albums, photos: Path, albums: Path) -> Path:
    with PeopleFile(albums.parent / "run") as people:
        return write_pages(sorted_photos, people, photos, albums)


def test_every_photo_is_in_the_albums_of_the_people_in_it(run: Bundle, photos: Path, tmp_path: Path) -> None:
    before = {name: (photos / name).read_bytes() for name in tree(photos)}
    sorted_photos = put(run, photos, tmp_path / "albums")
    files = tree(tmp_path / "albums")
    assert {f for f in files if f.startswith("person 0/")} == {"person 0/a.png", "person 0/a (2).png"}
    assert "person 1/a.png" in files and "no face/nobody.png" in files
    assert not any("broken" in f for f in files)
    assert sorted_photos.photos["broken.jpg"].status == "error"
    assert {name: (photos / name).read_bytes() for name in tree(photos)} == before
    assert (tmp_path / "albums/person 0/a.png").samefile(photos / "a.png") or (
        tmp_path / "albums/person 0/a (2).png"
    ).samefile(photos / "a.png")
    unknown = {album for path in ("s1.png", "s2.png") for album in sorted_photos.albums_of(path)}
    assert unknown == {"unknown/001"}, "the stranger who appears twice is one group"
    assert sorted_photos.albums_of("t.png") == ["unknown/single"]


def test_a_second_call_changes_nothing_and_new_photos_are_added(
    run: Bundle, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    albums = tmp_path / "albums"
    put(run, photos, albums)
    before = {name: (albums / name).stat().st_ino for name in tree(albums)}
    again = put(run, photos, albums)
    assert again.new == 0 and {name: (albums / name).stat().st_ino for name in tree(albums)} == before
    (photos / "new.png").write_bytes(encode_jpeg(photo(colour_of(run, 2)), 98))
    third = put(run, photos, albums)
    assert third.new == 1 and "person 2/new.png" in tree(albums)


@pytest.mark.parametrize("how", ["hard", "symlink", "copy"])
def test_undo_removes_what_organise_put_there_and_nothing_else(
    run: Bundle, photos: Path, tmp_path: Path, how: str
) -> None:
    albums = tmp_path / "albums"
    sorted_photos = put(run, photos, albums, how)
    pages(sorted_photos, photos, albums)
    (albums / "person 0" / "mine.txt").write_text("the user's own")
    if how == "copy":
        (albums / "person 1" / "a.png").write_bytes(b"edited by hand")
    with PeopleFile(tmp_path / "run") as people:
        undone = undo(albums, people)
    assert undone.removed == len(sorted_photos.placed) - (how == "copy")
    assert undone.left == (["person 1/a.png"] if how == "copy" else []) and undone.only_copies == []
    assert tree(albums) == {"person 0/mine.txt"} | ({"person 1/a.png"} if how == "copy" else set())
    assert len(tree(photos)) == 7
    with PeopleFile(tmp_path / "run") as people, pytest.raises(InputError, match="not made by"):
        undo(albums, people)


def test_a_file_of_the_user_is_never_overwritten(run: Bundle, photos: Path, tmp_path: Path) -> None:
    albums = tmp_path / "albums"
    (albums / "person 1").mkdir(parents=True)
    (albums / "person 1" / "a.png").write_text("the user's own")
    put(run, photos, albums)
    assert (albums / "person 1" / "a.png").read_text() == "the user's own"
    assert (albums / "person 1" / "a (2).png").exists()


def test_an_interrupted_call_continues_and_loses_nothing(
    run: Bundle, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recogniser = recogniser_of(run)
    uninterrupted = recogniser.files

    def interrupted(paths: list[Path], workers: int):  # type: ignore[no-untyped-def]
        for number, answer in enumerate(uninterrupted(paths, workers)):
            if number == 3:
                raise KeyboardInterrupt
            yield answer

    monkeypatch.setattr(recogniser, "files", interrupted)
    with PeopleFile(tmp_path / "run") as people:
        with pytest.raises(KeyboardInterrupt):
            organise(recogniser, photos, tmp_path / "albums", people)
        monkeypatch.setattr(recogniser, "files", uninterrupted)
        sorted_photos = organise(recogniser, photos, tmp_path / "albums", people)
    assert sorted_photos.new == 4
    other = tmp_path / "other"
    assert tree(tmp_path / "albums") == {placed.file for placed in put(run, photos, other).placed}


def test_nested_folders_and_folders_without_photos_are_refused(
    run: Bundle, photos: Path, tmp_path: Path
) -> None:
    for albums in (photos / "albums", tmp_path, photos):
        with pytest.raises(InputError, match="must not lie inside"):
            put(run, photos, albums)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no photo"):
        put(run, tmp_path / "empty", tmp_path / "albums")


def test_pages_say_what_is_in_the_albums(run: Bundle, photos: Path, tmp_path: Path) -> None:
    sorted_photos = put(run, photos, tmp_path / "albums")
    page = pages(sorted_photos, photos, tmp_path / "albums").read_text("utf-8")
    assert "person 0" in page and "Unreadable" in page and "broken.jpg" in page and "<script" not in page
    written = json.loads((tmp_path / "albums" / "albums.json").read_text("utf-8"))
    assert {entry["photo"] for entry in written["photos"]} == tree(photos)
    assert {entry["album"] for entry in written["albums"]} == set(sorted_photos.counts())
    for entry in written["photos"]:
        assert all((tmp_path / "albums" / file).exists() for file in entry["files"])
    rows = (tmp_path / "albums" / "albums.csv").read_text("utf-8").splitlines()
    assert len(rows) == 1 + 8  # one photo shows two faces
    assert len(list((tmp_path / "albums" / ".thumbnails").iterdir())) == 6


def test_the_file_of_a_later_version_and_a_damaged_one_are_refused(tmp_path: Path) -> None:
    PeopleFile(tmp_path).close()
    with sqlite3.connect(tmp_path / FILE) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(InputError, match="version 99"):
        PeopleFile(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / FILE).write_bytes(b"not a database, but as long as one" * 20)
    with pytest.raises(InputError, match="cannot be used"):
        PeopleFile(tmp_path / "other")


def test_forgotten_embeddings_are_not_left_on_disk(run: Bundle, photos: Path, tmp_path: Path) -> None:
    put(run, photos, tmp_path / "albums")
    with PeopleFile(tmp_path / "run") as people:
        embedding = next(iter(people.faces(1)))[2].embedding.tobytes()
        undo(tmp_path / "albums", people)
    left = b"".join(p.read_bytes() for p in (tmp_path / "run").iterdir())
    assert embedding not in left


def test_the_command_organises_and_undoes(
    run: Bundle,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model, albums = str(tmp_path / "run"), str(tmp_path / "albums")
    assert module.main(["--model", model, "--workers", "1", str(photos), albums]) == 0
    assert "7 photos (7 of them new)" in capsys.readouterr().out
    assert (tmp_path / "albums" / "index.html").is_file()
    assert module.main(["--model", model, "--undo", albums]) == 0
    assert "files removed from" in capsys.readouterr().out and not any(Path(albums).iterdir())
    assert module.main(["--model", model, "--undo", albums]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert sha256_of(photos / "a.png")


def test_copies_and_near_copies_are_listed(run: Bundle, photos: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("one", "two"):
        blocks = rng.uniform(0, 100, (5, 5, 3)).astype(np.float32)
        picture = cv2.resize(blocks, (120, 120), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)
        picture[:60] = picture[:60] // 3  # dark: no face in it
        (photos / f"{name}.jpg").write_bytes(encode_jpeg(picture, 95))
        if name == "one":
            (photos / "saved again.jpg").write_bytes(
                (photos / "one.jpg").read_bytes() + b"\0"
            )  # another file
            (photos / "copy.jpg").write_bytes((photos / "one.jpg").read_bytes())
    sorted_photos = put(run, photos, tmp_path / "albums")
    assert ["copy.jpg", "one.jpg"] in [sorted(paths) for paths in sorted_photos.copies()]
    assert ["copy.jpg", "saved again.jpg"] in [sorted(paths) for paths in sorted_photos.near_copies()]
    assert len(sorted_photos.near_copies()) == 1, "neither the other picture nor the plain ones are copies"
    page = pages(sorted_photos, photos, tmp_path / "albums").read_text("utf-8")
    assert "Near copies" in page and "saved again.jpg" in page
