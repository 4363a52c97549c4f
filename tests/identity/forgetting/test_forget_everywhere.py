"""Forgetting deletes everything, despite renames, interruptions and other processes, or lists what is left."""
# ruff: noqa: F811  (fixtures come from another module)

import json
import shutil
import sqlite3
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from augmentor.balanced_set.manifest import read_manifest
from augmentor.errors import InputError
from augmentor.photos.images import encode_jpeg
from identity.albums.page import write_pages
from identity.albums.sorting import decide, organise
from identity.enrol import main as enrol_main
from identity.forget import main
from identity.forgetting import forget_person as forgetting_module
from identity.forgetting.forget_person import Forgotten, forget
from identity.people import main as people_main
from identity.runs.bundle import Bundle, last_saved
from identity.runs.collection import FILE, PeopleFile
from identity.runs.holders import Holder
from identity.runs.outputs import remember_output
from identity.runs.recogniser import Recogniser
from tests.identity.changed_run import with_people
from tests.identity.runs.test_recogniser import colour_of, photo
from tests.identity.test_forget import ANN, _everything_below, run  # noqa: F401

IN_SET = "person ü0"  # a name in the training set of the fixture


def forgotten(run: Path, name: str = ANN, **more: object) -> Forgotten:
    with PeopleFile(run) as people:
        return forget(run, name, people, wait_seconds=0.3, **more)  # type: ignore[arg-type]


def called(run: Path, name: str) -> None:
    """Give Ann another name without recording the former one, as earlier versions did."""
    bundle = Bundle.load(run)
    labels = tuple(name if label == ANN else label for label in bundle.labels)
    names = [name if label == ANN else label for label in bundle.sources["identity"].to_pylist()]
    sources = bundle.sources.set_column(3, "identity", pa.array(names))
    with_people(bundle, labels=labels, sources=sources).save(run)


def organised(run: Path, photos: Path, albums: Path) -> Recogniser:
    """Sort two photos of Ann and one of person 0 into albums, with pages; return the recogniser."""
    bundle = Bundle.load(run)
    photos.mkdir(exist_ok=True)
    for k, who in enumerate((2, 2, 0)):
        (photos / f"{k}.png").write_bytes(encode_jpeg(photo(colour_of(bundle, who)), 98))
    recogniser = Recogniser(bundle, 0.1)
    recogniser.threshold = -10.0
    with PeopleFile(run) as people:
        contents = organise(recogniser, photos, albums, people)
        write_pages(contents, people, photos, albums)
    return recogniser


def files_with(folder: Path, name: str) -> list[str]:
    """Return the files that contain a name, or whose name does; shares no code with the search under test."""
    spellings = {name, json.dumps(name)[1:-1], name.replace("'", "&#39;"), unicodedata.normalize("NFD", name)}
    mentioning = []
    for path in folder.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        if path.suffix == ".parquet":
            content += repr(pq.read_table(path).to_pydict()).encode()
        if any(s.encode() in content or s in path.name for s in spellings):
            mentioning.append(str(path.relative_to(folder)))
    return mentioning


def set_names(run: Path) -> set[str]:
    return set(read_manifest(run.parent / "set" / "manifest.parquet")["identity"].to_pylist())


@pytest.mark.parametrize("change", ["renamed", "renamed twice", "merged", "renamed by an earlier version"])
def test_images_and_albums_under_an_earlier_name_are_deleted_too(
    run: Path, tmp_path: Path, change: str
) -> None:
    called(run, IN_SET)
    organised(run, tmp_path / "photos", tmp_path / "albums")
    words = ["--model", str(run)]
    if change == "renamed by an earlier version":
        bundle = Bundle.load(run)
        shas = read_manifest(tmp_path / "set" / "manifest.parquet").to_pylist()[0]
        labels = tuple("Anna" if label == IN_SET else label for label in bundle.labels)
        row = {"photo": shas["source"], "sha256": shas["source_sha256"], "phash": 1, "identity": "Anna"}
        sources = pa.Table.from_pylist([row], bundle.sources.schema)
        with_people(bundle, labels=labels, sources=sources).save(run)
        with PeopleFile(run) as people:
            decide(Bundle.load(run), people, 1, -10.0)
        now = "Anna"
    elif change == "merged":
        assert people_main([*words, "--merge", IN_SET, "person 4"]) == 0
        now = "person 4"
    else:
        now = "Anna"
        assert people_main([*words, "--rename", IN_SET, now]) == 0
        if change == "renamed twice":
            now = "Annika"
            assert people_main([*words, "--rename", "Anna", now]) == 0
    outcome = forgotten(run, now)
    assert outcome.left == [] and set_names(run) == {"person ü1"}
    assert not (tmp_path / "set" / IN_SET).exists() and not (tmp_path / "albums" / IN_SET).exists()
    for name in (IN_SET, "Anna", "Annika", now):
        assert files_with(tmp_path, name) == [], name


