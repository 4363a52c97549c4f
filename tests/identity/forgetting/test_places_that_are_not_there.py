"""Forgetting does not end while a place that may hold the person cannot be searched."""
# ruff: noqa: F811  (fixtures come from another module)

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from augmentor.balanced_set.manifest import read_manifest, write_manifest
from augmentor.errors import InputError
from identity.forget import main
from identity.organise import main as organise_main
from identity.people import main as people_main
from identity.runs.bundle import Bundle
from identity.runs.collection import PeopleFile
from identity.runs.outputs import remember_output
from identity.training.cache_folder import use_cache_folder
from tests.identity.changed_run import with_people
from tests.identity.drawn_set import write_drawn_set
from tests.identity.forgetting.test_forget_everywhere import IN_SET, called, forgotten, organised, set_names
from tests.identity.test_forget import ANN, run  # noqa: F401


def _of_the_set(run: Path) -> None:
    """Let the run know the folder it is in, and that it was trained on the photos of its set."""
    bundle = Bundle.load(run)
    row = read_manifest(run.parent / "set" / "manifest.parquet").to_pylist()[0]
    photo = {"photo": row["source"], "sha256": row["source_sha256"], "phash": 1, "identity": IN_SET}
    sources = pa.concat_tables([bundle.sources, pa.Table.from_pylist([photo], bundle.sources.schema)])
    replace(with_people(bundle, sources=sources), about=bundle.about | {"home": str(run)}).save(run)


def test_a_set_that_is_not_there_is_left_until_it_is_back(run: Path, tmp_path: Path) -> None:
    called(run, IN_SET)
    (tmp_path / "set").rename(tmp_path / "unplugged")
    outcome = forgotten(run, IN_SET)
    assert any(str(tmp_path / "set") in line and "not there" in line for line in outcome.left)
    (tmp_path / "unplugged").rename(tmp_path / "set")
    assert forgotten(run, IN_SET).left == [] and set_names(run) == {"person ü1"}


def test_a_set_that_was_moved_is_named_by_the_caller(run: Path, tmp_path: Path) -> None:
    called(run, IN_SET)
    _of_the_set(run)
    (tmp_path / "set").rename(tmp_path / "elsewhere")
    assert forgotten(run, IN_SET).left
    assert forgotten(run, IN_SET, data=tmp_path / "elsewhere").left == []
    (tmp_path / "elsewhere").rename(tmp_path / "set")
    assert set_names(run) == {"person ü1"}


def test_another_set_does_not_replace_the_runs_own_one_that_is_not_there(run: Path, tmp_path: Path) -> None:
    called(run, IN_SET)
    other = write_drawn_set(tmp_path / "other", [2, 2])
    (tmp_path / "set").rename(tmp_path / "unplugged")
    outcome = forgotten(run, IN_SET, data=other)  # the run was not trained on any photo of it
    assert any(str(tmp_path / "set") in line and "not there" in line for line in outcome.left)


