"""An album of an unknown person gets a name, and photos stay where the user put them."""

from pathlib import Path

import pytest

from augmentor.errors import InputError
from identity import enrol as command
from identity.albums.group_enrolment import group_photos
from identity.albums.photo_work import InProcess
from identity.albums.sorting import decide, move_photo, place_again
from identity.runs.bundle import Bundle
from identity.runs.collection import PeopleFile
from tests.identity.changed_run import with_decision
from tests.identity.runs.test_recogniser import SquareFaces
from tests.identity.test_organise import (  # noqa: F401
    photos,
    put,
    recogniser_of,
    run,
    tree,
)
from tests.stand_in_faces import find_with


@pytest.fixture(autouse=True)
def finder(monkeypatch: pytest.MonkeyPatch) -> None:
    find_with(SquareFaces, monkeypatch)


def test_the_grouped_face_of_each_photo_is_detected_again(run: Bundle, photos: Path, tmp_path: Path) -> None:  # noqa: F811
    contents = put(run, photos, tmp_path / "albums")
    chips = group_photos(contents, "unknown/001", photos, run.size, InProcess())
    assert [probe.path.name for probe in chips] == ["s1.png", "s2.png"]
    assert all(probe.chip is not None and probe.chip.shape == (8, 8, 3) for probe in chips)
    for album, message in [("person 0", "only albums of unknown"), ("unknown/009", "no such album")]:
        with pytest.raises(InputError, match=message):
            group_photos(contents, album, photos, run.size, InProcess())


def test_the_command_enrols_from_an_album(
    run: Bundle,  # noqa: F811
    photos: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    put(run, photos, tmp_path / "albums")
    threshold = recogniser_of(run).threshold
    strict = with_decision(run, thresholds={"fpir_1": threshold, "fpir_10": threshold})
    saved: list[Bundle] = []
    monkeypatch.setattr(Bundle, "load", classmethod(lambda _cls, _folder: strict))
    monkeypatch.setattr(Bundle, "save", lambda bundle, _folder: saved.append(bundle))
    arguments = [
        "--model",
        str(run.folder),
        "--name",
        "Nova",
        "--group",
        str(tmp_path / "albums/unknown/001"),
    ]
    assert command.main(arguments) == 0
    assert saved[0].labels[-1] == "Nova" and "enrolled from 2 photos" in capsys.readouterr().out
    assert command.main([*arguments[:-1], str(tmp_path / "nowhere/unknown/001")]) == 2
    assert "not an album that identity.organise made" in capsys.readouterr().err


def test_a_photo_stays_where_the_user_put_it(run: Bundle, photos: Path, tmp_path: Path) -> None:  # noqa: F811
    albums = tmp_path / "albums"
    contents = put(run, photos, albums)
    assert run.folder is not None
    with PeopleFile(run.folder) as people:
        number = people.find_collection(albums)[0]  # type: ignore[index]
        move_photo(contents, people, number, "a.png", "person 0", "Elsewhere")
        move_photo(contents, people, number, "nobody.png", "no face", "person 1")
        again = decide(run, people, number, recogniser_of(run).threshold)
        place_again(again, people, photos.resolve(), albums.resolve())
        for photo, source, target in [
            ("a.png", "person 0", "X"),
            ("none.png", "person 0", "X"),
            ("deeper/a.png", "person 0", "../X"),
            ("deeper/a.png", "person 0", "unknown/777"),
        ]:
            with pytest.raises(InputError):
                move_photo(again, people, number, photo, source, target)
    files = tree(albums)
    assert "Elsewhere/a.png" in files and "person 1/nobody.png" in files
    assert {f for f in files if f.startswith("person 0/")} <= {"person 0/a.png", "person 0/a (2).png"}
    put(run, photos, albums)
    assert "Elsewhere/a.png" in tree(albums), "the next call keeps it"