def test_another_person_who_now_has_an_earlier_name_is_not_touched(run: Path, tmp_path: Path) -> None:
    assert people_main(["--model", str(run), "--rename", ANN, "Zoe"]) == 0
    assert people_main(["--model", str(run), "--rename", "person 4", ANN]) == 2
    bundle = Bundle.load(run)  # earlier versions allowed it
    labels = tuple(ANN if label == "person 4" else label for label in bundle.labels)
    with_people(bundle, labels=labels).save(run)
    outcome = forgotten(run, "Zoe")
    assert outcome.left == [] and ANN in Bundle.load(run).labels


def test_an_earlier_name_is_refused_with_the_current_name(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert people_main(["--model", str(run), "--rename", ANN, "Anna"]) == 0
    capsys.readouterr()
    assert main(["--model", str(run), "--name", ANN]) == 2
    assert "called Anna now" in capsys.readouterr().err


def test_both_unicode_forms_of_a_name_are_the_same_name(run: Path) -> None:
    assert forgotten(run, unicodedata.normalize("NFD", ANN)).left == []
    assert ANN not in Bundle.load(run).labels


@pytest.mark.parametrize(
    "step", ["forget_in_collections", "_remove_caches", "forget_in_set", "left_in_run", "wait_for_holders"]
)
def test_an_interrupted_call_can_be_repeated_by_name(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    called(run, IN_SET)
    organised(run, tmp_path / "photos", tmp_path / "albums")

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(forgetting_module, step, killed)
        with pytest.raises(KeyboardInterrupt):
            forgotten(run, IN_SET)
    assert IN_SET not in Bundle.load(run).labels
    outcome = forgotten(run, IN_SET)
    assert outcome.left == [] and files_with(tmp_path, IN_SET) == [] and set_names(run) == {"person ü1"}
    assert sorted(p.name for p in (tmp_path / "photos").iterdir()) == ["0.png", "1.png", "2.png"]
    with pytest.raises(InputError, match="not enrolled"):
        forgotten(run, IN_SET)


def test_a_person_cannot_be_enrolled_again_before_forgetting_has_ended(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "notes.txt").write_text(f"{ANN} came by", "utf-8")
    assert main(["--model", str(run), "--name", ANN]) == 1
    (tmp_path / "new.png").write_bytes(encode_jpeg(photo((60, 240, 250)), 98))
    capsys.readouterr()
    assert enrol_main(["--model", str(run), "--name", ANN, str(tmp_path / "new.png")]) == 2
    (run / "notes.txt").unlink()
    assert main(["--model", str(run), "--name", ANN]) == 0
    assert main(["--model", str(run), "--name", ANN]) == 2


def test_a_damaged_manifest_is_reported_and_the_call_can_be_repeated(run: Path, tmp_path: Path) -> None:
    called(run, IN_SET)
    manifest = tmp_path / "set" / "manifest.parquet"
    content = manifest.read_bytes()
    manifest.write_bytes(b"damaged")
    outcome = forgotten(run, IN_SET)
    assert any("manifest.parquet" in line for line in outcome.left)
    manifest.write_bytes(content)
    assert forgotten(run, IN_SET).left == [] and set_names(run) == {"person ü1"}


def test_albums_organised_in_another_space_are_emptied(run: Path, tmp_path: Path) -> None:
    organised(run, tmp_path / "photos", tmp_path / "albums")
    with sqlite3.connect(run / FILE) as db:
        db.execute("UPDATE collections SET space = 'of other features'")
        db.execute("UPDATE faces SET embedding = ?", (np.ones(7, np.float32).tobytes(),))
    db.close()
    assert forgotten(run).left == []
    assert not (tmp_path / "albums" / ANN).exists() and files_with(tmp_path, ANN) == []


def test_the_set_is_found_from_any_working_directory(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called(run, IN_SET)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert forgotten(run, IN_SET).left == [] and set_names(run) == {"person ü1"}


def test_a_run_that_knows_its_set_by_a_relative_path_needs_an_option(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    called(run, IN_SET)
    bundle = Bundle.load(run)
    replace(bundle, about=bundle.about | {"config": {"data": "set", "cache": None}}).save(run)
    assert main(["--model", str(run), "--name", IN_SET]) == 1
    assert "--data" in capsys.readouterr().err and IN_SET in set_names(run)
    assert main(["--model", str(run), "--name", IN_SET, "--data", str(tmp_path / "set")]) == 0
    assert set_names(run) == {"person ü1"}


@pytest.fixture
def copied(run: Path, tmp_path: Path) -> Path:
    """A copy of the run in another folder; the run knows where it was made."""
    called(run, IN_SET)
    bundle = Bundle.load(run)
    replace(bundle, about=bundle.about | {"home": str(run.resolve())}).save(run)
    organised(run, tmp_path / "photos", tmp_path / "albums")
    shutil.copytree(run, tmp_path / "other place" / "run")
    return tmp_path / "other place" / "run"


def test_forgetting_in_a_copy_touches_nothing_of_the_original(
    copied: Path, run: Path, tmp_path: Path
) -> None:
    places = [tmp_path / place for place in ("set", "albums", "run")]
    before = [_everything_below(place) for place in places]
    outcome = forgotten(copied, IN_SET)
    assert any(str(tmp_path / "set") in line and "copy" in line for line in outcome.left)
    assert any(str(tmp_path / "albums") in line for line in outcome.left)
    assert [_everything_below(place) for place in places] == before and IN_SET in Bundle.load(run).labels
    assert forgotten(run, IN_SET).left == []
    assert forgotten(copied, IN_SET).left == [], "now nothing is left of the original's files"


def test_a_copy_deletes_only_what_was_copied_with_it(copied: Path, tmp_path: Path) -> None:
    shutil.copytree(tmp_path / "set", copied.parent / "set")
    outcome = forgotten(copied, IN_SET)
    assert set(read_manifest(copied.parent / "set" / "manifest.parquet")["identity"].to_pylist()) == {
        "person ü1"
    }
    assert IN_SET in read_manifest(tmp_path / "set" / "manifest.parquet")["identity"].to_pylist()
    assert any("copy" in line for line in outcome.left)


def test_a_moved_run_still_owns_its_set_once_this_was_stated(copied: Path, run: Path, tmp_path: Path) -> None:
    shutil.rmtree(run)
    assert people_main(["--model", str(copied), "--moved"]) == 0
    assert forgotten(copied, IN_SET).left == []
    assert set(read_manifest(tmp_path / "set" / "manifest.parquet")["identity"].to_pylist()) == {"person ü1"}


def _report(folder: Path) -> Path:
    folder.mkdir()
    (folder / "index.html").write_text(f"<p>{ANN.replace('Ü', '&Uuml;')} was taken for Bo</p>", "utf-8")
    return folder


def _export(folder: Path) -> Path:
    folder.mkdir()
    (folder / "people.json").write_text(json.dumps({"names": [ANN]}))
    return folder


def _table(file: Path) -> Path:
    pq.write_table(pa.table({"name": [ANN, "Bo"]}), file)
    return file


@pytest.mark.parametrize(
    ("make", "kind"), [(_report, "report"), (_export, "export"), (_table, "table of names")]
)
def test_files_made_elsewhere_are_listed_until_they_are_gone(
    run: Path, tmp_path: Path, make: Callable[[Path], Path], kind: str
) -> None:
    made = make(tmp_path / "made.parquet")
    remember_output(run, made, kind)
    outcome = forgotten(run)
    assert len(outcome.left) == 1 and kind in outcome.left[0] and str(made) in outcome.left[0]
    shutil.rmtree(made, ignore_errors=True)
    made.unlink(missing_ok=True)
    assert len(forgotten(run).left) == 1  # it may be on a disk that is not connected
    assert forgotten(run, deleted=[made]).left == []


@pytest.mark.parametrize("written", ["O&#39;Brien", "O'Brien", "O%27Brien"])
def test_escaped_names_are_recognised(run: Path, written: str) -> None:
    called(run, "O'Brien")
    (run / "page.html").write_text(f"<td>{written}</td>")
    assert len(forgotten(run, "O'Brien").left) == 1


def test_a_short_name_raises_no_false_alarm(run: Path) -> None:
    called(run, "a")
    (run / "page.html").write_text("<p>a page of a run</p>")
    (run / "curves.csv").write_text("epoch,loss\n1,0.5\n")
    assert forgotten(run, "a").left == []


def test_a_reader_of_people_sqlite_is_waited_for_and_reported(run: Path, tmp_path: Path) -> None:
    organised(run, tmp_path / "photos", tmp_path / "albums")
    reader = sqlite3.connect(run / FILE, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM faces").fetchone()
    outcome = forgotten(run)
    assert len(outcome.left) == 1 and "another process reads it" in outcome.left[0]
    reader.close()
    assert forgotten(run).left == []
    assert files_with(run, ANN) == []


def test_a_process_that_uses_the_run_is_waited_for(run: Path) -> None:
    with PeopleFile(run) as people, Holder(run, people, "a server") as holder:
        outcome = forgotten(run)
        assert len(outcome.left) == 1 and "a server" in outcome.left[0]
        holder.catch_up(last_saved(run) or 0)
        assert forgotten(run).left == []


def test_a_process_that_died_is_not_waited_for(run: Path) -> None:
    script = (
        "import sys, os; from pathlib import Path; from identity.runs.holders import Holder; "
        "from identity.runs.collection import PeopleFile; run = Path(sys.argv[1]); "
        "Holder(run, PeopleFile(run), 'died'); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", script, str(run)], check=True, capture_output=True)
    with PeopleFile(run) as people:
        assert len(people.holders()) == 1
    assert forgotten(run).left == []


def test_a_recogniser_that_was_made_before_no_longer_names_the_person(run: Path, tmp_path: Path) -> None:
    recogniser = Recogniser(Bundle.load(run), 0.1)
    picture = photo(colour_of(recogniser.bundle, 2))
    assert recogniser.images([picture])[0].faces[0].best[0][0] == ANN
    forgotten(run)
    answer = recogniser.images([picture])[0].faces[0]
    assert answer.name != ANN and ANN not in [name for name, _ in answer.best]


def test_albums_are_not_written_by_a_bundle_that_was_loaded_before(run: Path, tmp_path: Path) -> None:
    recogniser = organised(run, tmp_path / "photos", tmp_path / "albums")
    forgotten(run)
    recogniser.threshold = -10.0
    with PeopleFile(run) as people:
        contents = organise(recogniser, tmp_path / "photos", tmp_path / "albums", people)
    assert not (tmp_path / "albums" / ANN).exists() and ANN not in contents.counts()


def test_the_faces_of_the_persons_photos_are_removed_from_the_users_cache(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    cache = tmp_path / "cache" / "likeness" / "faces-central-60-v1.parquet"
    cache.parent.mkdir(parents=True)
    pq.write_table(pa.table({"sha256": ["a", "b"], "reason": ["", ""]}), cache)
    forgotten(run)
    assert pq.read_table(cache)["sha256"].to_pylist() == ["b"]


def test_photos_whose_path_contains_the_name_are_removed_from_the_albums_too(
    run: Path, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    (photos / ANN).mkdir(parents=True)
    (photos / ANN / "nobody.png").write_bytes(encode_jpeg(photo((0, 0, 0)), 98))
    organised(run, photos, tmp_path / "albums")
    assert forgotten(run).left == []
    assert files_with(tmp_path / "albums", ANN) == [] and files_with(run, ANN) == []
    assert (photos / ANN / "nobody.png").is_file()


def test_a_page_that_the_user_edited_stays_and_is_listed(run: Path, tmp_path: Path) -> None:
    organised(run, tmp_path / "photos", tmp_path / "albums")
    (tmp_path / "albums" / "index.html").write_text(f"<p>my page about {ANN}</p>", "utf-8")
    outcome = forgotten(run)
    assert len(outcome.left) == 1 and "index.html" in outcome.left[0]
    assert ANN in (tmp_path / "albums" / "index.html").read_text("utf-8")