def test_the_caller_can_state_that_a_place_was_deleted_for_good(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    called(run, IN_SET)
    shutil.rmtree(tmp_path / "set")
    words = ["--model", str(run), "--name", IN_SET]
    assert main(words) == 1
    assert "--deleted" in capsys.readouterr().err
    assert main([*words, "--deleted", str(tmp_path / "set")]) == 0


def test_a_place_that_exists_cannot_be_stated_as_deleted(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--model", str(run), "--name", ANN, "--deleted", str(tmp_path / "set")]) == 2
    assert "exists" in capsys.readouterr().err and ANN in Bundle.load(run).labels


def test_another_set_is_cleaned_in_addition_to_the_runs_own(run: Path, tmp_path: Path) -> None:
    called(run, IN_SET)
    shutil.copytree(tmp_path / "set", tmp_path / "other")
    assert forgotten(run, IN_SET, data=tmp_path / "other").left == []
    assert set_names(run) == {"person ü1"}
    assert IN_SET not in {path.name for path in (tmp_path / "other").iterdir()}


def test_a_folder_that_is_not_a_set_is_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    assert main(["--model", str(run), "--name", ANN, "--data", str(tmp_path / "photos")]) == 2
    assert "no balanced set" in capsys.readouterr().err and ANN in Bundle.load(run).labels


def test_albums_that_are_not_there_are_left_until_they_are_back(run: Path, tmp_path: Path) -> None:
    albums = tmp_path / "albums"
    organised(run, tmp_path / "photos", albums)
    albums.rename(tmp_path / "unplugged")
    outcome = forgotten(run)
    assert any(str(albums) in line and "not there" in line for line in outcome.left)
    assert not any("files in" in line for line in outcome.removed)
    (tmp_path / "unplugged").rename(albums)
    assert forgotten(run).left == []
    assert not any(ANN in path.name for path in albums.rglob("*"))
    assert ANN not in (albums / "albums.json").read_text("utf-8")


def test_albums_that_were_deleted_for_good_are_not_requested_again(run: Path, tmp_path: Path) -> None:
    albums = tmp_path / "albums"
    organised(run, tmp_path / "photos", albums)
    shutil.rmtree(albums)
    assert forgotten(run, deleted=[albums]).left == []
    with PeopleFile(run) as people:
        assert people.collections() == []


def test_an_export_that_is_not_there_is_left_until_it_is_back_or_stated_as_deleted(
    run: Path, tmp_path: Path
) -> None:
    export = tmp_path / "export"
    export.mkdir()
    (export / "people.json").write_text(json.dumps([ANN]))
    remember_output(run, export, "export")
    export.rename(tmp_path / "unplugged")
    assert any(str(export) in line for line in forgotten(run).left)
    (tmp_path / "unplugged").rename(export)
    assert any("people.json" in line for line in forgotten(run).left)
    shutil.rmtree(export)
    assert forgotten(run, deleted=[tmp_path / "export"]).left == []


def test_a_moved_project_keeps_its_set(run: Path, tmp_path: Path) -> None:
    called(run, IN_SET)
    _of_the_set(run)
    organised(run, tmp_path / "photos", tmp_path / "albums")
    project = tmp_path / "moved"
    project.mkdir()
    for part in ("run", "set", "albums", "photos"):
        (tmp_path / part).rename(project / part)
    assert people_main(["--model", str(project / "run"), "--moved"]) == 0
    assert forgotten(project / "run", IN_SET).left == []
    assert set_names(project / "run") == {"person ü1"}
    assert not any(IN_SET in path.name for path in (project / "albums").rglob("*"))


def test_a_moved_run_does_not_adopt_another_set(run: Path, tmp_path: Path) -> None:
    called(run, IN_SET)
    _of_the_set(run)
    project = tmp_path / "moved"
    project.mkdir()
    run.rename(project / "run")
    (tmp_path / "set").rename(tmp_path / "unplugged")
    other = read_manifest(write_drawn_set(project / "set", [2, 2]) / "manifest.parquet")
    others = pa.array([f"{row + 1000:064x}" for row in range(other.num_rows)])
    column = other.column_names.index("source_sha256")
    write_manifest(project / "set" / "manifest.parquet", other.set_column(column, "source_sha256", others))
    assert people_main(["--model", str(project / "run"), "--moved"]) == 0
    outcome = forgotten(project / "run", IN_SET)
    assert any(str(tmp_path / "set") in line for line in outcome.left)
    assert set_names(project / "run") == {"person ü0", "person ü1"}


def test_a_page_that_stays_after_undo_is_still_searched(run: Path, tmp_path: Path) -> None:
    albums = tmp_path / "albums"
    organised(run, tmp_path / "photos", albums)
    (albums / "index.html").write_text((albums / "index.html").read_text("utf-8") + "<p>mine</p>", "utf-8")
    assert organise_main(["--model", str(run), "--undo", str(albums)]) == 0
    assert (albums / "index.html").is_file()
    assert any("index.html" in line for line in forgotten(run).left)


def test_a_table_that_a_job_is_making_is_left_until_the_job_has_ended(run: Path, tmp_path: Path) -> None:
    table = tmp_path / "names.parquet"
    remember_output(run, table, "table of names")
    (tmp_path / "names.parquet.parts").mkdir()
    assert any("a job is making" in line for line in forgotten(run).left)
    (tmp_path / "names.parquet.parts").rmdir()
    pq.write_table(pa.table({"name": [ANN]}), table)
    assert any("(table of names): mentions" in line for line in forgotten(run).left)
    table.unlink()
    assert forgotten(run, deleted=[table]).left == []


def test_a_file_that_cannot_be_read_is_left_and_stops_nothing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    albums = tmp_path / "albums"
    organised(run, tmp_path / "photos", albums)
    (albums / "theirs.csv").write_text("x")
    read = Path.open

    def guarded(path: Path, *words: object, **more: object) -> object:
        if path.name == "theirs.csv":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path, *words, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", guarded)
        outcome = forgotten(run)
    assert outcome.left == [
        f"{albums / 'theirs.csv'}: cannot be read, so it was not searched; delete the file or remove the name from it"
    ]
    assert forgotten(run).left == []


def test_a_set_that_cannot_be_read_is_reported_in_one_line(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    called(run, IN_SET)
    usual = Path.is_file

    def guarded(path: Path) -> bool:
        if path.name == "manifest.parquet":
            raise PermissionError(13, "Permission denied", str(path))
        return usual(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "is_file", guarded)
        assert main(["--model", str(run), "--name", IN_SET]) == 2
    assert "Permission denied" in capsys.readouterr().err
    assert main(["--model", str(run), "--name", IN_SET]) == 0


def test_files_of_the_users_in_a_cache_folder_stay_and_are_listed(run: Path, tmp_path: Path) -> None:
    cache = tmp_path / "mine"
    cache.mkdir()
    (cache / "progress.json").write_text("{}")
    bundle = Bundle.load(run)
    config = bundle.about["config"] | {"cache": str(cache)}
    replace(bundle, about=bundle.about | {"config": config, "home": str(run)}).save(run)
    outcome = forgotten(run)
    assert (cache / "progress.json").read_text() == "{}"
    assert any(str(cache / "progress.json") in line for line in outcome.left)


def test_a_cache_that_training_made_is_deleted(run: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    use_cache_folder(cache, run)
    (cache / "progress.json").write_text("{}")
    bundle = Bundle.load(run)
    config = bundle.about["config"] | {"cache": str(cache)}
    replace(bundle, about=bundle.about | {"config": config, "home": str(run)}).save(run)
    assert forgotten(run).left == [] and not (cache / "progress.json").exists()


def test_training_refuses_a_cache_folder_with_files_of_the_users(run: Path, tmp_path: Path) -> None:
    cache = tmp_path / "mine"
    cache.mkdir()
    (cache / "progress.json").write_text("mine")
    with pytest.raises(InputError, match="would be overwritten"):
        use_cache_folder(cache, run)
    assert [path.name for path in cache.iterdir()] == ["progress.json"]


def test_nobody_gets_a_former_name_while_the_first_person_is_being_forgotten(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    called(run, IN_SET)
    assert people_main(["--model", str(run), "--rename", IN_SET, "Zed"]) == 0
    (tmp_path / "set").rename(tmp_path / "unplugged")
    assert forgotten(run, "Zed").left
    assert people_main(["--model", str(run), "--rename", "person 4", IN_SET]) == 2
    assert "is being forgotten" in capsys.readouterr().err
    (tmp_path / "unplugged").rename(tmp_path / "set")
    assert forgotten(run, "Zed").left == [] and set_names(run) == {"person ü1"}
    assert people_main(["--model", str(run), "--rename", "person 4", IN_SET]) == 0


def test_an_export_that_was_searched_once_is_not_taken_for_deleted_when_its_disk_is_gone(
    run: Path, tmp_path: Path
) -> None:
    export = tmp_path / "export"
    export.mkdir()
    (export / "people.json").write_text(json.dumps([ANN]))
    remember_output(run, export, "export")
    assert forgotten(run).left
    export.rename(tmp_path / "unplugged")
    assert any("not there" in line for line in forgotten(run).left)
    (tmp_path / "unplugged").rename(export)
    (export / "people.json").unlink()
    assert forgotten(run).left == []


def test_a_cache_that_is_not_there_is_left(run: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    bundle = Bundle.load(run)
    config = bundle.about["config"] | {"cache": str(cache)}
    replace(bundle, about=bundle.about | {"config": config, "home": str(run)}).save(run)
    assert any(str(cache) in line and "not there" in line for line in forgotten(run).left)
    assert forgotten(run, deleted=[cache]).left == []


def test_a_place_can_be_stated_as_deleted_by_a_path_through_a_link(run: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    organised(run, tmp_path / "photos", tmp_path / "link" / "albums")
    shutil.rmtree(tmp_path / "real" / "albums")
    assert forgotten(run).left
    assert forgotten(run, deleted=[tmp_path / "link" / "albums"]).left == []
