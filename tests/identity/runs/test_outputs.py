"""Commands overwrite no file that is not their own."""

from pathlib import Path

import pytest

from augmentor.errors import InputError
from identity.evaluate import main as evaluate_main
from identity.runs.collection import PeopleFile
from identity.runs.outputs import refuse_foreign, remember_output
from identity.train import main as train_main
from tests.identity.drawn_set import write_drawn_set


def test_a_file_of_the_users_refuses_the_folder_and_the_mark_allows_it(tmp_path: Path) -> None:
    refuse_foreign(tmp_path / "none", ("a", "b"), "mark")
    (tmp_path / "other").write_text("")
    refuse_foreign(tmp_path, ("a", "b"), "mark")
    (tmp_path / "b").symlink_to("nowhere")
    with pytest.raises(InputError, match="b: this file would be overwritten"):
        refuse_foreign(tmp_path, ("a", "b"), "mark")
    (tmp_path / "mark").write_text("")
    refuse_foreign(tmp_path, ("a", "b"), "mark")


@pytest.mark.parametrize("name", ["labels.json", "model_card.md", "curves.png"])
def test_training_overwrites_no_file_of_the_users(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_drawn_set(tmp_path / "set", [2, 2])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("mine")
    words = ["--data", str(data), "--out", str(tmp_path / "out"), "--features", "dlib"]
    assert train_main(words) == 2
    assert "would be overwritten" in capsys.readouterr().err
    assert (tmp_path / "out" / name).read_text() == "mine" and len(list((tmp_path / "out").iterdir())) == 1


def test_a_report_overwrites_no_page_of_the_users(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("mine")
    (tmp_path / "pairs.csv").write_text("photo_a,photo_b,mated\n")
    words = ["--model", "dlib", "--pairs", str(tmp_path / "pairs.csv"), "--report", str(tmp_path / "site")]
    assert evaluate_main(words) == 2
    assert "would be overwritten" in capsys.readouterr().err
    assert (tmp_path / "site" / "index.html").read_text() == "mine"


def test_outputs_are_remembered_by_absolute_path_and_those_inside_of_the_run_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path)
    remember_output(Path("run"), Path("report"), "report")
    remember_output(Path("run"), "s3://bucket/table.parquet", "table")
    remember_output(Path("run"), Path("run/report"), "report")
    with PeopleFile(tmp_path / "run") as people:
        outputs = people.outputs()
    assert outputs == {str(tmp_path / "report"): "report", "s3://bucket/table.parquet": "table"}
    remember_output(Path("missing"), Path("report"), "report")
    assert "will not search report" in capsys.readouterr().err
